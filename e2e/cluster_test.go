package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// onEachEngine runs test with the embedded engine, and with Redis.
func onEachEngine(t *testing.T, test func(t *testing.T, args ...string)) {
	t.Run("NATS", func(t *testing.T) { test(t) })
	t.Run("Redis", func(t *testing.T) { test(t, "-broker", redistest.Start(t).URL()) })
}

// node is which node the window is on.
func (w *window) node() string {
	w.t.Helper()
	return eval[string](w, `document.getElementById('node').textContent`)
}

// hereOn waits until these and no others are here: "Ann@a", "Ben@b".
func (w *window) hereOn(people ...string) {
	w.t.Helper()
	w.wait(fmt.Sprintf(`Array.from(document.querySelectorAll('#people li'), e => e.querySelector('bdi').textContent + '@' + e.querySelector('.node').textContent).join() === %q`, strings.Join(people, ",")))
}

func TestTwoWindowsOnTwoNodesChat(t *testing.T) {
	onEachEngine(t, func(t *testing.T, args ...string) {
		cluster := start(t, "cluster", args...)
		ann, ben := visit(t, cluster.url("/"), "Ann"), visit(t, cluster.url("/lobby"), "Ben")
		a, b := ann.node(), ben.node()
		if a == b {
			t.Fatalf("both are on node %s", a)
		}
		for _, w := range []*window{ann, ben} {
			w.hereOn("Ann@"+a, "Ben@"+b)
		}
		ann.keys("hel")
		ben.wait(`document.getElementById('typing').textContent === 'Ann is typing…'`)
		ann.keys("lo")
		ann.say("")
		equal(t, ben.lines(1), []string{"hello"})
		ben.say("hi Ann")
		for _, w := range []*window{ann, ben} {
			equal(t, w.lines(2), []string{"hello", "hi Ann"})
			equal(t, w.texts("#log .node"), []string{a, b})
		}

		// A second window of Ben's is no second Ben, wherever it is.
		second := visit(t, cluster.url("/lobby"), "Ben")
		equal(t, second.lines(2), []string{"hello", "hi Ann"})
		ann.hereOn("Ann@"+a, "Ben@"+second.node())
		chromedp.Cancel(second.ctx)
		ann.hereOn("Ann@"+a, "Ben@"+b)
		chromedp.Cancel(ben.ctx)
		ann.hereOn("Ann@" + a)
	})
}

func TestANodeIsKilledWhileItsPagesListen(t *testing.T) {
	onEachEngine(t, func(t *testing.T, args ...string) {
		cluster := start(t, "cluster", args...)
		ann, ben := visit(t, cluster.url("/lobby"), "Ann"), visit(t, cluster.url("/lobby"), "Ben")
		old, other := ann.node(), ben.node()
		ben.hereOn("Ann@"+old, "Ben@"+other)
		ben.watchPeople()
		ann.keys("a draft")

		// Ben writes, a line when the one before has come back; in the middle Ann's node dies.
		const lines = 50
		eval[bool](ben, fmt.Sprintf(`(() => {
			for (let n = 1; n <= %d; n++) {
				document.getElementById('text').value = n;
				document.getElementById('composer').requestSubmit();
			}
			return true;
		})()`, lines))
		ann.lines(5)
		cluster.killNode(old)

		ann.wait(`document.body.dataset.state !== 'connected'`)
		ann.connected()
		if now := ann.node(); now != other {
			t.Errorf("Ann is on node %s, want %s", now, other)
		}
		for _, w := range []*window{ann, ben} {
			equal(t, w.lines(lines), numbers(1, lines))
			equal(t, w.texts(".divider"), []string{})
			w.hereOn("Ann@"+other, "Ben@"+other)
		}
		equal(t, ann.texts(".moved"), []string{fmt.Sprintf("Moved from node %s to node %s", old, other)})
		if draft := eval[string](ann, `document.getElementById('text').value`); draft != "a draft" {
			t.Errorf("the draft is %q", draft)
		}
		for _, list := range ben.peopleSeen() {
			if list != "Ann,Ben" {
				t.Errorf("Ben saw %q in between", list)
			}
		}

		// The node comes back, and has its share again.
		cluster.line(`node ` + old + `: ended`)
		cluster.line(`node ` + old + `: PID (\d+)`)
		cid := visit(t, cluster.url("/lobby"), "Cid")
		if now := cid.node(); now != old {
			t.Errorf("Cid is on node %s, want %s, which has nobody", now, old)
		}
		equal(t, cid.lines(lines), numbers(1, lines))
		cid.say("all there")
		equal(t, ann.lines(lines + 1)[lines:], []string{"all there"})
		ben.hereOn("Ann@"+other, "Ben@"+other, "Cid@"+old)
	})
}

