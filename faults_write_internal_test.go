package wschannels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// A faultsSocket takes so many bytes, and then fails in its way.
type faultsSocket struct {
	takes int
	fails faultsFailure
	room  int // what a write that does not wait gets at most

	mu     sync.Mutex // guards what follows
	got    []byte
	open   chan struct{} // closed when writes that wait are let through
	closed chan struct{}
	once   sync.Once
}

// A faultsFailure is how a write ends that was not wholly taken.
type faultsFailure struct {
	name  string
	err   error // nil: it only waits
	short bool  // what still fits is taken in the same call, else a call is all or nothing
	code  websocket.StatusCode
}

var faultsFailures = []faultsFailure{
	{"a reset in the middle of a call", syscall.ECONNRESET, true, 1006},
	{"a reset", syscall.ECONNRESET, false, 1006},
	{"a short write without a word", io.ErrShortWrite, true, 1006},
	{"no more room, ever", os.ErrDeadlineExceeded, true, StatusSlowConsumer},
}

// write takes what it can of p. wait says whether the caller waits for room.
func (s *faultsSocket) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.takes - len(s.got)
	if len(p) <= left {
		s.got = append(s.got, p...)
		return len(p), nil
	}
	if !s.fails.short {
		left = 0
	}
	s.got = append(s.got, p[:left]...)
	return left, s.fails.err
}

// As a net.Conn it waits, as a RawConn it does not.
func (s *faultsSocket) Write(p []byte) (int, error) { <-s.open; return s.write(p) }
func (s *faultsSocket) Read([]byte) (int, error)    { <-s.closed; return 0, net.ErrClosed }
func (s *faultsSocket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
func (s *faultsSocket) LocalAddr() net.Addr              { return nil }
func (s *faultsSocket) RemoteAddr() net.Addr             { return nil }
func (s *faultsSocket) SetDeadline(time.Time) error      { return nil }
func (s *faultsSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *faultsSocket) SetWriteDeadline(time.Time) error { return nil }

// rawWrite is trial.write on s.
func (s *faultsSocket) rawWrite(t *trial) bool {
	n, err := s.write(t.p[:min(len(t.p), s.room)])
	if err == os.ErrDeadlineExceeded {
		err = nil // here, it is no error to find no room
	}
	t.n, t.err = n, err
	return true
}

type faultsRaw struct{ syscall.RawConn }

func (faultsRaw) Write(f func(uintptr) bool) error { f(0); return nil }

const faultsToUser = "to the user"

// A faultsScript is what is sent in a run: a pong and a ping, texts to the group, of which
// one goes to the user instead, and a close frame at the end.
type faultsScript struct {
	texts []string
	wire  []byte // what goes out if nothing fails
	ends  []int  // of the texts in it
	mail  int    // which of them is the user's
}

func newFaultsScript(texts ...string) *faultsScript {
	s := &faultsScript{texts: texts, mail: slices.Index(texts, faultsToUser)}
	s.wire = append(controlFrame(opPong, []byte("pong")), pingFrame...)
	for _, text := range texts {
		s.wire = newFrame(websocket.MessageText, []byte(text)).appendTo(s.wire)
		s.ends = append(s.ends, len(s.wire))
	}
	s.wire = append(s.wire, controlFrame(opClose, closePayload(1000, "bye"))...)
	return s
}

// near returns every length that is close to the end of a text, and some others.
func (s *faultsScript) near() (takes []int) {
	for n := range len(s.wire) + 1 {
		if n%49_999 == 0 || slices.ContainsFunc(s.ends, func(end int) bool { return n == end-1 || n == end || n == end+1 || n == end+10 }) {
			takes = append(takes, n)
		}
	}
	return takes
}

// For every number of bytes that the connection takes, in every way that it may fail: what
// counts as sent is what went out whole, the rest is dropped or the user's again, and what
// went out is a beginning of what was to go out. Written by a goroutine, by a worker, and
// by one after the other.
func TestAWriteThatFailsAtAnyByteLosesNothingUncounted(t *testing.T) {
	short := newFaultsScript("", "one", strings.Repeat("long ", 40), faultsToUser, "last")
	every := make([]int, len(short.wire)+1)
	for n := range every {
		every[n] = n
	}
	faultsRuns(t, short, every, []int{0, 1, 100, 1 << 20})
	long := newFaultsScript("one", strings.Repeat("x", maxBatch+1), faultsToUser, strings.Repeat("y", maxBatch), strings.Repeat("z", 200_000), "last")
	faultsRuns(t, long, long.near(), []int{0, 1000, 1 << 20})
}

// faultsRuns plays script for all of takes, with as much room for workers; 0: no worker.
func faultsRuns(t *testing.T, script *faultsScript, takes, rooms []int) {
	for _, fails := range faultsFailures {
		for _, room := range rooms {
			for _, burst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d bytes at once, burst %v", fails.name, room, burst), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						for _, n := range takes {
							s := &faultsSocket{takes: n, fails: fails, room: room, open: make(chan struct{}), closed: make(chan struct{})}
							if faultsRun(t, s, script, burst); t.Failed() {
								t.Fatalf("of %d bytes, %d were taken", len(script.wire), n)
							}
						}
					})
				})
			}
		}
	}
}

