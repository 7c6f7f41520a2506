package e2e

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tell fills in the form of the notification page and returns the receipt.
func (w *window) tell(to, text string) string {
	w.t.Helper()
	w.do(
		chromedp.SetValue(chromedp.CSS("#to"), to),
		chromedp.SetValue(chromedp.CSS("#text"), text),
		chromedp.Click(chromedp.CSS("#post button")),
	)
	w.wait(`document.getElementById('receipt').dataset.kind !== ''`)
	return w.texts("#receipt")[0]
}

// inbox waits for a notification and returns all, newest first.
func (w *window) inbox(text string) []string {
	w.t.Helper()
	w.wait(fmt.Sprintf(`document.querySelector('#inbox .words')?.textContent === %q`, text))
	return w.texts("#inbox .words")
}

func TestNotifyTheAbsent(t *testing.T) {
	const delivered, waits = "Delivered to Ann.", "Ann is away. It waits for them."
	desk := start(t, "notify")
	net := newProxy(t, desk.addr)
	ann, ben := visit(t, "http://"+net.addr+"/", "Ann"), visit(t, desk.url("/"), "Ben")
	if got := ben.tell("Ann", "now"); got != delivered {
		t.Errorf("receipt %q, want %q", got, delivered)
	}
	equal(t, ann.inbox("now"), []string{"now"})

	net.goDown()
	for ben.tell("Ann", "still there?") != waits {
		t.Log("the server has not noticed yet")
	}
	for _, text := range []string{"first", "<b>second</b>", "third"} {
		if got := ben.tell("Ann", text); got != waits {
			t.Errorf("receipt %q, want %q", got, waits)
		}
	}
	net.comeBack(desk.addr)
	ann.click("#retry")
	equal(t, ann.inbox("third")[:4], []string{"third", "<b>second</b>", "first", "still there?"})
	if got := ben.tell("Ann", "live again"); got != delivered {
		t.Errorf("receipt %q, want %q", got, delivered)
	}
	ann.inbox("live again")
}

func TestNotifyByKeyboardOnAPhone(t *testing.T) {
	desk := start(t, "notify")
	w := visit(t, desk.url("/"), "Ann", chromedp.EmulateViewport(320, 700, chromedp.EmulateMobile, chromedp.EmulateTouch))
	w.wait(`document.activeElement.id === 'to'`)
	w.keys("Ann" + kb.Tab + "a note to myself" + kb.Tab)
	w.enter(chromedp.ModifierNone)
	w.inbox("a note to myself")
	if wide := eval[int](w, `document.documentElement.scrollWidth`); wide > 320 {
		t.Errorf("the page is %d wide on a screen of 320", wide)
	}
}
