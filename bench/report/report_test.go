package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

var rooms = Scenario{
	Name: "rooms", Title: "Rooms <&> more", Text: "A text.",
	Metrics: []Metric{{Key: "rate", Title: "deliveries", Unit: "1/s", More: true}, {Key: "cpu", Title: "CPU", Unit: "µs"}},
}

// runs makes runs of rooms: a contestant's rates, round by round, less than 0 for a failure.
func runs(rates map[string][]float64) (all []Run) {
	for _, c := range []string{Floor, Ours, "melody", "gws", "wschannels-handler"} {
		for i, v := range rates[c] {
			r := Run{Scenario: "rooms", Contestant: c, Round: i + 1, Values: map[string]float64{"rate": v, "cpu": 1 / v}}
			if v < 0 {
				r.Values, r.Failed = nil, "a reason | with <marks>"
			}
			all = append(all, r)
		}
	}
	return all
}

var some = map[string][]float64{
	Floor: {100, 120, 90}, Ours: {4000, 5000, 4500}, "melody": {500, -1, 300}, "gws": {-1, -1, -1}, "wschannels-handler": {9000},
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
		text   string
	}{
		{nil, Spread{}, "–"},
		{[]float64{3}, Spread{3, 3, 3, 1}, "3"},
		{[]float64{9, 1, 4}, Spread{4, 1, 9, 3}, "4 (1–9)"},
		{[]float64{4, 1, 2, 9}, Spread{3, 1, 9, 4}, "3 (1–9)"},
	} {
		if got := SpreadOf(c.values); got != c.want || got.String() != c.text {
			t.Errorf("the spread of %v is %+v, %s", c.values, got, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.123: "0.12", 0.0123: "0.012", 7.66: "7.66", 12.34: "12.3", 123.4: "123", 1234: "1.23k", 66123: "66k", 2.8e6: "2.80M", -3.5: "-3.50",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	if got := Number(math.NaN()); got != "–" {
		t.Errorf("not a number is written %s", got)
	}
}

func TestRowsAndRatios(t *testing.T) {
	rows := Rows(rooms, append(runs(some), Run{Scenario: "paced", Contestant: Ours}))
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	melody := Find(rows, "melody")
	if melody.Failed != 1 || melody.Rounds != 3 || melody.Values["rate"] != (Spread{400, 300, 500, 2}) {
		t.Errorf("melody: %+v", melody)
	}
	if Find(rows, "gws").OK() || !melody.OK() || Find(rows, "nobody").OK() {
		t.Error("OK is not right")
	}
	if got := Ratio(Find(rows, Ours), Find(rows, Floor), "rate"); got != 45 {
		t.Errorf("the ratio is %v", got)
	}
	if got := Ratio(Find(rows, Ours), Find(rows, "gws"), "rate"); !math.IsNaN(got) {
		t.Errorf("the ratio to a failure is %v", got)
	}
	if best := BestPeer(rows, rooms.Metrics[0]); best != melody {
		t.Errorf("the best peer is %+v", best)
	}
	for metric, want := range map[Metric]string{rooms.Metrics[0]: "gws", rooms.Metrics[1]: "gws"} {
		two := Rows(rooms, runs(map[string][]float64{Floor: {1}, "melody": {10}, "gws": {20}}))
		if best := BestPeer(two, metric); best.Contestant != want {
			t.Errorf("the best peer by %s is %s", metric.Key, best.Contestant)
		}
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, rooms, runs(some)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"4.50k (4.00k–5.00k)", "45", "failed: a reason", "(1 of 3 rounds failed", "11.2 times what the best peer, melody"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := Results{Machine: ThisMachine(nil), Command: "go run .", Scenarios: []Scenario{rooms}, Runs: runs(some)}
	text := r.Markdown("results/")
	for _, want := range []string{
		"| **wschannels** | **4.50k (4.00k–5.00k)** | **45** |", "![Rooms <&> more](results/rooms.svg)",
		`a reason \| with &lt;marks>`, "| rooms | deliveries, × floor | ≥ 3.5 | 45 | yes |", "| rooms | deliveries, × best peer | ≥ 2 | 11.2 | yes |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| melody") && strings.Count(line, "|") != 5+1 { // one of them is the reason's
			t.Errorf("not four cells: %s", line)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		ours float64
		ok   bool
	}{{350, true}, {349, false}} {
		all := runs(map[string][]float64{Floor: {100}, Ours: {c.ours}})
		for _, target := range Targets() {
			if target.Scenario != "rooms" {
				continue
			}
			v, ok := target.Reached(rooms, all)
			if strings.HasSuffix(target.Text, "floor") && ok != c.ok {
				t.Errorf("%v: %v is reached: %v", target.Text, v, ok)
			}
			if strings.HasSuffix(target.Text, "peer") && (!math.IsNaN(v) || ok) {
				t.Errorf("%v without peers is %v", target.Text, v)
			}
		}
	}
}

func TestSplice(t *testing.T) {
	got, err := Splice([]byte("before\n"+BeginMark+"old\n"+EndMark+"\nafter"), BeginMark, EndMark, "new")
	if want := "before\n" + BeginMark + "\n\nnew\n" + EndMark + "\nafter"; err != nil || string(got) != want {
		t.Errorf("spliced to %q, %v", got, err)
	}
	if _, err := Splice([]byte("no marks"), BeginMark, EndMark, "new"); err == nil {
		t.Error("no error without marks")
	}
}

func TestCharts(t *testing.T) {
	for name, rates := range map[string]map[string][]float64{
		"logarithmic": some,
		"linear":      {Floor: {100, 120}, Ours: {300, 1999}, "melody": {0, 0}},
		"nothing":     {Floor: {0}, Ours: {-1}},
		"no rows":     nil,
	} {
		chart := Chart(rooms, runs(rates))
		d := xml.NewDecoder(strings.NewReader(chart))
		elements := 0
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, chart)
			}
			if e, ok := token.(xml.StartElement); ok {
				elements++
				for _, a := range e.Attr {
					if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || strings.Contains(a.Value, "%!") {
						t.Errorf("%s: %s of %s is %s", name, a.Name.Local, e.Name.Local, a.Value)
					}
				}
			}
		}
		if elements < 5 {
			t.Errorf("%s: %d elements", name, elements)
		}
		if log := strings.Contains(chart, "logarithmic"); log != (name == "logarithmic") {
			t.Errorf("%s: the scale is logarithmic: %v", name, log)
		}
	}
}

func TestScales(t *testing.T) {
	for _, largest := range []float64{0.003, 1, 1.99, 2, 3.99, 4, 9.9, 10, 123456} {
		s := linearScale(largest)
		if len(s.ticks) < 4 || len(s.ticks) > 10 || s.ticks[0] != 0 || s.at(0) != left || s.at(largest) != right {
			t.Errorf("up to %v: %+v", largest, s)
		}
	}
	s := logScale(0.5, 900)
	if got, want := fmt.Sprint(s.ticks), "[0.1 1 10 100]"; got != want || s.at(900) != right || s.at(0.1) != left {
		t.Errorf("ticks %s, want %s", got, want)
	}
}
