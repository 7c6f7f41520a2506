package contestant

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"
)

// hijack answers the upgrade by hand and takes the connection over. Of net/http's
// buffers it keeps nothing but what is in them.
func hijack(w http.ResponseWriter, r *http.Request, compress bool) (conn net.Conn, early []byte, err error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	offered := strings.Contains(r.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	if key == "" || compress && !offered {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return nil, nil, errors.New("not an upgrade that the floor knows")
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early = make([]byte, n)
		_, _ = rw.Reader.Read(early) // from memory
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if compress {
		answer += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
	}
	if _, err := conn.Write([]byte(answer + "\r\n")); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, early, nil
}

// readFrames calls handle for each frame of a client until it returns false, or the
// connection ends, or a frame comes that is longer than any a client here sends.
func readFrames(conn net.Conn, early []byte, handle func(op byte, payload []byte) bool) {
	var buf [512]byte
	n := copy(buf[:], early)
	for {
		rest := buf[:n]
		for {
			op, payload, size := parseFrame(rest)
			if size == 0 {
				break
			}
			if !handle(op, payload) {
				return
			}
			rest = rest[size:]
		}
		n = copy(buf[:], rest)
		if n == len(buf) {
			return
		}
		more, err := conn.Read(buf[n:])
		if err != nil {
			return
		}
		n += more
	}
}

// parseFrame takes the mask off the first frame of p and returns how long the frame is,
// 0 if it is not complete.
func parseFrame(p []byte) (op byte, payload []byte, size int) {
	const head = 2 + 4 // and the mask
	if len(p) < head {
		return 0, nil, 0
	}
	start, length := head, int(p[1]&0x7f)
	if length == 126 {
		if len(p) < head+2 {
			return 0, nil, 0
		}
		start, length = head+2, int(p[2])<<8|int(p[3])
	}
	if length == 127 || len(p) < start+length {
		return 0, nil, 0
	}
	payload = p[start : start+length]
	for i := range payload {
		payload[i] ^= p[start-4+(i&3)]
	}
	return p[0] & 0x0f, payload, start + length
}
