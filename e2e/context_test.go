package e2e

import "testing"

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
