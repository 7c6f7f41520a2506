package report

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// The measures of a chart, in pixels.
const (
	width     = 800
	top       = 72
	rowHeight = 34
	barHeight = 18
	left      = 180 // where bars begin
	right     = 690 // where they end at most: behind is room for a label
	bottom    = 40
)

const (
	ink    = "#1f2328"
	faint  = "#59636e"
	lines  = "#d8dee4"
	peers  = "#9aa7b4"
	ours   = "#1f6feb"
	ground = "#b08800"
)

// Chart draws the first metric of a scenario: bars for medians, whiskers from minimum
// to maximum. It has a background of its own, for pages that are dark.
func Chart(s Scenario, runs []Run) string {
	rows := Rows(s, runs)
	m := s.Metrics[0]
	scale := newScale(rows, m.Key)
	height := top + rowHeight*len(rows) + bottom
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" `+
		`font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<title>%s</title>`+"\n", escape(s.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#ffffff" stroke="%s"/>`+"\n", width, height, lines)
	text(&b, 20, 30, "start", ink, `font-size="16" font-weight="600"`, s.Title)
	text(&b, 20, 52, "start", faint, "", subtitle(m, scale))
	axis(&b, scale, top-6, height-bottom)
	for i, r := range rows {
		bar(&b, r, m.Key, scale, top+rowHeight*i)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func subtitle(m Metric, s scale) string {
	better := "less is better"
	if m.More {
		better = "more is better"
	}
	if s.log {
		better += ", logarithmic scale"
	}
	return title(m) + " (" + better + ")"
}

func axis(b *strings.Builder, s scale, from, to int) {
	for _, v := range s.ticks {
		x := s.at(v)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`+"\n", x, from, x, to, lines)
		text(b, x, to+18, "middle", faint, `font-size="11"`, strings.Replace(Number(v), ".00", "", 1))
	}
}

func bar(b *strings.Builder, r *Row, key string, s scale, y int) {
	middle := y + rowHeight/2
	color, weight := peers, ""
	switch {
	case strings.HasPrefix(r.Contestant, Ours):
		color, weight = ours, `font-weight="600"`
	case r.Contestant == Floor:
		color = ground
	}
	text(b, left-10, middle+4, "end", ink, weight, r.Contestant)
	if !r.OK() {
		text(b, left+8, middle+4, "start", faint, `font-style="italic"`, "failed")
		return
	}
	v := r.Values[key]
	end := s.at(v.Median)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n",
		left, middle-barHeight/2, max(end-left, 1), barHeight, color)
	if v.Min < v.Max {
		lo, hi := s.at(v.Min), s.at(v.Max)
		fmt.Fprintf(b, `<path d="M%.1f %d v8 m0 -4 H%.1f m0 -4 v8" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n",
			lo, middle-4, hi, ink)
		end = max(end, hi)
	}
	label := Number(v.Median)
	if r.Failed > 0 {
		label += fmt.Sprintf(" (%d of %d failed)", r.Failed, r.Rounds)
	}
	text(b, end+8, middle+4, "start", ink, weight, label)
}

func text(b *strings.Builder, x any, y int, anchor, color, more, s string) {
	if f, ok := x.(float64); ok {
		x = fmt.Sprintf("%.1f", f)
	}
	fmt.Fprintf(b, `<text x="%v" y="%d" text-anchor="%s" fill="%s" %s>%s</text>`+"\n", x, y, anchor, color, more, escape(s))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // writing to memory
	return b.String()
}
