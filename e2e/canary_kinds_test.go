package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// begin reloads with a release that is tried, and waits for the canary's first answer.
func (s *tried) begin(l *traffic, release string) {
	s.t.Helper()
	s.release(release)
	s.signal(syscall.SIGHUP)
	s.eventually("an answer of the canary "+release, func() bool { return l.count(release) > 0 })
}

// share wants that part of the next requests to be answered by the release that is tried, and is
// right to a fifth of it.
func (s *tried) share(l *traffic, release string, want float64) {
	s.t.Helper()
	l.forget()
	s.eventually("1000 answers", func() bool { return l.all() >= 1000 })
	tried, all := l.count(release), l.all()
	if share := float64(tried) / float64(all); share < 0.8*want || share > 1.2*want {
		s.t.Errorf("the canary has had %d of %d requests, not %v of them", tried, all, want)
	}
}

// only waits until no other release than this answers.
func (s *tried) only(l *traffic, release string) {
	s.t.Helper()
	s.eventually("answers of "+release+" alone", func() bool {
		l.forget()
		s.eventually("100 answers", func() bool { return l.all() >= 100 })
		return l.count(release) == l.all()
	})
}

// TestCanaryKinds: a canary has its share, goes back, and is carried on, however clients and
// workers come.
func TestCanaryKinds(t *testing.T) {
	for name, args := range map[string]string{
		"unix":         "-b unix:DIR/socket rel:app",
		"unix ASGI":    "-b unix:DIR/socket rel_async:app",
		"user":         "--user nobody --python /usr/bin/python3 rel:app",
		"user preload": "--user nobody --python /usr/bin/python3 --preload rel:app",
		"user ASGI":    "--user nobody --python /usr/bin/python3 rel_async:app",
		"ready path":   "--ready-path / --ready-timeout 3 rel:app",
		"ready ASGI":   "--ready-path / --ready-timeout 3 --preload rel_async:app",
		"recycled":     "--max-requests 40 --preload rel:app", // what the mold has is the release of before
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "user") && os.Geteuid() != 0 {
				t.Skip("only root has workers that are somebody else")
			}
			dir, err := os.MkdirTemp("", "hostler-canary") // not t.TempDir, which nobody else may enter
			for _, file := range []string{"rel.py", "rel_async.py", "release"} {
				err = errors.Join(err, os.WriteFile(filepath.Join(dir, file), nil, 0o644)) // so it stays
			}
			if err = errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			file := filepath.Join(dir, "hostler.toml")
			write(t, dir, map[string]string{"hostler.toml": "canary = \"20%:1h\"\n"})
			s := startTriedIn(t, dir, append(strings.Fields(strings.ReplaceAll(args, "DIR", dir)), "-w", "3", "-c", file)...)
			if strings.HasPrefix(name, "unix") {
				s.dial = func() (net.Conn, error) { return net.Dial("unix", dir+"/socket") }
			}
			l := s.drive(6)
			s.eventually("an answer", func() bool { return l.count("one") > 0 })
			s.begin(l, "two")
			s.share(l, "two", 0.2)
			s.release("broken")
			because := "were answered 5xx"
			if strings.HasPrefix(name, "ready") {
				because = "500" // it is not even tried
			}
			if status, out, said := s.ctl("reload"); status == 0 || !strings.Contains(said, because) {
				t.Errorf("ctl reload: %d, %s%s", status, out, said)
			}
			s.only(l, "one")
			write(t, dir, map[string]string{"hostler.toml": "canary = \"20%:1s\"\n"})
			s.release("three")
			if status, out, said := s.ctl("reload"); status != 0 {
				t.Errorf("ctl reload: %d, %s%s", status, out, said)
			}
			s.only(l, "three")
			l.end(t, "one", "two", "broken", "three")
			if n := s.metric("hostler_worker_exits_total", "recycled"); (n > 0) != strings.HasPrefix(name, "recycled") {
				t.Errorf("%v workers have been replaced", n)
			}
		})
	}
}

// TestCanarySockets: a WebSocket stays where it is when a canary begins, ends or is carried on;
// new ones count as requests do. Who goes back or is replaced ends its own as a drain does.
func TestCanarySockets(t *testing.T) {
	s := startTried(t, "-w", "3", "--graceful-timeout", "6", "--canary", "25%:1h", "rel_async:app")
	ask := func(w *socket) string {
		w.t.Helper()
		w.send(frameText, "?")
		_, text := w.frame()
		return text
	}
	old := s.openSocket(t, "/", false)
	l := s.drive(3)
	s.begin(l, "two")
	if text := ask(old); text != "one" {
		t.Errorf("a socket of before is %s's", text)
	}
	var ofOne, ofTwo []*socket
	for range 80 {
		w := s.openSocket(t, "/", false)
		if text := ask(w); text == "two" {
			ofTwo = append(ofTwo, w)
		} else if text == "one" {
			ofOne = append(ofOne, w)
		} else {
			t.Fatal(text)
		}
	}
	if n := len(ofTwo); n < 10 || n > 30 {
		t.Errorf("the canary has got %d of 80 sockets", n)
	}
	s.eventually("all to be counted", func() bool { return s.metric("hostler_websockets", "") == 81 })
	s.release("three")
	s.signal(syscall.SIGHUP)
	s.waitLog(errCanaryNewer)
	for _, w := range ofTwo {
		if kind, text := w.frame(); kind != frameClose || !strings.HasPrefix(text, "\x03\xf4") { // 1012
			t.Fatalf("at its worker's end a socket of the canary's got %d %q", kind, text)
		}
	}
	for _, w := range append(ofOne, old) {
		if text := ask(w); text != "one" {
			t.Errorf("a socket of the workers that serve is %s's", text)
		}
	}
	s.eventually("an answer of the next canary", func() bool { return l.count("three") > 0 })
	l.end(t, "one", "two", "three")
	for _, w := range append(append(ofTwo, ofOne...), old) {
		w.conn.Close()
	}
}

