package e2e

import (
	"bufio"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestASGIReplaced has a worker replaced, by a reload and by another binary, while it has all
// kinds of work open, under load. Streams that listen are told, and end whole; who does not is
// cancelled in time, and is not taken for whole; WebSockets are closed with 1012; requests,
// background work and jobs of the executor end; lifespan.shutdown is behind them.
func TestASGIReplaced(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"reload": syscall.SIGHUP, "upgrade": syscall.SIGUSR2} {
		for _, loop := range loops {
			t.Run(name+"/"+loop, func(t *testing.T) {
				pidfile := filepath.Join(t.TempDir(), "pid")
				p := startProbe(t, "-w", "1", "--loop", loop, "--graceful-timeout", "8", "--http2-cleartext", "--pythonpath", apps, "-p", pidfile)
				master := p.successor(pidfile)
				old := p.await("startup").number("pid")
				sse, silent := bufio.NewReader(p.ask(getHead("/sse"))), bufio.NewReader(p.ask(getHead("/silent")))
				until(t, sse, "data: x")
				until(t, silent, "begun")
				slow := p.ask("GET /slow?2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				p.ask(getHead("/background"))
				p.ask(getHead("/executor"))
				p.await("slow begun")
				p.await("background begun")
				sockets := []*wsClient{p.websocket("/", ""), wsTunnel(t, p.dialTCP(), "/", ""), p.websocket("/stubborn", "")}
				for _, w := range sockets[:2] {
					w.say(0x81, "x")
					w.want("1 x")
				}
				p.underLoad(func() {
					p.signal(sig)
					p.await("startup", 2)
					for _, w := range sockets {
						w.want("close 1012 ")
						w.Close()
					}
				})
				if b, err := io.ReadAll(sse); err != nil || !strings.HasSuffix(string(b), "\r\n0\r\n\r\n") {
					t.Errorf("a stream that was told did not end whole: %q, %v", b, err)
				}
				if b, _ := io.ReadAll(silent); strings.HasSuffix(string(b), "0\r\n\r\n") {
					t.Errorf("a stream that was cut passes for whole: %q", b)
				}
				if b, err := io.ReadAll(slow); err != nil || !strings.HasSuffix(string(b), "slow") {
					t.Errorf("a request that was under way: %q, %v", b, err)
				}
				shutdown := p.await("shutdown")
				if shutdown.number("pid") != old {
					t.Errorf("not the old worker has ended: %v", shutdown)
				}
				for _, event := range []string{"sse told", "sse ends", "silent cancelled", "slow answered", "background done"} {
					if n := p.await(event); n.number("pid") != old || n["at"].(float64) > shutdown["at"].(float64) {
						t.Errorf("%s came after lifespan.shutdown, or elsewhere", event)
					}
				}
				p.await("executor done")
				for end := time.Now().Add(30 * time.Second); alive(old); time.Sleep(20 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the old worker does not leave")
					}
				}
				if sig == syscall.SIGUSR2 {
					if status := p.exitStatus(); status != 0 || master() == p.cmd.Process.Pid {
						t.Errorf("the old master: %d, and the pid file names %d", status, master())
					}
				}
				w := p.websocket("/", "") // of the new one, which is well
				w.say(0x81, "x")
				w.want("1 x")
				if n := len(p.noted("startup")); n != 2 {
					t.Errorf("%d workers have started", n)
				}
				if log := p.log.String(); strings.Contains(log, "Traceback") || strings.Contains(log, "level=ERROR") {
					t.Error("the log has an error")
				}
			})
		}
	}
}

// TestASGIStopTwice sends SIGTERM twice, as supervisors do that signal a process and its
// group, and not at once: what runs is not dropped for that.
func TestASGIStopTwice(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			p := startProbe(t, "--loop", loop, "--pythonpath", apps)
			slow := p.ask("GET /slow?4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			p.await("slow begun")
			w := p.websocket("/", "")
			p.signal(syscall.SIGTERM)
			w.want("close 1001 ")
			for range 2 {
				time.Sleep(1200 * time.Millisecond) // a second Ctrl-C is one by then
				p.signal(syscall.SIGTERM)
			}
			if b, err := io.ReadAll(slow); err != nil || !strings.HasSuffix(string(b), "slow") {
				t.Errorf("the request: %q, %v", b, err)
			}
			if status := p.exitStatus(); status != 0 {
				t.Errorf("ended with %d", status)
			}
			if n := p.await("slow answered"); n["at"].(float64) > p.await("shutdown")["at"].(float64) {
				t.Error("lifespan.shutdown came before the request's end")
			}
		})
	}
}
