package python_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// onLoop are the files of ASGI, which all share asgi.h: to the others they are one.
var onLoop = strings.Fields("asgi.c call.c files.c pending.c receive.c reply.c scope.c send.c step.c websocket.c")

// TestNoCircles holds the C files in layers: none needs what needs it. What a file takes
// from another is what the linker would look for.
func TestNoCircles(t *testing.T) {
	files, err := filepath.Glob("*.c")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	of := make(map[string]string)      // by symbol: the file that has it
	wants := make(map[string][]string) // by file: the symbols that it has not
	for _, f := range files {
		name := f
		if slices.Contains(onLoop, f) {
			name = "ASGI"
		}
		object := filepath.Join(dir, f+".o")
		run(t, cmp.Or(os.Getenv("CC"), "cc"), "-std=gnu11", "-O0", "-fPIC", "-c", f, "-o", object)
		for line := range strings.Lines(run(t, "nm", object)) {
			p := strings.Fields(line)
			switch symbol, kind := p[len(p)-1], p[len(p)-2]; kind {
			case "T", "D", "B", "R", "C":
				of[symbol] = name
			case "U":
				wants[name] = append(wants[name], symbol)
			}
		}
	}
	if len(of) < 50 || of["thread_loop"] != "loop.c" {
		t.Fatalf("nm shows %d symbols", len(of))
	}
	uses := make(map[string]map[string]string) // by file: the files it needs, and for what
	for f, symbols := range wants {
		uses[f] = make(map[string]string)
		for _, s := range symbols {
			if to := of[s]; to != "" && to != f {
				uses[f][to] = s
			}
		}
	}
	for f := range uses {
		if c := circle(uses, f); c != nil {
			t.Errorf("a circle: %s", strings.Join(c, " "))
		}
	}
}

// circle returns a way from f back to f, or nil.
func circle(uses map[string]map[string]string, f string) []string {
	ways := map[string][]string{f: {f}}
	for todo := []string{f}; len(todo) > 0; todo = todo[1:] {
		way := ways[todo[0]]
		for to, symbol := range uses[todo[0]] {
			next := append(slices.Clip(way), "("+symbol+")", to)
			if to == f {
				return next
			}
			if ways[to] == nil {
				ways[to] = next
				todo = append(todo, to)
			}
		}
	}
	return nil
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	c := exec.Command(name, args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
