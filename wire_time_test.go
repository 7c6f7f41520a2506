package wschannels_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// wireTimed runs f in a bubble with a peer of an endpoint in event mode.
func wireTimed(t *testing.T, opts ChannelOptions, f func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := newWireLog()
		opts.PayloadType = Text
		box := wireBox(t, &Options{Channel: opts, Events: log.events()})
		p := wirePipe(t, box)
		f(t, p, p.frames(), log)
		p.Close()
		wireShutdown(t, box)
	})
}

// wireWantCloseAt waits for a close frame and checks when it came.
func wireWantCloseAt(t *testing.T, frames <-chan wireGot, code websocket.StatusCode, at time.Time) {
	t.Helper()
	for f := range frames {
		if f.op != wireClose {
			continue
		}
		if got := wireCode([]byte(f.payload)); got != code || !f.at.Equal(at) {
			t.Errorf("close frame: code %d, %v late; want %d in time", got, f.at.Sub(at), code)
		}
		return
	}
	t.Errorf("no close frame, want one with %d", code)
}

func TestOneByteASecondEndsAtReadTimeout(t *testing.T) {
	frame := wireFrame(wireFin|wireText, bytes.Repeat([]byte("x"), 1000))
	for _, tt := range []struct {
		name  string
		frame []byte
	}{
		{"payload", frame},
		{"fragments", slices.Concat(wireFrame(wireText, []byte("x")), bytes.Repeat(wireFrame(wireCont, []byte("x")), 10))},
		{"ping", wireFrame(wireFin|wirePing, bytes.Repeat([]byte("x"), 100))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wireTimed(t, ChannelOptions{ReadTimeout: 10 * time.Second, Heartbeat: -1}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
				time.Sleep(time.Hour) // only bytes of a message count
				start := time.Now()
				var writer sync.WaitGroup
				defer writer.Wait()
				writer.Go(func() {
					for _, b := range tt.frame {
						if _, err := p.Write([]byte{b}); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				})
				wireWantCloseAt(t, frames, 1008, start.Add(10*time.Second))
				p.Close()
				wireWantEnd(t, log.end(t), 1008, false)
				log.want(t, nil, 1)
			})
		})
	}
}

func TestReadTimeoutIsThatOfOneMessage(t *testing.T) {
	t.Run("sent within it", func(t *testing.T) {
		frame := wireString("123")
		wireTimed(t, ChannelOptions{ReadTimeout: time.Duration(len(frame)) * time.Second}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
			for range 3 {
				for _, b := range frame {
					p.send(t, []byte{b})
					time.Sleep(time.Second - 1)
				}
			}
			p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
			wireWantEnd(t, log.end(t), 1000, true)
			log.want(t, []string{"123", "123", "123"}, 0)
		})
	})
	// Each packet ends one message and begins the next, for longer than ReadTimeout.
	t.Run("without a pause", func(t *testing.T) {
		wireTimed(t, ChannelOptions{ReadTimeout: 10 * time.Second}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
			frame := wireString("0123456789")
			first, rest := frame[:8], frame[8:]
			p.send(t, first)
			for range 20 {
				time.Sleep(4 * time.Second)
				p.send(t, rest, first)
			}
			p.send(t, rest, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
			wireWantEnd(t, log.end(t), 1000, true)
		})
	})
	// A ping in the middle is none of the message's bytes, and no excuse either.
	t.Run("with pings inside", func(t *testing.T) {
		wireTimed(t, ChannelOptions{ReadTimeout: 10 * time.Second}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
			start := time.Now()
			var writer sync.WaitGroup
			defer writer.Wait()
			writer.Go(func() {
				_, err := p.Write(wireFrame(wireText, []byte("x")))
				for err == nil {
					_, err = p.Write(wireFrame(wireFin|wirePing, nil))
					time.Sleep(time.Second)
				}
			})
			wireWantCloseAt(t, frames, 1008, start.Add(10*time.Second))
			p.Close()
		})
	})
}

// The time in which the application does not read is not the peer's.
func TestASlowHandlerDoesNotTimeItsPeerOut(t *testing.T) {
	const slow = time.Minute
	for _, chunk := range []int{1, 40, 5000} {
		synctest.Test(t, func(t *testing.T) {
			log := newWireLog()
			events := log.events()
			events.OnMessage = func(ctx context.Context, c *Channel, m Message) error {
				time.Sleep(slow)
				return log.events().OnMessage(ctx, c, m)
			}
			box := wireBox(t, &Options{
				Channel: ChannelOptions{PayloadType: Text, ReadTimeout: 10 * time.Second, Heartbeat: -1}, Events: events,
			})
			p := wirePipe(t, box)
			p.frames()
			long := string(bytes.Repeat([]byte("long "), 1000))
			sent := append(append(wireString("short"), wireString(long)...), wireString("last")...)
			for len(sent) > 0 {
				n := min(chunk, len(sent))
				p.send(t, sent[:n])
				sent = sent[n:]
			}
			p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
			wireWantEnd(t, log.end(t), 1000, true)
			log.want(t, []string{"short", long, "last"}, 0)
			wireShutdown(t, box)
		})
	}
}

func TestAPeerThatStallsInsideAControlFrameTimesOut(t *testing.T) {
	wireTimed(t, ChannelOptions{}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
		start := time.Now()
		p.send(t, wireOdd([]byte{0x89, 0x85}, []byte("he")))
		for f := range frames {
			if f.op == wireClose {
				if code, d := wireCode([]byte(f.payload)), f.at.Sub(start); code != 1008 || d > 30*time.Second {
					t.Errorf("close frame with %d after %v; want 1008 within the 30 s of ReadTimeout", code, d)
				}
				p.Close()
			}
		}
		wireWantEnd(t, log.end(t), 1008, false)
		log.want(t, nil, 1)
	})
}

