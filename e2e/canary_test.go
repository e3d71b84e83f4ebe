package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const releaseWSGI = `
import os, time
release = open(os.environ['RELEASE']).read().strip()

def app(environ, start_response):
    status = '200 OK'
    if release == 'broken':
        status = '500 Internal Server Error'
    elif release == 'slow':
        time.sleep(0.6)
    elif release == 'crashes':
        os._exit(7)
    start_response(status, [('Content-Length', str(len(release)))])
    return [release.encode()]
`

const releaseASGI = `
import asyncio, os
release = open(os.environ['RELEASE']).read().strip()

async def app(scope, receive, send):
    if scope['type'] == 'websocket':
        await receive()
        await send({'type': 'websocket.accept'})
        while (await receive())['type'] == 'websocket.receive':
            await send({'type': 'websocket.send', 'text': release})
        return
    assert scope['type'] == 'http'
    status = 200
    if release == 'broken':
        status = 500
    elif release == 'slow':
        await asyncio.sleep(0.6)
    elif release == 'crashes':
        os._exit(7)
    await send({'type': 'http.response.start', 'status': status, 'headers': [(b'content-length', str(len(release)).encode())]})
    await send({'type': 'http.response.body', 'body': release.encode()})
`

// tried is a server whose code is one of several, the one that its file names.
type tried struct {
	ctlServer
	dir  string
	dial func() (net.Conn, error) // reaches it
}

func startTried(t *testing.T, args ...string) tried {
	t.Helper()
	return startTriedIn(t, t.TempDir(), args...)
}

// startTriedIn is startTried whose code is in dir.
func startTriedIn(t *testing.T, dir string, args ...string) tried {
	t.Helper()
	write(t, dir, map[string]string{"rel.py": releaseWSGI, "rel_async.py": releaseASGI, "release": "one"})
	socket := filepath.Join(t.TempDir(), "ctl")
	s := tried{ctlServer: ctlServer{launch(t, append([]string{"--ctl-socket", socket, "--chdir", dir, "-e", "RELEASE=" + filepath.Join(dir, "release")}, args...)...), socket}, dir: dir}
	s.dial = func() (net.Conn, error) { return net.Dial("tcp", s.addr) }
	s.waitLog("msg=serving")
	return s
}

// release makes it the code to come.
func (s *tried) release(name string) {
	s.t.Helper()
	write(s.t, s.dir, map[string]string{"release": name})
}

// traffic is what clients that stay connected see of the server.
type traffic struct {
	mu       sync.Mutex
	bodies   map[string]int // how often each was the answer
	answers  int
	closed   int
	failures []string // connections that broke, or were closed
	stop     chan struct{}
	over     sync.WaitGroup
}

