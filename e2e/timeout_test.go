package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// survives fails the test if a worker has left.
func (s *server) survives(timeouts float64) {
	s.t.Helper()
	if n := s.metric("hostler_worker_exits_total", ""); n != 0 {
		s.t.Errorf("%v workers have left", n)
	}
	if n := s.metric("hostler_request_timeouts_total", ""); n != timeouts {
		s.t.Errorf("%v timeouts, not %v", n, timeouts)
	}
}

// TestInterrupted: a request that runs into --timeout ends with a 504 and costs no
// worker; its traceback is in the log before.
func TestInterrupted(t *testing.T) {
	for _, threads := range []int{1, 3} {
		t.Run(fmt.Sprint(threads, " threads"), func(t *testing.T) {
			access := filepath.Join(t.TempDir(), "access.log")
			s := start(t, "--threads", fmt.Sprint(threads), "--timeout", "1", "--access-log", access, "deadlines:app")
			_, pid := s.get("/")
			for i, page := range []string{"/spin/60", "/burn/60", "/swallow", "/wrap"} {
				if code, b := s.get(page); code != 504 || !strings.Contains(b, "504 Gateway Timeout") {
					t.Errorf("%s: %d %q", page, code, b)
				}
				s.waitLog("a request runs into the timeout", i+1)
				s.waitLog("target=" + page)
			}
			log := s.log.String()
			dump, raised := strings.Index(log, "in spin\n"), strings.Index(log, "hostler.RequestTimeout: ")
			if dump < 0 || raised < dump || !strings.Contains(log, "the application raised on GET /spin/60") {
				t.Errorf("the dump is at %d of the log, the exception at %d", dump, raised)
			}
			if _, b := s.get("/"); b != pid {
				t.Errorf("process %s has become %s", pid, b)
			}
			s.survives(4)
			if n := s.metric("hostler_requests_total", `code="5xx"`); n != 4 {
				t.Errorf("%v requests were answered 5xx", n)
			}
			b, err := os.ReadFile(access)
			if err != nil || !strings.Contains(string(b), `"GET /spin/60 HTTP/1.1" 504 `) {
				t.Errorf("access log: %v %s", err, b)
			}
		})
	}
}

// TestInterruptedKeepAlive: the connection, and the thread, are as good as before.
func TestInterruptedKeepAlive(t *testing.T) {
	s := start(t, "--timeout", "1", "deadlines:app")
	c := s.dial()
	for range 2 {
		c.send(getLine("/spin/60"))
		if r, _ := c.answer("GET"); r.StatusCode != 504 || r.Close {
			t.Errorf("%d, close: %v", r.StatusCode, r.Close)
		}
		for range 50 {
			c.send(getLine("/"))
			if r, _ := c.answer("GET"); r.StatusCode != 200 {
				t.Fatalf("the next: %d", r.StatusCode)
			}
		}
	}
	s.survives(2)
}

// TestInterruptCaught: an application may catch the exception, answer, and ask for
// more time.
func TestInterruptCaught(t *testing.T) {
	s := start(t, "--timeout", "1", "deadlines:app")
	code, b := s.get("/catch")
	if code != 200 || !strings.HasPrefix(b, "caught hostler.RequestTimeout: the request runs longer") || !strings.Contains(b, ", -0.") && !strings.Contains(b, ", -1.") {
		t.Errorf("%d %q", code, b)
	}
	if code, b := s.get("/more"); code != 200 || b != "5.0" {
		t.Errorf("%d %q", code, b)
	}
	s.survives(2)
}

