package worker

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// scraped plays the master, which has the metrics in texts; nil: it does not answer.
type scraped struct {
	r     *rig
	mu    sync.Mutex
	texts map[string]string
	full  bool // it takes no question
	asked []string
}

// exposing serves /metrics.
func exposing(t *testing.T, cfg *protocol.WorkerConfig, app func(*call)) (*rig, *scraped) {
	t.Helper()
	cfg.MetricsPath = "/metrics"
	r := newRig(t, cfg, app)
	s := &scraped{r: r, texts: map[string]string{"text": "plain", "openmetrics": "open", "text gzip": zipped(t, "plain"), "openmetrics gzip": zipped(t, "open")}}
	r.keeper.exposition.ask = func(m protocol.Message) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.full {
			return false
		}
		s.asked = append(s.asked, m.Text)
		if s.texts != nil {
			go s.answer(m.Text)
		}
		return true
	}
	return r, s
}

func (s *scraped) answer(form string) {
	s.mu.Lock()
	text := s.texts[form]
	s.mu.Unlock()
	fd := -1
	if text != "" {
		f, err := protocol.NewMemory("test", []byte(text))
		if err != nil {
			s.r.t.Error(err)
			return
		}
		defer f.Close()
		if fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			s.r.t.Error(err)
			return
		}
	}
	s.r.keeper.exposition.came(s.r.Loop, form, fd)
}

// knows has other metrics from now on, nil: none come.
func (s *scraped) knows(texts map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = texts
}

