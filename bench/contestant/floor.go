package contestant

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"net"
	"net/http"
)

var floor = Contestant{
	Name: "floor",
	Setup: "No library: what the operating system charges. A broadcast builds the frame once, compresses it once " +
		"where that is asked for (compress/flate, level 1), and calls net.Conn.Write once for each member, " +
		"all from the goroutine that broadcasts. A connection is one goroutine with a buffer of 512 bytes. " +
		"There are no queues, pings or checks, and one member that does not read would stop all others, so it " +
		"sits the slow-member scenario out.",
	New: newFloor,
}

type floorHub struct {
	compress bool
	groups   groups[net.Conn]
	conns    conns[net.Conn]
	deflater *flate.Writer // used by Broadcast only
	packed   bytes.Buffer  // what deflater writes to
	frame    []byte        // reused: when Broadcast returns it has been written
}

func newFloor(cfg Config) Hub {
	h := &floorHub{compress: cfg.Compress}
	if cfg.Compress {
		h.deflater, _ = flate.NewWriter(&h.packed, flate.BestSpeed) // the level is valid
	}
	return h
}

func (h *floorHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, early, err := hijack(w, r, h.compress)
	if err != nil {
		return
	}
	if !h.conns.add(conn, 1) {
		_ = conn.Close()
		return
	}
	go h.serve(conn, r.URL.Query().Get("group"), early)
}

// serve reads what the client sends until it closes. early is what has been read
// already.
func (h *floorHub) serve(conn net.Conn, group string, early []byte) {
	defer h.conns.done()
	defer h.conns.remove(conn)
	defer conn.Close()
	h.groups.add(group, conn)
	defer h.groups.remove(group, conn)
	if _, err := conn.Write(appendFrame(nil, opText, []byte("ready"))); err != nil {
		return
	}
	readFrames(conn, early, func(op byte, payload []byte) bool {
		switch op {
		case opText:
			if string(payload) != "leave" {
				return true
			}
			h.groups.remove(group, conn)
			_, err := conn.Write(appendFrame(nil, opText, []byte("left")))
			return err == nil
		case opPing:
			_, err := conn.Write(appendFrame(nil, opPong, payload))
			return err == nil
		case opClose:
			_, _ = conn.Write(appendFrame(nil, opClose, payload)) // the last thing there is to do
			return false
		}
		return true
	})
}

func (h *floorHub) Broadcast(group string, payload []byte) {
	op := byte(opText)
	if h.compress {
		op |= rsv1
		payload = h.deflate(payload)
	}
	h.frame = appendFrame(h.frame[:0], op, payload)
	h.groups.each(group, func(conn net.Conn) bool {
		_, err := conn.Write(h.frame)
		return err == nil
	})
}

// deflate compresses as RFC 7692 section 7.2.1 says: flushed, without the four bytes
// that every flush ends with. Writing to memory cannot fail.
func (h *floorHub) deflate(payload []byte) []byte {
	h.packed.Reset()
	h.deflater.Reset(&h.packed)
	_, _ = h.deflater.Write(payload)
	_ = h.deflater.Flush()
	return h.packed.Bytes()[:h.packed.Len()-4]
}

func (h *floorHub) Members() int { return h.groups.len() }

func (h *floorHub) Counts() map[string]int64 { return nil }

func (h *floorHub) Close() {
	h.conns.close(func(conn net.Conn) { _ = conn.Close() })
}

// The opcodes of frames, and the bit beside them that says that a message is compressed.
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
	rsv1    = 0x40
)

// appendFrame appends a whole message in one frame, as a server sends it.
func appendFrame(p []byte, op byte, payload []byte) []byte {
	p = append(p, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		p = append(p, byte(n))
	case n < 1<<16:
		p = binary.BigEndian.AppendUint16(append(p, 126), uint16(n))
	default:
		p = binary.BigEndian.AppendUint64(append(p, 127), uint64(n))
	}
	return append(p, payload...)
}
