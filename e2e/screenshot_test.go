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
	picture = flag.String("screenshot", "", "write a picture of the chat to this file")
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

	png, err := chromedp.Run(windows["Ann"].ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*picture, png, 0o644); err != nil {
		t.Fatal(err)
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
