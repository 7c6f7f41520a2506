// Package contestant has the servers that are compared: the same work, done by each
// library in the way that its own documentation recommends.
package contestant

import "net/http"

// A Config says what the servers have to do.
type Config struct {
	// Window is how many messages a member may be behind. A contestant whose buffers
	// are counted in messages makes them this long, so that it need not drop any.
	Window int

	// MaxMessage is the size of the longest message in bytes.
	MaxMessage int

	// Compress turns permessage-deflate on, without context takeover.
	Compress bool

	// Limit makes a member that falls behind a slow consumer, to be handled as the
	// contestant does by default: Window is then no reason for longer buffers.
	Limit bool
}

// A Hub is a server under test. A client connects with ?group=NAME, becomes a member
// of that group, and is sent the text message "ready" once it is. A client that sends
// the text message "leave" is taken out of the group and answered with "left". The
// close frame of a client is answered.
type Hub interface {
	http.Handler

	// Broadcast sends a text message to every member of group. It is called by one
	// goroutine, and may block as long as the contestant's own call does. The hub
	// must not change payload, and may keep it.
	Broadcast(group string, payload []byte)

	// Members is how many members all groups have now. Every one of them gets what is
	// broadcast from now on; a client that has been told "ready" may become one a moment
	// later (centrifuge), so wait for Members before the first broadcast.
	Members() int

	// Counts are what the contestant itself says of slow members; nil if it says nothing.
	Counts() map[string]int64

	// Close ends the server and its goroutines.
	Close()
}

// A Contestant is one library, used in one way.
type Contestant struct {
	Name   string // as shown in tables
	Module string // import path of what is compared, "" for none
	Setup  string // how it is set up and why that is fair, a few sentences
	New    func(Config) Hub
	Only   string // the scenario in which alone it takes part; "": all

	// Dialect is what a client has to say first, and how many messages a frame may hold.
	Dialect Dialect
}

// A Dialect is what a client has to speak.
type Dialect uint8

const (
	Plain      Dialect = iota // a message is a message, in one frame unless it is compressed and long
	Centrifuge                // the JSON protocol of centrifuge: replies separated by newlines
)