// TestInterruptedStream: what has begun can only be cut off, so that the client
// sees it; close() is called.
func TestInterruptedStream(t *testing.T) {
	s := start(t, "--threads", "2", "--timeout", "1", "--total-timeout", "3", "deadlines:app")
	for i, page := range []string{"/stream", "/write", "/silence", "/flood"} { // the last takes all its time for its client
		c := s.dial()
		c.send(getLine(page))
		if page == "/flood" {
			s.waitLog("a request runs into the timeout", i+1)
			s.eventually("the thread to be free", func() bool { return s.metric("hostler_threads", `state="busy"`) == 0 })
		}
		r, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil || r.StatusCode != 200 {
			t.Errorf("%s: %s, then %d bytes as if they were all", page, r.Status, n)
		}
	}
	if _, b := s.get("/closed"); !strings.Contains(b, "hostler-") {
		t.Errorf("close() was called by %s", b)
	}
	s.survives(4)
}

// TestTimeoutMeasuresTheApplication: however long the client takes, for its body or
// for the response, and however long a stream goes on, --timeout is for what the
// application does by itself.
func TestTimeoutMeasuresTheApplication(t *testing.T) {
	p := newPair(t, t.TempDir(), "localhost", 1)
	plain := start(t, "--threads", "4", "--timeout", "1", "--http2-cleartext", "--stream-uploads", "/takes", "deadlines:app")
	secure := start(t, append(p.args(), "--threads", "4", "--timeout", "1", "--stream-uploads", "/takes", "deadlines:app")...)
	var wg sync.WaitGroup
	for name, way := range map[string]struct {
		c   *http.Client
		url string
	}{
		"http/1.1": {client, "http://" + plain.addr}, "h2c": {h2client(), "http://" + plain.addr},
		"https": {secure.secure(false, nil), "https://" + secure.addr}, "h2": {secure.secure(true, nil), "https://" + secure.addr},
	} {
		ask := func(page string, body io.Reader, pause time.Duration) string {
			r, err := way.c.Post(way.url+page, "application/octet-stream", body)
			if err != nil {
				t.Errorf("%s: %s: %v", name, page, err)
				return ""
			}
			defer r.Body.Close()
			time.Sleep(pause)
			b, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 200 {
				t.Errorf("%s: %s: %s, %d bytes, %v", name, page, r.Status, len(b), err)
			}
			return string(b)
		}
		wg.Go(func() {
			if b := ask("/trickle", nil, 0); b != "xxxxxxxx" {
				t.Errorf("%s: a stream of %q", name, b)
			}
		})
		wg.Go(func() {
			if b := ask("/large", nil, 2500*time.Millisecond); len(b) != 20_000_000 {
				t.Errorf("%s: a response of %d bytes", name, len(b))
			}
		})
		wg.Go(func() {
			upload := io.MultiReader(strings.NewReader(filler(1_500_000)), pauseReader(2500*time.Millisecond), strings.NewReader(filler(1_500_000)))
			if b := ask("/takes", upload, 0); b != "3000000 1.0" && b != "3000000 0.9" {
				t.Errorf("%s: an upload of %s seconds", name, b)
			}
		})
	}
	wg.Wait()
	plain.survives(0)
	secure.survives(0)
}

// pauseReader is nothing but a pause between what is read before and after it.
type pauseReader time.Duration

func (p pauseReader) Read([]byte) (int, error) {
	time.Sleep(time.Duration(p))
	return 0, io.EOF
}