// TestCanaryMeanwhile: the number of workers can be changed while a canary is tried, and QUIT ends
// it with all else; restart is refused.
func TestCanaryMeanwhile(t *testing.T) {
	s := startTried(t, "-w", "4", "--threads", "2", "--preload", "--canary", "25%:1h", "rel:app")
	l := s.drive(6)
	s.eventually("an answer", func() bool { return l.count("one") > 0 })
	s.begin(l, "two")
	want := func(serving, canary float64) {
		t.Helper()
		s.eventually("the workers", func() bool {
			return s.metric("hostler_workers", `state="serving"`) == serving && s.metric("hostler_workers", `state="canary"`) == canary && s.metric("hostler_workers", "") == serving+canary
		})
		s.share(l, "two", 0.25)
	}
	want(4, 1)
	s.must("scale", "8")
	want(8, 2)
	s.signal(syscall.SIGTTOU)
	want(7, 2)
	s.must("scale", "2")
	want(2, 1)
	if status, _, said := s.ctl("restart", "1"); status == 0 || !strings.Contains(said, "under way") {
		t.Errorf("restart: %d %s", status, said)
	}
	if status, out, said := s.ctl("status"); status != 0 || !strings.Contains(out, "canary") {
		t.Errorf("status: %d %s%s", status, out, said)
	}
	l.end(t, "one", "two")
	s.signal(syscall.SIGQUIT)
	<-s.exited
	if text := s.log.String(); !s.cmd.ProcessState.Success() || strings.Contains(text, "killing") {
		t.Errorf("%v: %s", s.cmd.ProcessState, text)
	}
}

// TestCanaryTLS: over TLS the share is one of new connections, which stay with who got them; they
// come to no harm when the canary goes back, but that those of its own end in good order.
func TestCanaryTLS(t *testing.T) {
	for name, args := range map[string]string{"HTTP/1.1": "rel:app", "HTTP/2": "rel:app", "ASGI": "rel_async:app", "PROXY": "--proxy-protocol auto --forwarded-allow-ips * rel:app"} {
		t.Run(name, func(t *testing.T) {
			s := startTried(t, append(append(newPair(t, t.TempDir(), "a.example", 1).args(), strings.Fields(args)...), "-w", "3", "--keep-alive", "60", "--canary", "25%:1h")...)
			ask := func(c *http.Client) string {
				t.Helper()
				r, err := c.Get("https://" + s.addr + "/")
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				b, err := io.ReadAll(r.Body)
				if err != nil || (r.ProtoMajor == 2) != (name == "HTTP/2") {
					t.Fatal(r.Proto, err)
				}
				return string(b)
			}
			dial := func() *http.Client {
				c := s.secure(name == "HTTP/2", nil)
				if name == "PROXY" {
					c.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
						conn, err := net.Dial("tcp", s.addr)
						if err == nil {
							_, err = io.WriteString(conn, "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n")
						}
						return conn, err
					}
				}
				return c
			}
			old := dial()
			if text := ask(old); text != "one" {
				t.Fatal(text)
			}
			s.release("two")
			s.signal(syscall.SIGHUP)
			s.waitLog("of new connections")
			clients := make(map[*http.Client]string)
			s.eventually("the canary", func() bool { return ask(dial()) == "two" })
			two := 0
			for range 80 {
				c := dial()
				if clients[c] = ask(c); clients[c] == "two" {
					two++
				}
			}
			if two < 6 || two > 34 { // a busy one leaves some to the others
				t.Errorf("the canary has got %d of 80 connections", two)
			}
			for range 3 {
				for c, was := range clients {
					if now := ask(c); now != was {
						t.Fatalf("a connection of %s is one of %s", was, now)
					}
				}
			}
			if text := ask(old); text != "one" {
				t.Errorf("a connection of before is %s's", text)
			}
			if n := s.metric("hostler_tls_handshakes_total", "success"); n < 81 {
				t.Errorf("%v handshakes", n)
			}
			if n := s.metric("hostler_tls_handshakes_total", "failure"); n != 0 {
				t.Errorf("%v handshakes failed", n)
			}
			s.release("broken")
			s.signal(syscall.SIGHUP)
			s.waitLog(errCanaryNewer)
			s.eventually("the verdict", func() bool {
				ask(dial())
				return strings.Contains(s.log.String(), "were answered 5xx")
			})
			for c, was := range clients {
				s.eventually("the release of before", func() bool { return ask(c) == "one" })
				if was == "one" && ask(c) != "one" {
					t.Error("a connection has moved")
				}
			}
		})
	}
}
