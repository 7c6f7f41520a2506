package wschannels_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// FuzzMailbox compares the mailboxes of a box with slices: of users who are away, come,
// go, and do not read.
func FuzzMailbox(f *testing.F) {
	f.Add(uint16(300), uint8(0), []byte{0, 10, 0, 20, 6, 0, 3, 0, 12, 1, 4, 0})
	f.Add(uint16(700), uint8(1), []byte{0, 100, 6, 100, 12, 100, 18, 100, 2, 9, 6, 200, 2, 1, 6, 1})
	f.Add(uint16(400), uint8(2), []byte{0, 1, 3, 1, 0, 2, 0, 250, 0, 3, 4, 1, 0, 4, 3, 0})
	f.Add(uint16(900), uint8(0), []byte{6, 1, 3, 1, 0, 1, 4, 1, 9, 1, 6, 2, 2, 10, 10, 1})
	f.Add(uint16(500), uint8(1), []byte{0, 1, 3, 1, 5, 0, 0, 2, 4, 1, 3, 1, 0, 3, 4, 0})
	f.Fuzz(func(t *testing.T, limit uint16, boxes uint8, program []byte) {
		if len(program) > 400 {
			t.Skip("longer ones find no more, and take long")
		}
		synctest.Test(t, func(t *testing.T) {
			m := &mailModel{t: t, limit: 1 + int(limit)%2000, max: 1 + int(boxes)%3, users: map[string]*mailUser{}}
			m.box = boxOf(t, &Options{MailboxBytes: m.limit, MaxMailboxes: m.max, MailboxTTL: mailTTL})
			m.run(program)
		})
	})
}

const mailTTL = 10 * time.Minute

// A mailModel is what mailboxes are to do, in the plainest terms.
type mailModel struct {
	t          *testing.T
	box        *ChannelBox
	limit, max int
	users      map[string]*mailUser
	recent     []string // who has mail waiting, the least recently used mailbox first
	sent, lost int
}

// A mailUser has mail in the mailbox, or on the way to a device.
type mailUser struct {
	waiting []mailItem
	channel *Channel // nil: away
	conn    *wschannelstest.Conn
	stalled bool
	held    []mailItem // queued on channel
}

type mailItem struct {
	text string
	at   time.Time
}

func mailBytes(items []mailItem) (n int) {
	for _, i := range items {
		n += len(i.text) + 128 // as documented
	}
	return n
}

// run does what each two bytes of program say.
func (m *mailModel) run(program []byte) {
	names := []string{"ann", "bob", "cid", "dan"}
	for _, name := range names {
		m.users[name] = &mailUser{}
	}
	for ; len(program) >= 2; program = program[2:] {
		name, arg := names[int(program[0])/6%len(names)], int(program[1])
		switch u := m.users[name]; program[0] % 6 {
		case 0, 1:
			m.send(name, arg*3)
		case 2:
			time.Sleep(time.Duration(arg%16) * time.Minute)
		case 3:
			if u.channel == nil {
				m.comes(name, arg%2 == 1)
			}
		case 4:
			if u.channel != nil {
				m.goes(name, arg%2 == 0)
			}
		case 5:
			if u.channel != nil {
				m.stall(u, !u.stalled)
			}
		}
		m.check()
	}
	for _, name := range names {
		if m.users[name].channel == nil {
			m.comes(name, false)
		}
		m.goes(name, true)
		m.check()
	}
}

func (m *mailModel) send(name string, size int) {
	m.sent++
	item := mailItem{fmt.Sprintf("%d:%s", m.sent, strings.Repeat("x", size)), time.Now()}
	res := boxSendUser(m.t, m.box, name, item.text)
	queued, waiting := 0, 0
	if u := m.users[name]; u.channel != nil {
		u.held = append(u.held, item)
		queued = 1
	} else if mailBytes([]mailItem{item}) <= m.limit {
		m.keep(name, append(u.waiting, item))
		waiting = 1
	}
	if res.Queued != queued || res.Waiting != waiting {
		m.t.Fatalf("SendToUser of %d bytes: %+v, want %d queued, %d waiting", len(item.text), res, queued, waiting)
	}
}

// keep makes mail what waits for a user, as far as there is room.
func (m *mailModel) keep(name string, mail []mailItem) {
	for mailBytes(mail) > m.limit {
		mail = mail[1:]
		m.lost++
	}
	if len(mail) == 0 {
		return
	}
	if u := m.users[name]; len(u.waiting) == 0 && len(m.recent) == m.max {
		oldest := m.users[m.recent[0]]
		m.lost += len(oldest.waiting)
		oldest.waiting = nil
		m.recent = m.recent[1:]
	}
	m.users[name].waiting = mail
	m.recent = append(slices.DeleteFunc(m.recent, func(n string) bool { return n == name }), name)
}

// comes gives the user a device, which may not read.
func (m *mailModel) comes(name string, stalled bool) {
	u := m.users[name]
	u.channel, u.conn = boxMember(m.t, m.box, &ChannelOptions{PayloadType: Text, Heartbeat: -1, WriteTimeout: 1000 * time.Hour})
	m.stall(u, stalled)
	boxSetUser(m.t, u.channel, name)
	u.held, u.waiting = u.waiting, nil
	m.recent = slices.DeleteFunc(m.recent, func(n string) bool { return n == name })
}

func (m *mailModel) stall(u *mailUser, stalled bool) {
	if u.stalled = stalled; stalled {
		u.conn.Stall()
	} else {
		u.conn.Resume()
	}
}

// goes takes it away, perhaps after it has read everything.
func (m *mailModel) goes(name string, reads bool) {
	u := m.users[name]
	if reads {
		m.stall(u, false)
		m.check()
	}
	u.channel.CloseNow()
	held := u.held
	u.channel, u.held = nil, nil
	for len(held) > 0 && time.Since(held[0].at) >= mailTTL {
		held = held[1:]
		m.lost++
	}
	m.keep(name, held)
}

// check compares all that can be seen.
func (m *mailModel) check() {
	m.t.Helper()
	synctest.Wait()
	boxes, bytes := 0, 0
	for name, u := range m.users {
		for len(u.waiting) > 0 && time.Since(u.waiting[0].at) >= mailTTL {
			u.waiting = u.waiting[1:]
			m.lost++
		}
		if len(u.waiting) == 0 {
			m.recent = slices.DeleteFunc(m.recent, func(n string) bool { return n == name })
		} else {
			boxes++
			bytes += mailBytes(u.waiting)
		}
		if u.channel != nil && !u.stalled {
			var want []string
			for _, i := range u.held {
				want = append(want, i.text)
			}
			boxWant(m.t, "mail of "+name, boxWritten(u.conn), want)
			u.held = nil
		}
	}
	if s := m.box.Stats(); s.Mailboxes != boxes || s.MailboxBytes != int64(bytes) || s.Dropped != uint64(m.lost) {
		m.t.Fatalf("Stats: %+v; want %d mailboxes of %d bytes, %d dropped", s, boxes, bytes, m.lost)
	}
}
