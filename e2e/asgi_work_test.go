package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestASGILevel wants Python's memory, descriptors, threads and tasks to be the same
// after many requests, of which some fail, and some are left by their clients.
func TestASGILevel(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			p := startASGI(t, "--loop", loop, "probe:app") // which notes nothing: PROBE is not set
			round := func(n int) {
				stop := make(chan struct{})
				var results []<-chan loadResult
				for _, path := range []string{"/hello", "/scope?a=b", "/state"} {
					if path != "/state" { // that one grows on purpose
						results = append(results, p.load(4, path, stop))
					}
				}
				var done atomic.Int64
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						for done.Add(1) <= int64(n) {
							p.abort(t, i)
						}
					})
				}
				wg.Wait()
				close(stop)
				for _, r := range results {
					(<-r).check(t, 1)
				}
			}
			measure := func(most int) (blocks, fds, threads, tasks int) {
				p.eventually("the clients' leaving", func() bool {
					_, b := p.get("/level")
					if _, err := fmt.Sscan(b, &blocks, &fds, &threads, &tasks); err != nil {
						t.Fatalf("%v in %q", err, b)
					}
					return tasks <= 4 && fds <= most
				})
				return
			}
			round(500)                   // caches fill
			b0, f0, t0, _ := measure(60) // of a process with its loop
			round(4000)
			b1, f1, t1, _ := measure(f0 + 2)
			t.Logf("blocks %d → %d, descriptors %d → %d, threads %d → %d", b0, b1, f0, f1, t0, t1)
			if t1 > t0 {
				t.Errorf("threads %d → %d", t0, t1)
			}
			if b1 > b0+800 { // one for each of four kinds would be 1000
				t.Errorf("allocated blocks %d → %d", b0, b1)
			}
		})
	}
}

// abort begins one of some requests, and leaves.
func (s *server) abort(t *testing.T, kind int) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	head := []string{getHead("/wait"), getHead("/listening"), getHead("/sending"), "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
		getHead("/raises"), getHead("/raises?later"), getHead("/sse"), getHead("/wrong?body%20first")}[kind%8]
	_, _ = io.WriteString(c, head)
	if !strings.Contains(head, "/wait") && !strings.Contains(head, "/upload") {
		_, _ = bufio.NewReader(c).ReadString('\n')
	}
}

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
