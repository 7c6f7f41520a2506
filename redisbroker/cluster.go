package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// A cluster is the links of a broker whose client is a cluster's: one to each master, for the
// groups in its slots. Subscriptions are to shard channels: a message goes from the script to
// the subscribers by the one server that has its slot, and by none of the links between
// servers, which lose messages without anybody hearing of it.
type cluster struct {
	b       *Broker
	changed chan struct{} // the map of slots may not be true any more

	// Guarded by b.mu.
	slots   [slotCount]*link
	links   map[string]*link // by address
	nowhere *link            // of slots that no server is known to have; not started
}

const (
	slotCount    = 16384
	refreshEvery = 10 * time.Second
	refreshPause = 200 * time.Millisecond
)

// start starts what hears from the server, or from all of a cluster.
func (b *Broker) start() {
	if b.client.Mode() != rueidis.ClientModeCluster {
		b.link = newLink(b, func() (rueidis.Client, error) { return b.client, nil }, nil, b.inbox+"probe")
		b.link.start()
		return
	}
	c := &cluster{b: b, changed: make(chan struct{}, 1), links: make(map[string]*link)}
	c.nowhere = newLink(b, nil, c, "")
	for i := range c.slots {
		c.slots[i] = c.nowhere
	}
	b.shards = c
	b.wg.Go(c.run)
}

// linkOf returns the link to the server that has channel. b.mu is held.
func (b *Broker) linkOf(channel string) *link {
	if b.link != nil {
		return b.link
	}
	return b.shards.slots[slotOf(channel)]
}

// outages returns how many links subscribers have been told are broken. b.mu is held.
func (b *Broker) outages() (n int) {
	if b.link != nil {
		if b.link.told {
			n = 1
		}
		return n
	}
	for _, l := range b.shards.links {
		if l.told {
			n++
		}
	}
	return n
}

func (b *Broker) publishCommand() string {
	if b.shards != nil {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// look has the map of slots read again.
func (c *cluster) look() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// run keeps the links as the map of slots says, until the broker is closed.
func (c *cluster) run() {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		masters, err := c.read()
		if err != nil {
			c.nowhere.fail(err)
		} else {
			c.apply(masters)
		}
		pause := time.NewTimer(refreshPause)
		select {
		case <-pause.C:
		case <-c.b.ctx.Done():
			pause.Stop()
			return
		}
		if err != nil {
			continue
		}
		select {
		case <-tick.C:
		case <-c.changed:
		case <-c.b.ctx.Done():
			return
		}
	}
}

// read asks one server after another for the map of slots: the addresses of masters.
func (c *cluster) read() (masters *[slotCount]string, err error) {
	err = errors.New("no server of the cluster is known")
	for addr, node := range c.b.client.Nodes() {
		ctx, cancel := context.WithTimeout(c.b.ctx, time.Second)
		var ranges []rueidis.RedisMessage
		ranges, err = node.Do(ctx, read(node.B().ClusterSlots().Build())).ToArray()
		cancel()
		if err == nil {
			masters, err = readSlots(addr, ranges)
		}
		if err == nil {
			return masters, nil
		}
	}
	return nil, fmt.Errorf("the cluster's slots: %w", err)
}

// readSlots reads the reply of CLUSTER SLOTS that addr gave.
func readSlots(addr string, ranges []rueidis.RedisMessage) (*[slotCount]string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	masters := new([slotCount]string)
	for _, r := range ranges {
		parts, err := r.ToArray()
		if err != nil || len(parts) < 3 {
			return nil, errors.Join(errReply, err)
		}
		master, err := parts[2].ToArray()
		if err != nil || len(master) < 2 {
			return nil, errors.Join(errReply, err)
		}
		from, err1 := parts[0].AsInt64()
		to, err2 := parts[1].AsInt64()
		port, err3 := master[1].AsInt64()
		if err := errors.Join(err1, err2, err3); err != nil || from < 0 || to >= slotCount {
			return nil, errors.Join(errReply, err)
		}
		name, _ := master[0].ToString() // nil or "": the one that answers
		if name == "" {
			name = host
		}
		for slot := from; slot <= to; slot++ {
			masters[slot] = net.JoinHostPort(name, strconv.FormatInt(port, 10))
		}
	}
	return masters, nil
}

// apply makes the links, and what they are of, as masters says.
func (c *cluster) apply(masters *[slotCount]string) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	c.nowhere.state, c.nowhere.cause = away, errors.New("no server has the slot")
	used := make(map[*link]bool)
	for slot, addr := range masters {
		if addr == "" {
			c.slots[slot] = c.nowhere
			continue
		}
		l := c.links[addr]
		if l == nil || masters[slotOf(l.probe)] != addr {
			if l != nil {
				l.stop()
			}
			l = newLink(b, func() (rueidis.Client, error) { return c.node(addr, slot) }, c, b.tagged(func(s int) bool { return masters[s] == addr }))
			c.links[addr] = l
			l.start()
		}
		c.slots[slot] = l
		used[l] = true
	}
	for addr, l := range c.links {
		if !used[l] {
			l.stop()
			delete(c.links, addr)
		}
	}
	for channel, t := range b.topics {
		if l := c.slots[slotOf(channel)]; t.link != l {
			t.interrupt()
			t.link.want(channel)
			t.link = l
			l.want(channel)
			if l == c.nowhere {
				t.tell(unavailable(l.cause))
			}
		}
	}
	for _, l := range c.links {
		l.wake() // also for what was refused before
	}
}

// tagged returns a channel of this broker's in a slot that fits.
func (b *Broker) tagged(fits func(slot int) bool) string {
	for i := 0; ; i++ {
		if name := b.channel(ofBroker, b.token+"."+strconv.Itoa(i)); fits(slotOf(name)) {
			return name + "probe"
		}
	}
}

// node returns the client of the server at addr, which has slot.
func (c *cluster) node(addr string, slot int) (rueidis.Client, error) {
	if node, ok := c.b.client.Nodes()[addr]; ok {
		return node, nil
	}
	// The client learns of new servers when an old one sends it there.
	ctx, cancel := context.WithTimeout(c.b.ctx, time.Second)
	defer cancel()
	key := c.b.tagged(func(s int) bool { return s == slot })
	c.b.client.Do(ctx, read(c.b.client.B().Exists().Key(key).Build()))
	if node, ok := c.b.client.Nodes()[addr]; ok {
		return node, nil
	}
	return nil, fmt.Errorf("the client does not know %s, which has slot %d", addr, slot)
}

// slotOf returns the slot of one of our names, all of which have a hash tag.
func slotOf(name string) int {
	_, tag, _ := strings.Cut(name, "{")
	tag, _, _ = strings.Cut(tag, "}")
	var crc uint16 // CRC-16/XMODEM
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % slotCount)
}