// TestInterruptedRead interrupts a thread that waits for its client's body.
func TestInterruptedRead(t *testing.T) {
	s := start(t, "--timeout", "0", "--total-timeout", "1", "--stream-uploads", "/read", "deadlines:app")
	c := s.dial()
	c.send("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("x", 2000000))
	r, err := http.ReadResponse(c.r, nil)
	if err != nil || r.StatusCode != 504 || !r.Close {
		t.Errorf("%v %v", r, err)
	}
	s.survives(1)
}

// TestInterruptedDestructor: what is raised in a destructor goes nowhere, and so is
// raised again.
func TestInterruptedDestructor(t *testing.T) {
	s := start(t, "--timeout", "1", "deadlines:app")
	if code, b := s.get("/destructors"); code != 504 {
		t.Errorf("%d %q", code, b)
	}
	s.survives(1)
}

// TestInterruptedBeforeClose: close() is called, and runs, where the time is up in an
// iterator that runs no Python code in which the exception could be raised.
func TestInterruptedBeforeClose(t *testing.T) {
	s := start(t, "--threads", "2", "--timeout", "1", "deadlines:app")
	for _, page := range []string{"piped", "held"} {
		if _, err := client.Get("http://" + s.addr + "/" + page); err != nil {
			t.Logf("%s: %v", page, err)
		}
		s.eventually("close() of "+page, func() bool {
			_, b := s.get("/closed")
			return strings.Contains(b, page)
		})
	}
	s.survives(2)
}

// TestInterruptHitsNoOther ends requests just when they are to be interrupted, each
// with another right behind it on the same thread, which must not notice.
func TestInterruptHitsNoOther(t *testing.T) {
	s := start(t, "--threads", "4", "--timeout", "1", "deadlines:app")
	var mu sync.Mutex
	codes := map[int]int{}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			c := s.dial()
			for k := range 8 {
				kind := []string{"spin", "burn"}[k%2]
				c.send(getLine(fmt.Sprintf("/%s/%.3f", kind, 1.05+float64(i*8+k)*0.02)) + getLine("/") + getLine("/left"))
				for j := range 3 {
					r, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Errorf("answer %d: %v", j, err)
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					switch {
					case j > 0 && r.StatusCode != 200:
						t.Errorf("the one behind: %s", r.Status)
					case j == 0:
						mu.Lock()
						codes[r.StatusCode]++
						mu.Unlock()
					}
				}
			}
		})
	}
	wg.Wait()
	if codes[200]+codes[504] != 32 || codes[200] == 0 || codes[504] == 0 {
		t.Errorf("answers: %v", codes)
	}
	if n := s.metric("hostler_worker_exits_total", ""); n != 0 {
		t.Errorf("%v workers have left", n)
	}
	if strings.Contains(s.log.String(), "Exception ignored") {
		t.Error("the exception has hit our own code")
	}
}

// TestTimeoutInC: a thread that waits in C cannot be interrupted, so its worker is
// replaced, as ever.
func TestTimeoutInC(t *testing.T) {
	s := start(t, "--timeout", "1", "--graceful-timeout", "5", "deadlines:app")
	c := s.dial()
	c.send(getLine("/pool"))
	s.waitLog("a request runs into the timeout")
	s.waitLog("a request cannot be interrupted")
	s.eventually("the end of the stuck worker", func() bool { return s.metric("hostler_worker_exits_total", `cause="timeout"`) == 1 })
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("%d", code)
	}
	if n := s.metric("hostler_request_timeouts_total", ""); n != 1 {
		t.Errorf("%v timeouts", n)
	}
}

// TestDeadline lets the application read and move its own deadline.
func TestDeadline(t *testing.T) {
	s := start(t, "--threads", "2", "--timeout", "2", "deadlines:app")
	for page, want := range map[string]string{
		"/extend/5":  "2 5 1",
		"/wrong":     "ValueError ValueError ValueError TypeError TypeError ",
		"/elsewhere": "['hostler.deadline outside of a request\\'s thread']; the same: True",
	} {
		if code, b := s.get(page); code != 200 || strings.ReplaceAll(b, `"`, `'`) != strings.ReplaceAll(want, `\'`, `'`) {
			t.Errorf("%s: %d %q", page, code, b)
		}
	}
	begin := time.Now()
	if code, _ := s.get("/shorten/0.2"); code != 504 {
		t.Errorf("after 0.2 seconds: %d", code)
	}
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("0.2 seconds became %v", d)
	}
	for range 3 { // the next has the usual time again
		if _, b := s.get("/left"); !strings.HasPrefix(b, "1.") {
			t.Errorf("left: %s", b)
		}
	}
	s.survives(1)
	free := start(t, "--timeout", "0", "deadlines:app")
	if _, b := free.get("/left"); b != "None" {
		t.Errorf("without a timeout: %s", b)
	}
}