// drive keeps n connections busy until end, of which no client closes one.
func (s *tried) drive(n int) *traffic {
	l := &traffic{bodies: make(map[string]int), stop: make(chan struct{})}
	for range n {
		l.over.Go(func() {
			var c net.Conn
			var br *bufio.Reader
			for {
				select {
				case <-l.stop:
					if c != nil {
						c.Close()
					}
					return
				default:
				}
				body, closes, err := "", false, error(nil)
				if c == nil {
					if c, err = s.dial(); err == nil {
						br = bufio.NewReader(c)
					}
				}
				if err == nil {
					body, closes, err = askOn(c, br)
				}
				l.mu.Lock()
				if err != nil {
					l.failures = append(l.failures, err.Error())
				} else {
					l.bodies[body]++
					l.answers++
				}
				if closes {
					l.closed++
				}
				l.mu.Unlock()
				if (err != nil || closes) && c != nil {
					c.Close()
					c = nil
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return l
}

// askOn sends a request on a connection that stays.
func askOn(c net.Conn, br *bufio.Reader) (body string, closes bool, err error) {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return "", false, fmt.Errorf("write: %w", err)
	}
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		return "", false, fmt.Errorf("head: %w", err)
	}
	b, err := io.ReadAll(r.Body)
	return string(b), r.Close, err
}

func (l *traffic) count(body string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bodies[body]
}

// all is how many answers there were.
func (l *traffic) all() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}

// forget begins to count anew.
func (l *traffic) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bodies, l.answers = make(map[string]int), 0
}

// end ends it, and fails the test if a connection broke or was closed, or an answer is none of
// those that there may be.
func (l *traffic) end(t *testing.T, bodies ...string) {
	t.Helper()
	close(l.stop)
	l.over.Wait()
	if len(l.failures) > 0 || l.closed > 0 {
		t.Errorf("of %d requests %d failed, and %d connections were closed: %.3q", l.answers, len(l.failures), l.closed, l.failures)
	}
	for body := range l.bodies {
		if !strings.Contains(" "+strings.Join(bodies, " ")+" ", " "+body+" ") {
			t.Errorf("%d answers are %q", l.bodies[body], body)
		}
	}
}

// TestCanaryShare: a new generation has its share of the requests, whatever connections there
// are, and nobody's is closed when it is carried on.
func TestCanaryShare(t *testing.T) {
	for kind, args := range kinds(t, "rel:app", "rel_async:app") {
		t.Run(kind, func(t *testing.T) {
			s := startTried(t, append([]string{"-w", "3", "--canary", "10%:1h"}, args...)...)
			l := s.drive(6)
			s.eventually("an answer", func() bool { return l.count("one") > 0 })
			s.release("two")
			s.signal(syscall.SIGHUP)
			s.waitLog("trying the new generation")
			s.eventually("the canary's first answer", func() bool { return l.count("two") > 0 })
			l.forget()
			s.eventually("2000 answers", func() bool { return l.all() >= 2000 })
			two, all := l.count("two"), l.all()
			if share := float64(two) / float64(all); share < 0.08 || share > 0.12 {
				t.Errorf("the canary has had %d of %d requests", two, all)
			}
			if n := s.metric("hostler_workers", `state="canary"`); n != 1 {
				t.Errorf("%v workers are the canary's", n)
			}
			l.end(t, "one", "two")
		})
	}
}

// TestCanaryVerdict: a release that does as well as the one before is carried on to all workers;
// one that does worse goes back, and nobody's connection is closed for either.
func TestCanaryVerdict(t *testing.T) {
	for _, c := range []struct{ release, want, args string }{
		{"two", "", "--threads 4 rel:app"},
		{"two", "", "rel_async:app"},
		{"broken", "were answered 5xx", "--threads 4 rel:app"},
		{"broken", "were answered 5xx", "rel_async:app"},
		{"slow", "of its", "--threads 4 rel:app"},
		{"slow", "of its", "rel_async:app"},
		{"crashes", "died: exit:7", "--threads 4 rel:app"},
		{"crashes", "died: exit:7", "rel_async:app"},
	} {
		release, want := c.release, c.want
		t.Run(release+" "+c.args, func(t *testing.T) {
			span := "1h" // what is clear ends it before
			if want == "" {
				span = "2s"
			}
			s := startTried(t, append(strings.Fields(c.args), "-w", "3", "--canary", "20%:"+span)...)
			l := s.drive(8)
			s.eventually("an answer", func() bool { return l.count("one") > 0 })
			s.release(release)
			status, out, said := s.ctl("reload")
			if (status == 0) != (want == "") {
				t.Errorf("ctl reload: %d, %s%s", status, out, said)
			}
			if want == "" {
				s.eventually("the new generation alone", func() bool { return s.metric("hostler_workers", "") == 3 })
				l.forget()
				s.eventually("answers", func() bool { return l.all() > 100 })
				if l.count("one") > 0 {
					t.Error("the old generation serves on")
				}
				l.end(t, "two")
			} else {
				s.waitLog("the reload failed; the old workers serve on")
				if !strings.Contains(said, "the canary goes back: ") || !strings.Contains(said, want) {
					t.Errorf("it is said: %s", said)
				}
				s.eventually("the end of the canary", func() bool { return s.metric("hostler_workers", "") == 3 })
				l.forget()
				s.eventually("answers", func() bool { return l.all() > 100 })
				if l.count(release) > 0 {
					t.Error("the canary serves on")
				}
				if release == "crashes" { // what it had is lost, each client's connection once at most
					l.mu.Lock()
					if len(l.failures) > 8 {
						t.Errorf("%d requests failed, of 8 clients: %.3q", len(l.failures), l.failures)
					}
					l.failures = nil
					l.mu.Unlock()
				}
				l.end(t, "one")
				if _, out, _ := s.ctl("status"); !strings.Contains(out, want) {
					t.Errorf("status: %s", out)
				}
			}
			result := map[bool]string{true: "success", false: "failure"}[want == ""]
			if s.metric("hostler_canaries_total", result) != 1 || s.metric("hostler_reloads_total", result) != 1 {
				t.Error("it is not counted")
			}
		})
	}
}

// TestCanaryEnds: another reload ends a canary and brings what is newest, USR2 is refused, and
// TERM ends all in its time; nobody's connection is closed for the first two.
func TestCanaryEnds(t *testing.T) {
	s := startTried(t, "-w", "2", "--threads", "2", "--graceful-timeout", "5", "--canary", "20%:1h", "rel:app")
	l := s.drive(6)
	s.eventually("an answer", func() bool { return l.count("one") > 0 })
	s.release("two")
	s.signal(syscall.SIGHUP)
	s.eventually("an answer of the canary", func() bool { return l.count("two") > 0 })
	s.signal(syscall.SIGUSR2)
	s.waitLog("cannot upgrade now: a canary is under way")
	s.release("three")
	s.signal(syscall.SIGHUP)
	s.waitLog(errCanaryNewer)
	s.eventually("an answer of the next canary", func() bool { return l.count("three") > 0 })
	s.eventually("the end of the first", func() bool { return s.metric("hostler_workers", "") == 3 })
	l.forget()
	s.eventually("answers", func() bool { return l.all() > 200 })
	if l.count("one") == 0 || l.count("two") > 0 {
		t.Errorf("answers: %v", l.bodies)
	}
	l.end(t, "one", "three")
	s.signal(syscall.SIGTERM)
	<-s.exited
	if text := s.log.String(); !s.cmd.ProcessState.Success() || strings.Contains(text, "killing") {
		t.Errorf("%v: %s", s.cmd.ProcessState, text)
	}
}

const errCanaryNewer = "the canary was ended: another reload was asked for"
