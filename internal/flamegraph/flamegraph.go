// Package flamegraph draws folded stacks as a flame graph: an SVG with nothing
// outside of it, which tells more of a frame under the pointer, and enlarges one that
// is clicked on.
package flamegraph

import (
	"cmp"
	_ "embed"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

//go:embed script.js
var script string

// Graph is a tree of stacks, with the time that was spent in each.
type Graph struct {
	Title, Subtitle string
	root            frame
}

type frame struct {
	total    time.Duration // its own time and that of what it called
	children map[string]*frame
}

// Add counts d for a stack: frames from the outermost on, with semicolons between
// them.
func (g *Graph) Add(stack string, d time.Duration) {
	at := &g.root
	at.total += d
	for name := range strings.SplitSeq(stack, ";") {
		next := at.children[name]
		if next == nil {
			next = new(frame)
			if at.children == nil {
				at.children = make(map[string]*frame)
			}
			at.children[name] = next
		}
		next.total += d
		at = next
	}
}

const (
	width  = 1200
	margin = 10
	height = 17 // of a frame
	head   = 56 // above all of them
	// narrow frames are left out, below a tenth of a pixel.
	narrow = 0.1
	// letter is about how wide one is; short is the least number that is shown.
	letter = 6.6
	short  = 3
)

// Render writes the SVG. The outermost frames are at the top.
func (g *Graph) Render(w io.Writer) error {
	p := &painter{w: w, all: max(g.root.total, 1)}
	h := head + height*(g.root.depth()+1) + margin
	p.print(`<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Verdana, 'DejaVu Sans', sans-serif" font-size="11">
<style>rect.page { fill: #fdfdfb } g.f { cursor: pointer } g.f rect { stroke: #fdfdfb; stroke-width: .5 } g.f:hover rect { stroke: #000 } g.hit rect { fill: #b48ce0 } .dim { opacity: .45 } #reset, #search { cursor: pointer; fill: #36c }</style>
<rect class="page" width="100%%" height="100%%"/>
<text x="%d" y="20" font-size="15">%s</text>
<text x="%d" y="37" fill="#555">%s</text>
<text id="told" x="%d" y="51" fill="#555"> </text>
<text id="search" x="%d" y="20" text-anchor="end">search</text>
<text id="reset" x="%d" y="37" text-anchor="end" visibility="hidden">whole graph</text>
<g id="frames">
`, width, h, width, h, margin, escape(g.Title), margin, escape(g.Subtitle), margin, width-margin, width-margin)
	p.frame("all", &g.root, margin, 0)
	p.print("</g>\n<script><![CDATA[\n%s]]></script>\n</svg>\n", script)
	return p.err
}

func (f *frame) depth() int {
	deepest := 0
	for _, c := range f.children {
		deepest = max(deepest, 1+c.depth())
	}
	return deepest
}

type painter struct {
	w   io.Writer
	all time.Duration
	err error
}

func (p *painter) print(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// frame draws f at x, and what it called below it, the largest first.
func (p *painter) frame(name string, f *frame, x float64, level int) {
	wide := p.wide(f.total)
	if wide < narrow {
		return
	}
	y := head + level*height
	p.print(`<g class="f"><title>%s: %s, %.2f %%</title><rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s"/>`,
		escape(name), f.total.Round(10*time.Microsecond), 100*float64(f.total)/float64(p.all), x, y, wide, height-1, colour(name))
	p.print(`<text x="%.2f" y="%d">%s</text></g>`+"\n", x+3, y+12, escape(fit(name, wide)))
	names := slices.SortedFunc(maps.Keys(f.children), func(a, b string) int {
		return cmp.Or(cmp.Compare(f.children[b].total, f.children[a].total), cmp.Compare(a, b))
	})
	for _, n := range names {
		p.frame(n, f.children[n], x, level+1)
		x += p.wide(f.children[n].total)
	}
}

func (p *painter) wide(d time.Duration) float64 {
	return float64(d) / float64(p.all) * (width - 2*margin)
}

// fit cuts a name to what there is room for.
func fit(name string, wide float64) string {
	n := int((wide - 6) / letter)
	r := []rune(name)
	switch {
	case n < short:
		return ""
	case len(r) <= n:
		return name
	}
	return string(r[:n-1]) + "…"
}

// colour is warm, and the same for what is of the same module.
func colour(name string) string {
	module, _, _ := strings.Cut(name, ":")
	h := fnv.New32a()
	_, _ = io.WriteString(h, module)
	v := h.Sum32()
	return fmt.Sprintf("hsl(%d,%d%%,%d%%)", 15+v%40, 70+v>>8%20, 62+v>>16%12)
}

// escape makes text of s that XML can hold, whatever is in it.
func escape(s string) string {
	var b strings.Builder
	shown := strings.Map(func(r rune) rune {
		// C1, and what changes the direction of text: the rest XML cannot hold.
		if r >= 0x7f && r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	_ = xml.EscapeText(&b, []byte(shown)) // a Builder does not fail
	return b.String()
}
