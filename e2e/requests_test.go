package e2e

import (
	"strings"
	"testing"
)

const contextApp = `import contextvars

last = contextvars.ContextVar("last", default="nothing")
imported = contextvars.ContextVar("imported", default="nothing")
imported.set("something")

def app(environ, start_response):
    start_response("200 OK", [])
    before = last.get()
    last.set(environ["QUERY_STRING"])
    def body():
        yield ("%s %s %s" % (before, last.get(), imported.get())).encode()
        last.set("the generator's")
    return body()
`

// TestContextVariables: what one request sets, the next one on its thread does not
// see; its own generator does.
func TestContextVariables(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"ctx.py": contextApp})
	for threads, imported := range map[string]string{"1": "something", "2": "nothing"} { // the main thread imports
		s := start(t, "--chdir", dir, "--threads", threads, "ctx:app")
		for _, q := range []string{"a", "b", "c", "d"} {
			if _, body := s.get("/?" + q); body != "nothing "+q+" "+imported {
				t.Errorf("%s threads: %q", threads, body)
			}
		}
	}
}

const lateApp = `class Late:
    def __init__(self, write):
        self.write = write
    def __iter__(self):
        yield b"whole"
    def close(self):
        self.write(b"late")

def app(environ, start_response):
    return Late(start_response("200 OK", []))
`

// TestWriteInClose: what is written when the body has ended does not become part of
// the next answer on the connection.
func TestWriteInClose(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"late.py": lateApp})
	s := start(t, "--chdir", dir, "late:app")
	out := s.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if strings.Contains(out, "late") || strings.Count(out, "whole") != 2 || strings.Count(out, "0\r\n\r\n") != 2 {
		t.Errorf("%q", out)
	}
}
