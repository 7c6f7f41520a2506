package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// visit opens the chat and comes in under a name, by keyboard.
func visit(t *testing.T, url, name string, before ...chromedp.Action[chromedp.Void]) *window {
	t.Helper()
	w := open(t, url, before...)
	w.wait(`document.activeElement.id === 'name'`)
	w.keys(name)
	w.enter(chromedp.ModifierNone)
	w.connected()
	return w
}

func (w *window) connected() {
	w.t.Helper()
	w.wait(`document.body.dataset.state === 'connected'`)
}

func (w *window) say(text string) {
	w.t.Helper()
	w.wait(`document.activeElement.id === 'text'`)
	_, n := utf8.DecodeRuneInString(text)
	// Behind a dialog that has just been closed the browser has the focus there, and for a
	// moment no caret: keys of that moment, which no person is fast enough for, are lost.
	const value = `document.getElementById('text').value`
	before := eval[string](w, value)
	for end := time.Now().Add(patience); n > 0 && eval[string](w, value) == before; {
		if time.Now().After(end) {
			w.t.Fatalf("%q cannot be typed", text)
		}
		w.keys(text[:n])
	}
	w.keys(text[n:])
	w.enter(chromedp.ModifierNone)
	w.wait(`document.getElementById('text').value === ''`)
}

// lines waits until the log holds n lines and returns their texts.
func (w *window) lines(n int) []string {
	w.t.Helper()
	w.wait(fmt.Sprintf(`document.querySelectorAll('#log .words').length >= %d`, n))
	return w.texts("#log .words")
}

