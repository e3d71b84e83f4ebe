package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFlask(t *testing.T) {
	s := start(t, "-w", "2", "flaskapp:app")
	if code, b := s.get("/"); code != 200 || b != "Hello, World!" {
		t.Errorf("%d %q", code, b)
	}
	r, err := client.PostForm("http://"+s.addr+"/contact-us", url.Values{"message": {"héllo & more"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, _ := io.ReadAll(r.Body); string(b) != "got héllo & more" {
		t.Errorf("%q", b)
	}
	if code, _ := s.get("/nowhere"); code != 404 {
		t.Errorf("%d for a page that is not there", code)
	}
}

// TestDjango drives the example project: ORM, session, upload, streaming, a file.
func TestDjango(t *testing.T) {
	project, err := filepath.Abs("../examples/django")
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "db.sqlite3")
	migrate := exec.Command(venv, "manage.py", "migrate", "--verbosity", "0")
	migrate.Dir, migrate.Env = project, append(os.Environ(), "DATABASE="+db, "PYTHONDONTWRITEBYTECODE=1")
	if out, err := migrate.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := start(t, "-w", "2", "--threads", "2", "--chdir", project, "-e", "DATABASE="+db, "project.wsgi")
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	page := func(r *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%s: %d %v %s", r.Request.URL, r.StatusCode, err, b)
		}
		return string(b)
	}
	front := "http://" + s.addr + "/"
	first := page(c.Get(front))
	token := regexp.MustCompile(`csrfmiddlewaretoken" value="(\w+)"`).FindStringSubmatch(first)
	if !strings.Contains(first, "1 time.") || token == nil {
		t.Fatalf("front page: %s", first)
	}
	second := page(c.PostForm(front, url.Values{"csrfmiddlewaretoken": {token[1]}, "name": {"Ada"}, "text": {"first <b>"}}))
	if !strings.Contains(second, "2 times.") || !strings.Contains(second, "<b>Ada</b>: first &lt;b&gt;") {
		t.Errorf("after writing: %s", second)
	}
	file := strings.Repeat("0123456789abcdef", 200_000)
	pr, pw := io.Pipe()
	form := multipart.NewWriter(pw)
	go func() {
		part, _ := form.CreateFormFile("file", "file.bin")
		_, _ = io.WriteString(part, file)
		pw.CloseWithError(form.Close())
	}()
	var body strings.Builder
	if _, err := io.Copy(&body, pr); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(file))
	got := page(c.Post(front+"upload", form.FormDataContentType(), strings.NewReader(body.String())))
	if got != hex.EncodeToString(sum[:]) {
		t.Errorf("upload of 3.2 MB: %s", got)
	}
	if rows := page(c.Get(front + "stream")); strings.Count(rows, "row ") != 1000 || !strings.HasSuffix(rows, "row 999\n") {
		t.Errorf("stream: %d bytes", len(rows))
	}
	if css := page(c.Get(front + "static/guestbook.css")); !strings.HasPrefix(css, "body {") {
		t.Errorf("static file: %q", css)
	}
}

// pythons returns every CPython there is, its path by its version and place, and the
// names in order.
func pythons(t *testing.T) (found map[string]string, names []string) {
	t.Helper()
	found = map[string]string{}
	home, _ := os.UserHomeDir()
	patterns := []string{home + "/.pyenv/versions/3.*/bin/python3", os.Getenv("PYENV_ROOT") + "/versions/3.*/bin/python3", "/usr/bin/python3.[0-9]*", "/usr/local/bin/python3.[0-9]*"}
	for _, p := range patterns {
		paths, _ := filepath.Glob(p)
		for _, path := range paths {
			if strings.Contains(filepath.Base(path), "config") {
				continue
			}
			out, err := exec.Command(path, "-c", "import sys; print('%d.%02d' % sys.version_info[:2], sys.base_prefix)").Output()
			if err == nil && string(out) >= "3.08" {
				found[strings.TrimSpace(string(out))] = path
			}
		}
	}
	for name := range found {
		names = append(names, name)
	}
	sort.Strings(names)
	t.Logf("%d Pythons: %v", len(names), names)
	if len(names) == 0 {
		t.Fatal("no CPython from 3.8 on found")
	}
	return found, names
}

// TestPythons runs the core on every CPython there is.
func TestPythons(t *testing.T) {
	found, names := pythons(t)
	for _, name := range names {
		t.Run(strings.Fields(name)[0], func(t *testing.T) {
			s := startCtl(t, "-w", "2", "--threads", "2", "--python", found[name], "rules:app")
			for path, want := range map[string]string{
				"/valid": "HTTP/1.1 200 OK", "/write": "3\r\nghi\r\n", "/replaced": "X-Second", "/hop": "HTTP/1.1 200", "/exception": "HTTP/1.1 500",
				"/hints": "103 Early Hints", "/file": "application with a page", "/204": "HTTP/1.1 204", "/no_file": "zzz", "/fork": "forked", "/gen": "two",
			} {
				if out := s.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.Contains(out, want) {
					t.Errorf("%s: %q", path, out)
				}
			}
			if status, svg, told := s.ctl("profile", "0.2"); status != 0 || !strings.Contains(svg, "</svg>") || !strings.Contains(told, "samples of 2 workers") {
				t.Errorf("a profile: status %d, %q", status, told)
			}
			for _, how := range []string{"", "lines", "readlines", "readline", "read"} {
				out := s.raw(fmt.Sprintf("POST /count?%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2000000\r\n\r\n%s", how, strings.Repeat("a line\n...", 200_000)))
				if !strings.Contains(out, "\r\n\r\n2000000 ") {
					t.Errorf("body, %s: %q", how, out)
				}
			}
			s.underLoad(func() {
				s.signal(syscall.SIGHUP)
				s.waitLog("cause=reload", 2)
			})
		})
	}
}

// TestLevel wants descriptors, threads and Python's memory to be the same after
// many requests of all kinds.
func TestLevel(t *testing.T) {
	s := start(t, "--threads", "4", "rules:app")
	round := func(n int) {
		stop := make(chan struct{})
		var results []<-chan loadResult
		for _, path := range []string{"/hello", "/write", "/valid", "/no_file", "/file", "/nowhere"} {
			results = append(results, s.load(2, path, stop))
		}
		total := func() float64 { return s.metric("hostler_requests_total", "") }
		for start := total(); total() < start+float64(n); {
			for _, path := range []string{"/hints", "/exception", "/short", "/long_gen", "/late", "/hop"} {
				s.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			}
			s.raw("POST /count?lines HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10\r\n0123456789abcde\n\r\n", 10_000) + "0\r\n\r\n")
		}
		close(stop)
		for _, r := range results {
			(<-r).check(t, 1)
		}
	}
	measure := func() (blocks, fds, threads int) {
		time.Sleep(300 * time.Millisecond)
		_, b := s.get("/blocks")
		if _, err := fmt.Sscan(b, &blocks, &fds, &threads); err != nil {
			t.Fatalf("%v in %q", err, b)
		}
		return
	}
	round(10_000) // caches fill
	b0, f0, t0 := measure()
	round(100_000)
	b1, f1, t1 := measure()
	t.Logf("after 100,000 requests: blocks %d → %d, descriptors %d → %d, threads %d → %d", b0, b1, f0, f1, t0, t1)
	if f1 > f0+2 || t1 > t0 {
		t.Errorf("descriptors %d → %d, threads %d → %d", f0, f1, t0, t1)
	}
	// A single object lost per request would be 100,000 of them.
	if b1 > b0+1000 {
		t.Errorf("allocated blocks %d → %d", b0, b1)
	}
}
