package main

import (
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// inbound is what a page sends. Receive calls Validate.
type inbound struct {
	Type   string `json:"type"` // "say" or "typing"
	ID     string `json:"id"`   // of a line, chosen by the page: it may send a line again and nobody sees two
	Text   string `json:"text"`
	Typing bool   `json:"typing"`
}

// Validate says what is wrong with m, in words for the person who wrote it.
func (m inbound) Validate() error {
	switch {
	case m.Type == "typing":
		return nil
	case m.Type != "say":
		return errors.New(`type must be "say" or "typing"`)
	case m.ID == "" || len(m.ID) > 64:
		return errors.New("id must have 1 to 64 bytes")
	case strings.TrimSpace(m.Text) == "":
		return errors.New("text must not be empty")
	case utf8.RuneCountInString(m.Text) > 2000:
		return errors.New("text must have at most 2000 characters")
	}
	return nil
}

// line, typing, came and left are about a room; only lines are kept in its history.
type (
	line struct {
		Type string    `json:"type"` // "line"
		ID   string    `json:"id"`
		Name string    `json:"name"`
		Node string    `json:"node"` // that took it
		Text string    `json:"text"`
		At   time.Time `json:"at"`
	}
	typing struct {
		Type   string `json:"type"` // "typing"
		Name   string `json:"name"`
		Typing bool   `json:"typing"`
	}
	came struct {
		Type string `json:"type"` // "came": is here, on this node
		person
	}
	left struct {
		Type string `json:"type"` // "left"
		Name string `json:"name"`
	}
	person struct {
		Name string `json:"name"` // one person, however many windows they have
		Node string `json:"node"` // of the window that came last
	}
)

// welcome and problem go to one page. A welcome follows the replay.
type (
	welcome struct {
		Type      string   `json:"type"` // "welcome"
		Node      string   `json:"node"`
		Epoch     string   `json:"epoch"` // "": the room's order cannot be had now
		Seq       uint64   `json:"seq"`
		Recovered bool     `json:"recovered"` // the replay held everything since the page's place
		People    []person `json:"people"`    // who is here; came and left say what changes
	}
	problem struct {
		Error   string `json:"error"`
		Details string `json:"details"`
		Retry   int    `json:"retry,omitempty"` // seconds
	}
)

func validName(name string) error { return validLabel("name", name, 32) }
func validRoom(room string) error { return validLabel("room", room, 48) }

func validLabel(what, s string, most int) error {
	switch n := utf8.RuneCountInString(s); {
	case n == 0 || n > most:
		return errors.New("the " + what + " is empty or too long")
	case !utf8.ValidString(s), strings.TrimSpace(s) != s, strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("the " + what + " has characters that it may not have")
	}
	return nil
}
