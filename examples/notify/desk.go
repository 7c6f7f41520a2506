package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// desk takes notifications over HTTP and hands them out over WebSockets.
type desk struct{ box *wschannels.ChannelBox }

// note is what somebody posts, as JSON or as a form.
type note struct {
	From string `json:"from"`
	Text string `json:"text"`
}

// notification is what arrives.
type notification struct {
	Type string    `json:"type"` // "notification"
	ID   uuid.UUID `json:"id"`
	From string    `json:"from"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// receipt says what became of a note: the windows that it went to now, or the
// mailboxes that keep it.
type receipt struct {
	ID        uuid.UUID `json:"id"`
	Delivered int       `json:"delivered"`
	Waiting   int       `json:"waiting"`
}

// notifyUser reaches every window of a person; with none open the note waits.
func (d *desk) notifyUser(w http.ResponseWriter, r *http.Request) {
	user := r.PathValue("user")
	if err := validUser(user); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n, err := readNote(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	result, err := d.box.SendToUser(r.Context(), user, n)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, receipt{ID: n.ID, Delivered: result.Queued, Waiting: result.Waiting})
}

// notifyChannel reaches one window, and nobody if it is gone.
func (d *desk) notifyChannel(w http.ResponseWriter, r *http.Request) {
	id, err := uuid.Parse(r.PathValue("channel"))
	if err != nil {
		http.Error(w, "the channel is no UUID", http.StatusBadRequest)
		return
	}
	n, err := readNote(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := d.box.SendTo(r.Context(), id, n); err != nil {
		fail(w, err)
		return
	}
	answer(w, receipt{ID: n.ID, Delivered: 1})
}

func readNote(w http.ResponseWriter, r *http.Request) (notification, error) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	var n note
	if typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); typ == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			return notification{}, fmt.Errorf("the body is not JSON: %w", err)
		}
	} else {
		if err := r.ParseForm(); err != nil {
			return notification{}, fmt.Errorf("the body is no form: %w", err)
		}
		n = note{From: r.PostForm.Get("from"), Text: r.PostForm.Get("text")}
	}
	if err := validUser(n.From); err != nil {
		return notification{}, fmt.Errorf("from: %w", err)
	}
	if length := utf8.RuneCountInString(n.Text); strings.TrimSpace(n.Text) == "" || length > 500 {
		return notification{}, errors.New("text must have 1 to 500 characters")
	}
	return notification{Type: "notification", ID: uuid.New(), From: n.From, Text: n.Text, At: time.Now().UTC()}, nil
}

func validUser(name string) error {
	length := utf8.RuneCountInString(name)
	if length == 0 || length > 32 || !utf8.ValidString(name) ||
		strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("a name has 1 to 32 characters, none of them a control character")
	}
	return nil
}

// fail answers with the status that fits err.
func fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, wschannels.ErrNoSuchChannel):
		http.Error(w, "no such channel", http.StatusNotFound)
	case errors.Is(err, wschannels.ErrClosed):
		http.Error(w, "closing", http.StatusServiceUnavailable)
	default:
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

func answer(w http.ResponseWriter, v receipt) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error means that the client left
}
