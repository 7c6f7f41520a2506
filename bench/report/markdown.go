package report

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Results are all that there is to show.
type Results struct {
	Machine   Machine    `json:"machine"`
	Command   string     `json:"command"`
	Quick     bool       `json:"quick,omitempty"` // sizes were tiny
	Scenarios []Scenario `json:"scenarios"`
	Runs      []Run      `json:"runs"`
}

// Markdown writes tables, with the charts that are in folder, "" for here.
func (r *Results) Markdown(folder string) string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "`%s` on %s, with %d cores of %s, %s, %s.\n\n", r.Command, m.Date, m.Cores, m.CPU, m.System, m.Go)
	for i, path := range slices.Sorted(maps.Keys(m.Modules)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", path, m.Modules[path])
	}
	if r.Quick {
		b.WriteString("\n\nSizes were tiny: this shows that everything works, not how fast.")
	}
	b.WriteString("\n\nA cell is the median of the rounds (minimum–maximum).\n\n")
	if t := targetTable(r.Scenarios, r.Runs); len(t) > 1 {
		b.WriteString("### Targets\n\n")
		MarkdownTable(&b, 1, t)
	}
	for _, s := range r.Scenarios {
		rows := Rows(s, r.Runs)
		fmt.Fprintf(&b, "### %s\n\n%s: %s\n\n", s.Name, s.Title, s.Text)
		fmt.Fprintf(&b, "![%s](%s)\n\n", s.Title, folder+s.Name+".svg")
		MarkdownTable(&b, 1, grid(s, rows))
		for _, n := range append(notes(rows), verdict(s, rows)) {
			if n != "" {
				b.WriteString(n + "\n\n")
			}
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

var markdownEscape = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`)

// MarkdownTable writes cells, the heads first; text is how many columns of them are not
// figures. Short rows are those that say why there are no figures, and the figures of
// rows that are ours are bold.
func MarkdownTable(b *strings.Builder, text int, cells [][]string) {
	for i, line := range cells {
		b.WriteString("|")
		for j := range cells[0] {
			cell := ""
			if j < len(line) {
				cell = markdownEscape.Replace(line[j])
			}
			if i > 0 && slices.Contains(line[:text], Ours) {
				cell = "**" + cell + "**"
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", text) + strings.Repeat("---:|", len(line)-text) + "\n")
		}
	}
	b.WriteString("\n")
}

// The markers around what a README has between them.
const (
	BeginMark = "<!-- results:begin -->"
	EndMark   = "<!-- results:end -->"
)

// Splice returns text with section between the markers begin and end.
func Splice(text []byte, begin, end, section string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return nil, errors.New("there are no " + begin + " and " + end)
	}
	return slices.Concat(before, []byte(begin+"\n\n"+section+"\n"+end), after), nil
}