func TestPingsAreAnsweredWithTheirPayload(t *testing.T) {
	wireTimed(t, ChannelOptions{}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
		for _, payload := range []string{"", "p", string(bytes.Repeat([]byte{0xFF}, 125))} {
			sent := time.Now()
			p.send(t, wireFrame(wireFin|wirePing, []byte(payload)))
			if f := <-frames; f.op != wirePong || f.payload != payload || !f.at.Equal(sent) {
				t.Errorf("ping %q was answered with opcode %d, %q after %v", payload, f.op, f.payload, f.at.Sub(sent))
			}
		}
	})
}

// A handler that is busy with one message is no reason to leave pings unanswered.
func TestPingsAreAnsweredWhileTheHandlerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
		p := wirePipe(t, box.Handler(func(ctx context.Context, c *Channel) error {
			if _, err := c.Receive(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}))
		frames := p.frames()
		p.send(t, wireString("work"))
		time.Sleep(5 * time.Second)
		for range 3 {
			sent := time.Now()
			p.send(t, wireFrame(wireFin|wirePing, []byte("there?")))
			if f := <-frames; f.op != wirePong || f.payload != "there?" || !f.at.Equal(sent) {
				t.Errorf("got opcode %d, %q after %v; want a pong at once", f.op, f.payload, f.at.Sub(sent))
			}
		}
		p.Close()
		wireShutdown(t, box)
	})
}

// A pong waits for the write that is under way, not for what is queued behind it.
func TestPongsOvertakeQueuedData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, size = 40, 16 << 10
		queued := make(chan struct{})
		box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Bytes}})
		p := wirePipe(t, box.Handler(func(ctx context.Context, c *Channel) error {
			for range messages {
				if err := c.Send(ctx, make([]byte, size)); err != nil {
					return err
				}
			}
			close(queued)
			<-ctx.Done()
			return nil
		}))
		<-queued // nothing reads: the first write is stalled
		p.send(t, wireFrame(wireFin|wirePing, []byte("now")))
		synctest.Wait()
		before := 0
		for {
			op, payload, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			if op == wirePong {
				if string(payload) != "now" {
					t.Errorf("pong %q, want \"now\"", payload)
				}
				break
			}
			before++
		}
		if before > messages/2 {
			t.Errorf("the pong came after %d of %d queued messages", before, messages)
		}
		p.Close()
		wireShutdown(t, box)
	})
}

func TestAPingFloodByAPeerThatDoesNotReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newWireLog()
		box := wireBox(t, &Options{Channel: ChannelOptions{CloseTimeout: 3 * time.Second}, Events: log.events()})
		p := wirePipe(t, box)
		start := time.Now()
		flood := bytes.Repeat(wireFrame(wireFin|wirePing, make([]byte, 125)), 500)
		sent := 0
		for {
			n, err := p.Write(flood)
			sent += n
			if err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond) // for the bubble's clock to move
		}
		end := log.end(t)
		wireWantEnd(t, end, 1008, false)
		if d := time.Since(start); d > 3*time.Second+20*time.Millisecond {
			t.Errorf("it took %v, and CloseTimeout is 3 s", d)
		}
		log.want(t, nil, 1)
		wireShutdown(t, box)
		if sent == 0 {
			t.Error("nothing was sent")
		}
	})
}

func TestAHundredPingsASecondAreNoFlood(t *testing.T) {
	wireTimed(t, ChannelOptions{}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
		for range 5 {
			for range 100 {
				p.send(t, wireFrame(wireFin|wirePing, nil))
				if f := <-frames; f.op != wirePong {
					t.Fatalf("got opcode %d, %q; want a pong", f.op, f.payload)
				}
			}
			time.Sleep(time.Second)
		}
		p.send(t, wireFrame(wireFin|wireClose, nil))
		wireWantEnd(t, log.end(t), 1005, true)
	})
}

// That nothing came for an hour allows no more at once.
func TestAPingFloodAfterALongSilenceEnds(t *testing.T) {
	wireTimed(t, ChannelOptions{Heartbeat: -1}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
		for range 3 {
			time.Sleep(time.Hour)
			p.send(t, wireString("x"))
			p.send(t, wireFrame(wireFin|wirePing, nil))
		}
		go p.Write(bytes.Repeat(wireFrame(wireFin|wirePing, nil), 100))
		wireWantEnd(t, log.end(t), 1008, false)
		p.Close()
	})
}

func TestReadTimeoutOnABareConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, got, ends := wireBare(t, &ChannelOptions{ReadTimeout: 10 * time.Second, CloseTimeout: time.Second})
		done := make(chan struct{})
		start := time.Now()
		p := wirePipeAsync(t, h, done)
		frames := p.frames()
		p.send(t, wireOdd([]byte{0x81, 0x85}, []byte("he")))
		wireWantCloseAt(t, frames, 1008, start.Add(10*time.Second))
		wireWantEnd(t, <-ends, 1008, false)
		<-done
		if d := time.Since(start); d > 11*time.Second {
			t.Errorf("the channel was gone after %v, want 11 s: ReadTimeout and CloseTimeout", d)
		}
		if len(got) > 0 {
			t.Errorf("delivered %q", <-got)
		}
		p.Close()
	})
}