// killNode ends the process of a node of the cluster without a word.
func (p *program) killNode(name string) {
	p.t.Helper()
	pid, err := strconv.Atoi(p.line("^node " + name + `: PID (\d+)`)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
}

// watchPeople notes every list of who is here from now on; peopleSeen returns them.
func (w *window) watchPeople() {
	w.t.Helper()
	eval[bool](w, `(() => {
		window.peopleSeen = [];
		const note = () => window.peopleSeen.push(Array.from(document.querySelectorAll('#people bdi'), e => e.textContent).join());
		new MutationObserver(note).observe(document.getElementById('people'), {childList: true});
		note();
		return true;
	})()`)
}

func (w *window) peopleSeen() []string {
	w.t.Helper()
	return slices.Compact(eval[[]string](w, `window.peopleSeen`))
}

func TestClusterOnAPhone(t *testing.T) {
	const width = 320
	cluster := start(t, "cluster")
	net := newProxy(t, cluster.addr)
	ann := visit(t, "http://"+net.addr+"/lobby", "Ann", chromedp.EmulateViewport(width, 700, chromedp.EmulateMobile, chromedp.EmulateTouch))
	ann.say("short")
	ann.say(strings.Repeat("unbroken", 12))
	ann.lines(2)
	fits := func() {
		t.Helper()
		if wide := eval[int](ann, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("the page is %d wide on a screen of %d", wide, width)
		}
		ann.wait(fmt.Sprintf(`(r => r.height > 0 && r.left >= 0 && r.right <= %d)(document.getElementById('status').getBoundingClientRect())`, width))
	}
	fits()
	node := ann.node()
	net.goDown()
	ann.wait(fmt.Sprintf(`/^Lost node %s, retry in \d+ s/.test(document.getElementById('status').innerText.replace(/\s+/g, ' '))`, node))
	fits()
}

func TestTheEngineIsAwayForAWhile(t *testing.T) {
	redis := redistest.Start(t)
	net := newProxy(t, redis.Addr())
	cluster := start(t, "cluster", "-broker", "redis://"+net.addr)
	ann, ben := visit(t, cluster.url("/lobby"), "Ann"), visit(t, cluster.url("/lobby"), "Ben")
	a, b := ann.node(), ben.node()
	ann.say("before")
	ben.lines(1)

	net.goDown()
	const mark = "#log .alone"
	ann.say("is anybody there?") // which reaches Ann's node only, and says so
	equal(t, ann.lines(2), []string{"before", "is anybody there?"})
	equal(t, ann.texts(mark), []string{"The other nodes may not have got this"})
	cid := visit(t, cluster.url("/lobby"), "Cid")
	cid.wait(`document.getElementById('state').textContent === 'Cut off on node'`)

	net.comeBack(redis.Addr())
	alone := 0
	for ; ; alone++ { // until Ben's node has noticed
		ben.say(fmt.Sprint("again ", alone))
		ben.lines(2 + alone)
		if len(ben.texts(mark)) == alone {
			break
		}
	}
	last := fmt.Sprint("again ", alone)
	equal(t, ann.lines(3), []string{"before", "is anybody there?", last})
	cid.wait(`document.getElementById('state').textContent === 'Connected to node'`)
	cid.wait(`document.querySelector('#log .moved')?.textContent === 'The nodes have found each other again'`)
	for _, want := range []string{"before", last} { // Cid came back for what it could not have
		if got := cid.texts("#log .words"); !slices.Contains(got, want) {
			t.Errorf("Cid has %q, want %q among them", got, want)
		}
	}
	for _, w := range []*window{ann, ben, cid} {
		w.hereOn("Ann@"+a, "Ben@"+b, "Cid@"+cid.node())
		equal(t, w.texts(".divider"), []string{})
	}
}