func (s *scraped) fills(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

func (s *scraped) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// waiting is how many wait for metrics.
func (s *scraped) waiting() (n int) {
	e := s.r.keeper.exposition
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.forms {
		n += len(e.forms[i].asked) + len(e.forms[i].next)
	}
	return n
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const scrape = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

// TestExposition: the path is answered with what the master has, in the form that the
// client likes best, and all else is the application's.
func TestExposition(t *testing.T) {
	before := openMemory(t)
	r, s := exposing(t, testConfig(), echo)
	r.start()
	c := r.dial()
	in := responses(t, c)
	for _, a := range []struct{ fields, typ, coding, want string }{
		{"", "text/plain; version=0.0.4; charset=utf-8", "", "plain"},
		{"Accept: */*\r\n", "text/plain; version=0.0.4; charset=utf-8", "", "plain"},
		{"Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n", "application/openmetrics-text; version=1.0.0; charset=utf-8", "", "open"},
		{"accept: Application/OpenMetrics-text; q=0.3; version=1.0.0\r\naccept: text/plain;q=0.5\r\n", "text/plain; version=0.0.4; charset=utf-8", "", "plain"},
		{"Accept: application/openmetrics-text;q=0\r\nAccept-Encoding: gzip;q=0\r\n", "text/plain; version=0.0.4; charset=utf-8", "", "plain"},
		{"Accept: application/openmetrics-text;q=x\r\nAccept-Encoding: br, gzip;q=0.1\r\n", "text/plain; version=0.0.4; charset=utf-8", "gzip", "plain"},
		{"Accept: application/openmetrics-text\r\nAccept-Encoding: GZIP\r\n", "application/openmetrics-text; version=1.0.0; charset=utf-8", "gzip", "open"},
	} {
		want := a.want
		if a.coding != "" {
			want = zipped(t, want)
		}
		send(t, c, "GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n"+a.fields+"\r\n")
		if p := in.want(200, want); p.fields["content-type"] != a.typ || p.fields["content-encoding"] != a.coding ||
			p.fields["vary"] != "Accept, Accept-Encoding" || p.fields["x-content-type-options"] != "nosniff" || p.fields["cache-control"] != "no-store" {
			t.Errorf("%q: %v", a.fields, p.fields)
		}
	}
	send(t, c, "HEAD /%6detrics HTTP/1.1\r\nHost: x\r\n\r\n") // decoded, as the application's would be
	if p, err := in.read(true); err != nil || p.status != 200 || p.fields["content-length"] != "5" {
		t.Errorf("%v %v", p, err)
	}
	if s.times() != 8 {
		t.Errorf("the master was asked %d times for 8 answers: %q", s.times(), s.asked)
	}
	send(t, c, scrape+get+scrape+"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"+"GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n")
	in.want(200, "plain")
	in.want(200, "GET /a ")
	in.want(200, "plain")
	in.want(200, "POST /metrics hi")
	in.want(200, "GET /metrics/ ")
	for i := range scrape { // byte by byte
		send(t, c, scrape[i:i+1])
	}
	in.want(200, "plain")
	send(t, c, "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
	in.want(200, "plain")
	in.wantEnd()
	if n := r.slot.Gauges.Served.Load(); n != 3 {
		t.Errorf("%d requests count as run by the application", n)
	}
	if n := openMemory(t) - before; n > 0 {
		t.Errorf("%d descriptors are left", n)
	}
}

// openMemory counts the descriptors of metrics.
func openMemory(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "/memfd:test") {
			n++
		}
	}
	return n
}

// TestExpositionWedged: no Python thread is needed, over HTTP/1.1 and HTTP/2, and many that
// come at once are one question to the master.
func TestExpositionWedged(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads = 2
	stay, inside := make(chan struct{}), make(chan struct{}, 2)
	r, s := exposing(t, cfg, func(c *call) {
		if c.target == "/stay" {
			inside <- struct{}{}
			<-stay
		}
		c.ok("app")
	})
	s.knows(nil)
	r.start()
	leave := sync.OnceFunc(func() { close(stay) })
	t.Cleanup(leave)
	var stuck []*reader
	for range 2 {
		c := r.dial()
		send(t, c, "GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
		stuck = append(stuck, responses(t, c))
		<-inside
	}
	var plain []*reader
	for range 20 {
		c := r.dial()
		send(t, c, scrape)
		plain = append(plain, responses(t, c))
	}
	over2, answers := r.client2(), make(chan string)
	for range 20 {
		go func() {
			p, err := over2.Get("http://x/metrics")
			if err != nil {
				answers <- err.Error()
				return
			}
			b, err := io.ReadAll(p.Body)
			p.Body.Close()
			if err != nil {
				b = []byte(err.Error())
			}
			answers <- p.Proto + " " + string(b)
		}()
	}
	eventually(t, "40 that wait", func() bool { return s.waiting() == 40 })
	if s.times() != 1 {
		t.Errorf("the master was asked %d times", s.times())
	}
	// The question was for the first; the others have come later, and are one more.
	s.knows(map[string]string{"text": "plain"})
	s.answer("text")
	for _, in := range plain {
		in.want(200, "plain")
	}
	for range 20 {
		if text := <-answers; text != "HTTP/2.0 plain" {
			t.Error(text)
		}
	}
	if s.times() != 2 {
		t.Errorf("the master was asked %d times", s.times())
	}
	leave()
	for _, in := range stuck {
		in.want(200, "app")
	}
}

// TestExpositionLeft: while the application has no metrics that the master knows, it is
// asked itself, however long that takes.
func TestExpositionLeft(t *testing.T) {
	cfg := testConfig()
	stay, inside := make(chan struct{}), make(chan struct{})
	r, s := exposing(t, cfg, func(c *call) {
		if c.target == "/stay" {
			close(inside)
			<-stay
		}
		c.ok("its own")
	})
	s.knows(map[string]string{})
	r.start()
	c := r.dial()
	in := responses(t, c)
	send(t, c, scrape+scrape)
	in.want(200, "its own")
	in.want(200, "its own")
	busy := r.dial()
	send(t, busy, "GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
	<-inside
	send(t, c, scrape) // taken by the deputy
	eventually(t, "one that waits for a thread", func() bool { return r.slot.Gauges.QueueDepth.Load() == 1 })
	close(stay)
	in.want(200, "its own")
	if s.times() != 3 {
		t.Errorf("the master was asked %d times for 3 answers", s.times())
	}
}

// TestExpositionNone: who waits in vain is told so, and so is who is one too many.
func TestExpositionNone(t *testing.T) {
	r, s := exposing(t, testConfig(), echo)
	s.knows(nil)
	r.start()
	c := r.dial()
	send(t, c, scrape)
	e := r.keeper.exposition
	old := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		f := &e.forms[0]
		if f.since != 0 {
			f.since = r.now() - 2*expositionPatience
		}
		return f.since != 0
	}
	eventually(t, "the question", old)
	in := responses(t, c)
	if p := in.want(503, "*"); p.fields["retry-after"] == "" {
		t.Errorf("%v", p.fields)
	}
	in.wantEnd()
	s.fills(true)
	c = r.dial()
	send(t, c, scrape)
	responses(t, c).want(503, "*")
	// One who leaves meanwhile does no harm.
	s.fills(false)
	c = r.dial()
	send(t, c, scrape)
	eventually(t, "one that waits", func() bool { return s.waiting() == 1 })
	c.Close()
	s.knows(map[string]string{"text": "plain"})
	s.answer("text")
	eventually(t, "its end", func() bool { return r.conns.n.Load() == 0 })
	if n := r.slot.Counters.Unavailable.Load(); n != 2 {
		t.Errorf("%d were answered 503", n)
	}
	e.came(r.Loop, "nonsense", -1)
}