func faultsRun(t *testing.T, s *faultsSocket, script *faultsScript, burst bool) {
	var ended []error
	b, err := New(&Options{Events: Events{OnDisconnect: func(_ *Channel, err error) { ended = append(ended, err) }}})
	if err != nil {
		t.Fatal(err)
	}
	opts, _ := (&ChannelOptions{PayloadType: Text, CloseTimeout: time.Second, Heartbeat: -1}).resolve()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	c, err := b.upgrade(&fuzzResponse{httptest.NewRecorder(), s}, r, opts, false)
	if err != nil {
		t.Fatal(err)
	}
	hand := &faultsWorker{socket: s}
	if s.room > 0 {
		c.queue.raw, c.queue.workers = faultsRaw{}, &hand.workers
	}
	if err := b.enter(c); err != nil {
		t.Fatal(err)
	}
	c.startReading()
	ctx := context.Background()
	if _, err := b.Join(ctx, c, "g", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.SetUser("ann"); err != nil {
		t.Fatal(err)
	}
	if !burst {
		close(s.open)
	}
	queued, waiting := 0, 0
	c.queue.control(true, controlFrame(opPong, []byte("pong")))
	hand.workIf(!burst)
	for _, text := range script.texts {
		var res SendResult
		if text == faultsToUser {
			res, err = b.SendToUser(ctx, "ann", text)
		} else {
			res, err = b.GroupSend(ctx, "g", text, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		queued += res.Queued
		waiting += res.Waiting
		hand.workIf(!burst)
	}
	go c.Close(1000, "bye")
	synctest.Wait()
	if burst {
		close(s.open)
	}
	hand.work()
	time.Sleep(10 * time.Second) // the peer never answers
	hand.work()
	synctest.Wait()

	whole, sentBytes := 0, 0
	for whole < len(script.ends) && script.ends[whole] <= len(s.got) {
		sentBytes += len(script.texts[whole])
		whole++
	}
	if !bytes.HasPrefix(script.wire, s.got) {
		t.Errorf("%.300x went out, which is no beginning of %.300x", s.got, script.wire)
	}
	back := 0
	if queued > script.mail && whole <= script.mail { // it was on its way
		back = 1
	}
	if mails := faultsMail(b); mails != back+waiting {
		t.Errorf("%d messages in the mailbox, want %d", mails, back+waiting)
	}
	st := b.Stats()
	if int(st.Sent) != whole || int(st.Dropped) != queued-whole-back {
		t.Errorf("%d sent, %d dropped of %d; want %d, %d", st.Sent, st.Dropped, queued, whole, queued-whole-back)
	}
	if int(st.BytesSent) != sentBytes || st.QueuedMessages != 0 || st.QueuedBytes != 0 || st.Channels != 0 || st.Groups != 0 {
		t.Errorf("%+v; want %d bytes sent, nothing left", st, sentBytes)
	}
	code := s.fails.code
	if whole == len(script.texts) || burst {
		code = 1000 // it had begun to close
	}
	var end *CloseError
	if len(ended) != 1 || !errors.As(ended[0], &end) || end.Code != code {
		t.Fatalf("the end is %v, want %d, once", ended, code)
	}
	if code == 1006 && !(end.Remote && errors.Is(end, s.fails.err)) || code == StatusSlowConsumer && !errors.Is(end, ErrSlowConsumer) {
		t.Errorf("the cause of %v is not what happened", end)
	}
	if err := b.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// faultsMail is how many messages wait in b's mailboxes.
func faultsMail(b *ChannelBox) (n int) {
	b.users.mu.Lock()
	defer b.users.mu.Unlock()
	for _, box := range b.users.mail.boxes {
		n += len(box.mail)
	}
	return n
}

// A faultsWorker is a worker that works when it is told to.
type faultsWorker struct {
	workers workers // with no goroutine: none is allowed
	socket  *faultsSocket
}

func (h *faultsWorker) workIf(now bool) {
	if now {
		h.work()
	}
}

func (h *faultsWorker) work() {
	tr := &trial{batch: workerBatch(), long: true}
	tr.once = func(uintptr) bool { return h.socket.rawWrite(tr) }
	synctest.Wait()
	for {
		h.workers.mu.Lock()
		idle := h.workers.first == nil
		h.workers.running++ // as run would have
		h.workers.mu.Unlock()
		q := h.workers.next(tr, nil)
		if idle != (q == nil) {
			panic("the line is out of order")
		}
		if q == nil {
			break
		}
		for tr.serve(q, &h.workers) {
		}
		synctest.Wait()
	}
	tr.batch.free()
}
