package e2e

import (
	"context"
	"flag"
	"os"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var (
	picture = flag.String("screenshot", "", "write a picture of the program to this file")
	scheme  = flag.String("scheme", "light", "its colours: light or dark")
	width   = flag.Int64("width", 1000, "its width in CSS pixels; below 600, that of a phone")
)

// TestScreenshot makes the picture of the README:
//
//	go test ./... -run TestScreenshot -args -screenshot ../docs/chat.png
func TestScreenshot(t *testing.T) {
	if *picture == "" {
		t.Skip("no -screenshot file was asked for")
	}
	chat := start(t, "chat")
	names := []string{"Ann", "Ben", "Chloé", "Dev"}
	windows := map[string]*window{}
	for _, name := range names {
		windows[name] = visit(t, chat.url("/lobby"), name, view())
	}
	windows["Ann"].here(names...)
	for i, line := range []struct{ name, text string }{
		{"Ben", "Morning! The train leaves at 9:40 from platform 3."},
		{"Chloé", "I'll be there ten minutes early."},
		{"Ann", "Same here. Who brings the map?"},
		{"Dev", "Me. And the sandwiches."},
		{"Dev", "Does anybody not eat cheese?"},
		{"Ann", "I eat everything."},
		{"Ben", "Lost the connection in the tunnel, but it's all here again."},
	} {
		windows[line.name].say(line.text)
		windows["Ann"].lines(i + 1)
	}
	windows["Chloé"].keys("See")
	windows["Ann"].wait(`document.getElementById('typing').textContent !== ''`)
	windows["Ann"].keys("See you on the platform")

	windows["Ann"].capture()
}

// TestClusterScreenshot makes that of the cluster, in which a node has died:
//
//	go test ./... -run TestClusterScreenshot -args -screenshot ../docs/cluster.png
func TestClusterScreenshot(t *testing.T) {
	if *picture == "" {
		t.Skip("no -screenshot file was asked for")
	}
	cluster := start(t, "cluster")
	names := []string{"Ann", "Ben", "Chloé", "Dev"}
	windows := map[string]*window{}
	for _, name := range names {
		windows[name] = visit(t, cluster.url("/lobby"), name, view())
	}
	windows["Ann"].here(names...)
	n := 0
	say := func(name, text string) {
		windows[name].say(text)
		n++
		windows["Ann"].lines(n)
	}
	say("Ben", "Two nodes, and still one room.")
	say("Ann", "Looks like it. And if one dies?")
	say("Dev", "Let's see. I'll kill yours.")
	cluster.killNode(windows["Ann"].node())
	windows["Ann"].wait(`document.querySelector('.moved')`)
	say("Ben", "Ann, are you still there?")
	say("Ann", "Yes, on another node, and nothing is missing.")
	windows["Ann"].capture()
}

// capture writes the picture that was asked for.
func (w *window) capture() {
	w.t.Helper()
	png, err := chromedp.Run(w.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(*picture, png, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// view sets a window's size, colours and language.
func view() chromedp.Action[chromedp.Void] {
	height, options := int64(640), []chromedp.EmulateViewportOption{chromedp.EmulateScale(1.5)}
	if *width < 600 {
		height, options = 760, append(options, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait)
	}
	person := func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: "en_GB"})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: *scheme}},
		})
		return err
	}
	return chromedp.Steps(chromedp.EmulateViewport(*width, height, options...), chromedp.Func(person))
}
