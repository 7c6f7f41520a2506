package e2e

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/wschannels/wschannels/internal/leak"
)

// patience is how long anything may take to appear.
const patience = 20 * time.Second

// scratch is where the programs and the browser's profile live.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(leak.Run(func() int { return run(m) }))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wschannels-e2e-")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	defer func() { closeBrowser() }() // launch sets it
	return m.Run()
}

var (
	closeBrowser = func() {}
	startBrowser = sync.OnceValues(launch)
)

// launch starts Chromium and returns the context that windows are opened in.
func launch() (context.Context, error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, exec.ErrNotFound
	}
	profile, err := os.MkdirTemp(scratch, "profile-")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox, // containers run as root
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	closeBrowser = func() {
		timeout, stop := context.WithTimeout(ctx, patience)
		defer stop()
		_ = chromedp.Cancel(timeout) // it is killed next, if it did not go by itself
		cancel()
	}
	return ctx, chromedp.Do(ctx)
}

// browser returns the one that all tests share, or skips a test that has none.
func browser(t *testing.T) context.Context {
	t.Helper()
	ctx, err := startBrowser()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip("no Chromium on this machine: install chromium or google-chrome to run the browser tests")
	}
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// window is a browser window with storage of its own.
type window struct {
	t   *testing.T
	ctx context.Context
}

// open opens a window on url. An exception in its page, or a breach of the
// page's content security policy, fails the test.
func open(t *testing.T, url string, before ...chromedp.Action[chromedp.Void]) *window {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext())
	console := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() { // ends with the window
		defer close(read)
		for m, err := range console {
			if err != nil {
				return
			}
			if m.IsException() || strings.Contains(m.Text, "Content Security Policy") {
				t.Errorf("console: %s", m)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-read })
	w := &window{t, ctx}
	if err := chromedp.Do(ctx, append(before, chromedp.Navigate(url))...); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	return w
}

// eval returns the value of a JavaScript expression.
func eval[T any](w *window, expression string) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits until a JavaScript expression is true. chromedp.Poll cannot do it
// here: it compiles the expression in the page, which the page's policy forbids.
func (w *window) wait(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	poll := fmt.Sprintf(`new Promise(done => (function look() { %s ? done(true) : setTimeout(look, 15) })())`, expression)
	for {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](poll, chromedp.EvalAwaitPromise))
		if err == nil {
			return
		}
		if ctx.Err() != nil { // else the page was left while we looked: look at the next
			w.t.Fatalf("never true: %s\npage:\n%s", expression, eval[string](w, "document.body.innerText"))
		}
	}
}

// do runs actions.
func (w *window) do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatal(err)
	}
}

// keys presses keys, one after the other, wherever the focus is.
func (w *window) keys(keys string) {
	w.t.Helper()
	w.do(chromedp.KeyEvent(keys))
}

// enter presses Enter. It is one event with its character, as from a keyboard, so
// that a page which prevents the key gets no character.
func (w *window) enter(modifiers chromedp.Modifier) {
	w.t.Helper()
	w.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		for _, typ := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
			key := input.DispatchKeyEventParams{Type: typ, Modifiers: int64(modifiers), Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13}
			if typ == input.DispatchKeyEventTypeKeyDown {
				key.Text = "\r"
			}
			if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, key); err != nil {
				return err
			}
		}
		return nil
	}))
}

// click clicks the first element that a selector finds.
func (w *window) click(selector string) {
	w.t.Helper()
	w.do(chromedp.Click(chromedp.CSS(selector)))
}

// texts returns the text of every element that a selector finds.
func (w *window) texts(selector string) []string {
	w.t.Helper()
	return eval[[]string](w, fmt.Sprintf(`Array.from(document.querySelectorAll(%q), e => e.textContent)`, selector))
}
