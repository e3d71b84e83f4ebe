package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// trouble is the application of docs/troubleshooting.md.
const trouble = `
import os, time

def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/exit":
        os._exit(3)
    if path == "/kill":
        os.kill(os.getpid(), 9)
    if path == "/slow":
        time.sleep(float(query))
    if path == "/wait": # in short pieces, so that it can be interrupted
        end = time.monotonic() + float(query)
        while time.monotonic() < end:
            time.sleep(.01)
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [environ["wsgi.url_scheme"].encode()]
`

// TestTroubleshooting causes the lines that docs/troubleshooting.md explains, each under
// its heading. A heading that has lines and is not caused here fails.
func TestTroubleshooting(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("trouble.py", trouble)
	write("wsgi.py", "app = None\n")
	// with serves the application, and returns what was logged when ask has returned and
	// all of want, if any, are there.
	with := func(t *testing.T, args []string, ask func(s *server), want ...string) string {
		s := launchBareIn(t, dir, append([]string{"--python", venv, "--admin-bind", "off", "trouble:app"}, args...)...)
		s.waitLog("msg=serving")
		ask(s)
		for _, text := range want {
			s.waitLog(text)
		}
		return s.log.String()
	}
	// fails starts what cannot start.
	fails := func(t *testing.T, args ...string) string {
		s := launchIn(t, dir, append([]string{"--python", venv, "--admin-bind", "off"}, args...)...)
		<-s.exited
		return s.log.String()
	}
	free := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	// lose sends a request whose worker dies of it.
	lose := func(s *server, path string) {
		if r, err := client.Get("http://" + s.addr + path); err == nil {
			r.Body.Close()
			s.t.Errorf("%s is answered %s", path, r.Status)
		}
	}

	causes := map[string]func(t *testing.T) string{
		"It does not start: module not found":    func(t *testing.T) string { return fails(t, "-b", free(), "shop:app") },
		"It does not start: no such application": func(t *testing.T) string { return fails(t, "-b", free(), "wsgi:application") },
		"It does not start: the address is in use": func(t *testing.T) string {
			l, err := net.Listen("tcp", free())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return fails(t, "-b", l.Addr().String(), "trouble:app")
		},
		"It does not start: permission denied": func(t *testing.T) string {
			return notAsRoot(t, "-b", "127.0.0.1:80", "--admin-bind", "off", "trouble:app")
		},
		"A reload changes nothing": func(t *testing.T) string {
			return with(t, nil, func(s *server) {
				write("trouble.py", "raise KeyError('DATABASE_URL')\n")
				defer write("trouble.py", trouble)
				s.signal(syscall.SIGHUP)
				s.waitLog("the reload failed")
			})
		},
		"502 from nginx or another proxy": func(t *testing.T) string {
			return with(t, nil, func(s *server) { lose(s, "/exit") }, "worker died")
		},
		"503": func(t *testing.T) string {
			return with(t, []string{"--queue", "1"}, func(s *server) {
				// Connections that the worker has; others would wait in the listen queue.
				var all []*wire
				for range 8 {
					w := s.dial()
					w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
					w.answer("GET")
					all = append(all, w)
				}
				for _, w := range all {
					w.send("GET /slow?1 HTTP/1.1\r\nHost: a\r\n\r\n")
				}
			}, "are declined with 503")
		},
		"504, and requests that are cut off": func(t *testing.T) string {
			return with(t, []string{"-t", "1"}, func(s *server) {
				if status, _ := s.get("/wait?20"); status != 504 {
					t.Errorf("/wait is answered %d", status)
				}
				lose(s, "/slow?20")
			}, "cannot be interrupted")
		},
		"Everything is slow": func(t *testing.T) string {
			return with(t, []string{"--slow-request", "100ms"}, func(s *server) { s.get("/slow?1") }, "a slow request")
		},
		"A redirect loop, or links with http:": func(t *testing.T) string {
			return with(t, []string{"--forwarded-allow-ips", "192.0.2.1"}, func(s *server) {
				if body := s.raw("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(body, "\r\n\r\nhttp") {
					t.Errorf("%q", body)
				}
			}, "a peer that is not trusted")
		},
		"400, 413, 414, 431": func(t *testing.T) string {
			long := strings.Repeat("a", 20000)
			return with(t, []string{"--limit-request-body", "1000"}, func(s *server) {
				s.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n")
				s.raw("GET / HTTP/1.1\r\nHost: a\r\nCookie: " + long[:9000] + "\r\n\r\n")
				s.raw("GET /" + long[:9000] + " HTTP/1.1\r\nHost: a\r\n\r\n")
			}, "reason=body_too_large", "reason=field_too_long", "reason=line_too_long")
		},
		"Workers that keep dying": func(t *testing.T) string {
			return with(t, nil, func(s *server) {
				write("trouble.py", "import os\nos._exit(1)\n")
				defer write("trouble.py", trouble)
				lose(s, "/kill")
				s.waitLog("a worker did not boot")
			})
		},
	}

	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		lines := shownLines(text)
		cause := causes[heading]
		delete(causes, heading)
		if cause == nil {
			if len(lines) > 0 {
				t.Errorf("%q has lines of the log that nothing here causes", heading)
			}
			continue
		}
		t.Run(heading, func(t *testing.T) {
			log := cause(t)
			for _, line := range lines {
				if !asShown(line).MatchString(log) {
					t.Errorf("the page has\n%s\nwhich is not in\n%s", line, log)
				}
			}
			if len(lines) == 0 {
				t.Error("the page shows no line")
			}
		})
	}
	for heading := range causes {
		t.Errorf("the page has no part %q", heading)
	}
}

// shownLines are the lines of a page's part that stand there as the log has them.
func shownLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// asShown matches a line of the log; … in what a page shows stands for anything.
func asShown(line string) *regexp.Regexp {
	return regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(line), "…", "[^\n]*"))
}

// notAsRoot is what hostler says to somebody who may not have a port below 1024.
func notAsRoot(t *testing.T, args ...string) string {
	t.Helper()
	start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSpace(string(start)); s == "0" || os.Geteuid() != 0 {
		t.Fatalf("this test needs root, and ports that are root's; these begin with %s", s)
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("it has started")
	}
	return string(out)
}
