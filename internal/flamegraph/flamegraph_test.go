package flamegraph

import (
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

type drawn struct{ x, y, width float64 }

// frames reads an SVG: what is drawn of each title's beginning.
func frames(t *testing.T, svg string) map[string]drawn {
	t.Helper()
	all := make(map[string]drawn)
	d := xml.NewDecoder(strings.NewReader(svg))
	title, inTitle := "", false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("no XML: %v\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.StartElement:
			inTitle = e.Name.Local == "title"
			if e.Name.Local == "rect" && title != "" {
				var f drawn
				for _, a := range e.Attr {
					n, _ := strconv.ParseFloat(a.Value, 64)
					switch a.Name.Local {
					case "x":
						f.x = n
					case "y":
						f.y = n
					case "width":
						f.width = n
					}
				}
				all[title], title = f, ""
			}
		case xml.CharData:
			if inTitle {
				title = string(e[:strings.LastIndex(string(e), ": ")])
			}
		case xml.EndElement:
			inTitle = false
		}
	}
}

func TestRender(t *testing.T) {
	g := Graph{Title: "T <&>", Subtitle: "a ]]> b"}
	g.Add("main;quick", time.Second)
	g.Add("main;slow", 2*time.Second)
	g.Add("main;slow;deep", 3*time.Second)
	g.Add("main;slow;deep", time.Second)
	g.Add(`<script>alert("x")</script>&`+"\xff\x00", time.Second)
	g.Add("main;never", time.Microsecond)
	var b strings.Builder
	if err := g.Render(&b); err != nil {
		t.Fatal(err)
	}
	got := frames(t, b.String())
	near := func(a, b float64) bool { return a-b < 0.02 && b-a < 0.02 }
	all, main, quick, slow, deep := got["all"], got["main"], got["quick"], got["slow"], got["deep"]
	if !near(main.width, all.width*7/8) || !near(quick.width, all.width/8) || !near(slow.width, all.width*6/8) || !near(deep.width, all.width*4/8) {
		t.Errorf("widths: %+v", got)
	}
	if slow.x != main.x || !near(quick.x, slow.x+slow.width) || deep.y <= slow.y || slow.y <= main.y || main.y <= all.y {
		t.Errorf("places: %+v", got)
	}
	if _, ok := got["never"]; ok {
		t.Error("what cannot be seen is drawn")
	}
	if _, ok := got[`<script>alert("x")</script>&`+"\uFFFD\uFFFD"]; !ok || strings.Contains(b.String(), "<script>alert") {
		t.Errorf("a name is not what it was: %v", got)
	}
}

func TestRenderNothing(t *testing.T) {
	var g Graph
	var b strings.Builder
	if err := g.Render(&b); err != nil {
		t.Fatal(err)
	}
	frames(t, b.String())
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestRenderFails(t *testing.T) {
	var g Graph
	g.Add("a", 1)
	if err := g.Render(full{}); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

func TestEscape(t *testing.T) {
	if got := escape("<a\u202e\x1b\u009b\x7f\u2066>"); got != "&lt;a\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD&gt;" {
		t.Errorf("%q", got)
	}
}
