package e2e

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"
)

// try presses a case's button and returns what the page was told, once it is done.
func (w *window) try(id string) []string {
	w.t.Helper()
	w.click("#" + id + " button")
	w.wait(fmt.Sprintf(`!document.querySelector('#%s button').disabled`, id))
	return w.texts("#" + id + " li")
}

func TestGuards(t *testing.T) {
	guarded := start(t, "guarded", "-token", "open-sesame")
	w := open(t, guarded.url("/"))
	w.do(chromedp.SendKeys(chromedp.CSS("#token"), "open-sesame"))

	const ok = `{"ok":true,"order":{"item":"tea","count":2}}`
	for _, tt := range []struct{ id, want string }{ // the first three count as connections, too
		{"wrong", `^closed with 4001`},
		{"messages", `"error":"Too many messages"`},
		{"connections", `^closed with 4002`},
		{"requests", `^429 .*Retry-After: \d+`},
	} {
		told := w.try(tt.id)
		if !regexp.MustCompile(tt.want).MatchString(told[len(told)-1]) {
			t.Errorf("%s: the last of %q is not %s", tt.id, told, tt.want)
		}
	}
	if told := w.texts("#messages li"); len(told) != 6 || told[0] != ok {
		t.Errorf("messages: got %q, want 6 answers, the first %s", told, ok)
	}
}
