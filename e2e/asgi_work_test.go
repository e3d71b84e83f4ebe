package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestASGIPipelined answers requests that came in one packet, in order, each with
// context variables of its own.
func TestASGIPipelined(t *testing.T) {
	for _, loop := range loops {
		s := startASGI(t, "--loop", loop, "checks:app")
		out := s.raw(strings.Repeat(getHead("/variables")+getHead("/task"), 10) + "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if n := strings.Count(out, "HTTP/1.1 200"); n != 21 || strings.Count(out, "Error") != 1 || !strings.Contains(out, "KeyError") {
			t.Errorf("%s: %d answers: %q", loop, n, out)
		}
	}
}

// TestASGIConcurrent has five hundred requests wait at once in one worker.
func TestASGIConcurrent(t *testing.T) {
	for _, loop := range loops {
		p := startProbe(t, "--loop", loop)
		const n = 500
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = p.ask("GET /slow?3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		}
		p.await("slow begun", n)
		if done := len(p.noted("slow answered")); done == n {
			t.Error("they did not wait at once")
		}
		for _, c := range conns {
			if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "slow") {
				t.Fatalf("%s: %q, %v", loop, b, err)
			}
		}
	}
}

const developed = `
import helper
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    await send({"type": "http.response.body", "body": helper.TEXT.encode()})
`

// TestASGIWatchCode changes the code of a server that has a stream open, which does not
// keep the old worker, nor the new one back.
func TestASGIWatchCode(t *testing.T) {
	for _, more := range [][]string{nil, {"--preload"}} {
		p := project{t, t.TempDir()}
		p.write("helper.py", "TEXT = 'one'")
		p.write("page.py", developed)
		s := startASGI(t, append([]string{"--chdir", p.dir, "--reload"}, append(more, "page:app")...)...)
		s.says(200, "one")
		r, err := http.Get("http://" + s.addr + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		stream := bufio.NewReader(r.Body)
		until(t, stream, "begun")
		ended := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, stream)
			r.Body.Close()
			close(ended)
		}()
		p.write("helper.py", "TEXT = 'two'")
		s.says(200, "two")
		select {
		case <-ended:
		case <-time.After(10 * time.Second): // of 30 that it could have
			t.Error("the stream goes on in the old worker")
		}
		p.write("page.py", developed+"raise SyntaxError('broken')\n")
		s.says(500, "broken")
		p.write("page.py", developed)
		s.says(200, "two")
	}
}

// TestASGIPreload has workers forked of a process that has imported the application;
// each has a loop and a lifespan of its own, also after a reload.
func TestASGIPreload(t *testing.T) {
	for _, loop := range loops {
		p := startProbe(t, "--preload", "-w", "3", "--loop", loop)
		p.await("startup", 3)
		p.underLoad(func() {
			p.signal(syscall.SIGHUP)
			p.waitLog("msg=reloaded")
		})
		p.await("startup", 6)
		p.await("shutdown", 3)
	}
}
