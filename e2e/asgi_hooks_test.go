package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASGIHooks runs pre_request and post_request around requests of an ASGI application: the
// second when the response is over, and not its background work.
func TestASGIHooks(t *testing.T) {
	dir := t.TempDir()
	notes, hooks := filepath.Join(dir, "notes"), filepath.Join(dir, "hooks_of_asgi.py")
	text := fmt.Sprintf(`
def note(text):
    with open(%q, "a") as f:
        f.write(text + "\n")


def pre_request(worker, req):
    if req.query == "refuse":
        raise ValueError("refused on purpose")
    note("pre %%s %%s %%s %%s" %% (req.method, req.uri, dict(req.headers).get("X-A"), req.remote_addr[0]))


def post_request(worker, req, environ, resp):
    note("post %%s %%s %%d %%s" %% (environ["path"], resp.status_code, resp.sent, dict(resp.headers).get("content-type")))
`, notes)
	if err := os.WriteFile(hooks, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProbe(t, "--hooks", hooks)
	if out := p.raw("GET /background?a=b HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(out, "ok") {
		t.Errorf("%q", out)
	}
	want := "pre GET /background?a=b b 127.0.0.1\npost /background 200 2 text/plain\n"
	p.eventually("the hooks", func() bool { b, _ := os.ReadFile(notes); return string(b) == want })
	if len(p.noted("background done")) != 0 {
		t.Error("post_request came behind the background work")
	}
	if status, _ := p.get("/raises"); status != 500 {
		t.Errorf("an exception: %d", status)
	}
	if status, _ := p.get("/?refuse"); status != 500 {
		t.Errorf("pre_request raises: %d", status)
	}
	p.waitLog("refused on purpose")
	want += "pre GET /raises None 127.0.0.1\npost /raises 0 0 None\npost / 0 0 None\n"
	p.eventually("the hooks of a failure", func() bool { b, _ := os.ReadFile(notes); return string(b) == want })
}

// TestASGIWarmup has each worker run requests once its application has started, and before it
// serves; that one fails does not keep it from that.
func TestASGIWarmup(t *testing.T) {
	for _, loop := range loops {
		p := startProbe(t, "--loop", loop, "-w", "2", "--preload", "--warmup", "/slow?0.1", "--warmup", "/raises", "--warmup", "/sse")
		if n := len(p.noted("slow answered")); n != 2 {
			t.Errorf("%s: %d requests were run", loop, n)
		}
		p.await("sse ends", 2)
		p.waitLog("ValueError: meant", 2)
		if _, b := p.get("/"); b != "hello" {
			t.Errorf("%s: %q", loop, b)
		}
		if n := p.noted("startup"); n[0]["at"].(float64) > p.noted("slow begun")[0]["at"].(float64) {
			t.Errorf("%s: a request came before lifespan.startup", loop)
		}
	}
}