// here waits until these and no others are here.
func (w *window) here(names ...string) {
	w.t.Helper()
	w.wait(fmt.Sprintf(`Array.from(document.querySelectorAll('#people bdi'), e => e.textContent).join() === %q`, strings.Join(names, ",")))
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTwoWindowsChat(t *testing.T) {
	chat := start(t, "chat")
	ann := visit(t, chat.url("/"), "Ann") // the way in leads to the lobby
	ben := visit(t, chat.url("/lobby"), "Ben")
	ann.here("Ann", "Ben")
	ben.here("Ann", "Ben")

	ann.keys("hel")
	ben.wait(`document.getElementById('typing').textContent === 'Ann is typing…'`)
	ann.keys(strings.Repeat(kb.Backspace, 3))
	ben.wait(`document.getElementById('typing').textContent === ''`)

	ann.say("hello")
	equal(t, ben.lines(1), []string{"hello"})
	equal(t, ben.texts("#log .who"), []string{"Ann"})
	ben.say("hi Ann")
	equal(t, ann.lines(2), []string{"hello", "hi Ann"})
	ann.wait(`document.querySelectorAll('#outbox li').length === 0`)

	chromedp.Cancel(ben.ctx) // the window is closed
	ann.here("Ann")
}

func TestAnotherName(t *testing.T) {
	chat := start(t, "chat")
	ann, ben := visit(t, chat.url("/lobby"), "Ann"), visit(t, chat.url("/lobby"), "Ben")
	ann.say("hello")
	ann.lines(1)
	ann.click("#people button")
	ann.wait(`document.activeElement.id === 'name'`)
	ann.do(chromedp.SetValue(chromedp.CSS("#name"), "A\x01nn"))
	ann.click("#join button") // which the server does not take
	ann.wait(`document.getElementById('refused').checkVisibility()`)
	ben.here("Ben")
	ann.do(chromedp.SetValue(chromedp.CSS("#name"), "Anna"))
	ann.click("#join button")
	ben.here("Anna", "Ben")
	ann.say("it is me")
	ben.lines(2)
	equal(t, ben.texts("#log .who"), []string{"Ann", "Anna"})
	equal(t, ann.lines(2), []string{"hello", "it is me"})
}

func TestRoomsAreApart(t *testing.T) {
	chat := start(t, "chat")
	ann, ben := visit(t, chat.url("/lobby"), "Ann"), visit(t, chat.url("/"+"caf%C3%A9%20%2F%20bar"), "Ben")
	ben.wait(`document.getElementById('room').textContent === 'café / bar'`)
	ben.here("Ben")
	ben.say("over here")
	ben.lines(1)
	ann.here("Ann")
	ann.say("alone")
	equal(t, ann.lines(1), []string{"alone"})
}

func TestTextIsNeverMarkup(t *testing.T) {
	chat := start(t, "chat")
	const name, text = `<i>Ann</i>`, `<img src=x onerror="document.title='run'"><b>&amp;</b>`
	ann, ben := visit(t, chat.url("/lobby"), name), visit(t, chat.url("/lobby"), "Ben")
	ann.say(text)
	equal(t, ben.lines(1), []string{text})
	equal(t, ben.texts("#log .who"), []string{name})
	if n := eval[int](ben, `document.querySelectorAll('#log :is(img, b, i), #people i').length`); n != 0 {
		t.Errorf("%d elements were made of the text", n)
	}
}

func TestLateJoinerSeesHistory(t *testing.T) {
	chat := start(t, "chat")
	ann := visit(t, chat.url("/lobby"), "Ann")
	want := []string{"one", "two", "three"}
	for _, text := range want {
		ann.say(text)
	}
	ann.lines(3)
	ben := visit(t, chat.url("/lobby"), "Ben")
	equal(t, ben.lines(3), want)
	equal(t, ben.texts(".divider"), []string{})

	t.Run("and after a reload", func(t *testing.T) {
		ben.do(chromedp.Reload())
		ben.connected() // under the same name
		equal(t, ben.lines(3), want)
		ben.here("Ann", "Ben")
	})
}

func TestKeyboardOnly(t *testing.T) {
	chat := start(t, "chat")
	w := open(t, chat.url("/lobby"))
	w.wait(`document.activeElement.id === 'name'`)
	w.keys("Ann" + kb.Tab)
	w.wait(`document.activeElement.id === 'where'`)
	w.keys(kb.Tab)
	w.wait(`document.activeElement.textContent === 'Join'`)
	if eval[string](w, `getComputedStyle(document.activeElement).outlineStyle`) == "none" {
		t.Error("the focus cannot be seen")
	}
	w.keys(" ")
	w.connected()
	w.wait(`document.activeElement.id === 'text'`)
	w.keys("first")
	w.enter(chromedp.ModifierShift)
	w.keys("second" + kb.Tab)
	w.wait(`document.activeElement.textContent === 'Send'`)
	w.enter(chromedp.ModifierNone)
	equal(t, w.lines(1), []string{"first\nsecond"})
	w.say("third") // the focus is back where one writes
	equal(t, w.lines(2), []string{"first\nsecond", "third"})
}

func TestPhone(t *testing.T) {
	chat := start(t, "chat")
	for _, width := range []int64{320, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			phone := chromedp.EmulateViewport(width, 700, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
			room := chat.url(fmt.Sprintf("/a-room-with-a-rather-long-name-for-a-phone-%d", width))
			publish(t, chat, room, "Somebody with quite a long name!", strings.Repeat("unbroken", 40), "short")
			w := visit(t, room, "Ann", phone)
			w.say(strings.Repeat("Ann", 40))
			w.lines(3)
			if wide := eval[int](w, `document.documentElement.scrollWidth`); wide > int(width) {
				t.Errorf("the page is %d wide on a screen of %d", wide, width)
			}
			for _, id := range []string{"text", "status", "people"} {
				w.wait(fmt.Sprintf(`(r => r.height > 0 && r.top >= 0 && r.bottom <= innerHeight && r.right <= innerWidth)(document.getElementById(%q).getBoundingClientRect())`, id))
			}
			w.wait(`(r => r.bottom <= innerHeight)(document.querySelector('#log li:last-child').getBoundingClientRect())`)
		})
	}
}
