package metrics

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// referenceHead is the page's head; single quotes stand for backticks.
const referenceHead = `<!-- Generated from metrics/table.go by "go generate ./metrics". Do not edit. -->

# Metrics

'/metrics' on [--admin-bind](settings.md) has the %d families below, in the text format of Prometheus, and 'process_…' of the master beside them. How they are counted is said at the head of package metrics ('metrics/doc.go').

All labels are bounded. The worker is the number by which logs and process titles name it, never a pid; a number that was once used stays. Counters begin with the master and never go back, also when workers end; they are there from the start, with 0.

[Alerts](../deploy/prometheus/rules.yml) on them are in 'deploy/prometheus'.
`

// Reference is docs/metrics.md.
func Reference() string {
	var b strings.Builder
	n := 0
	for _, g := range table {
		n += len(g.families)
	}
	head := strings.ReplaceAll(fmt.Sprintf(referenceHead, n), "'", "`")
	for para := range strings.SplitSeq(strings.TrimSuffix(head, "\n"), "\n") {
		b.WriteString(wrap(para, "", ""))
	}
	for _, g := range table {
		fmt.Fprintf(&b, "\n## %s\n\n", g.heading)
		for _, f := range g.families {
			labels := ""
			if len(f.labels) > 0 {
				labels = ", by `" + strings.Join(f.labels, "`, `") + "`"
			}
			text := fmt.Sprintf("`%s_%s` (%s%s): %s", namespace, f.name, f.typ, labels, f.help)
			b.WriteString(wrap(text, "* ", "  "))
		}
	}
	return b.String()
}

// columns is how long a line of the page may be.
const columns = 100

// wrap breaks text into lines, the first of which begins with first, the others with
// next.
func wrap(text, first, next string) string {
	var b strings.Builder
	line := first
	for i, word := range strings.Split(text, " ") {
		if i > 0 {
			if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
				b.WriteString(line + "\n")
				line = next
			} else {
				line += " "
			}
		}
		line += word
	}
	return b.String() + line + "\n"
}
