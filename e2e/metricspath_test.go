package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// visitor is a client of the application's, over a transport.
type visitor struct {
	*http.Client
	base string
	t    *testing.T
}

func (v visitor) get(path, accept string) (int, string, http.Header) {
	v.t.Helper()
	req, err := http.NewRequest(http.MethodGet, v.base+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	r, err := v.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return r.StatusCode, string(b), r.Header
}

// seen is what a counter says at the path of the application's; -1: it is not there.
func (v visitor) seen(name string) int {
	v.t.Helper()
	status, text, _ := v.get("/metrics", "text/plain")
	m := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindStringSubmatch(text)
	if status != 200 || m == nil {
		return -1
	}
	n, _ := strconv.Atoi(m[1]) // it is a number
	return n
}

// TestMetricsPath: a path of the application's shows what all workers have counted, over
// whatever a client comes, and whatever the application is of.
func TestMetricsPath(t *testing.T) {
	over2 := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer over2.CloseIdleConnections()
	socket := filepath.Join(t.TempDir(), "s")
	unix := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer unix.CloseIdleConnections()
	pair := newPair(t, t.TempDir(), "a.example", 1).args()
	for _, c := range []struct {
		name    string
		args    []string
		counter string
		client  *http.Client
	}{
		{"threads", []string{"--threads", "2", "counted:app"}, "requests_seen_total", client},
		{"preload", []string{"--preload", "counted:app"}, "requests_seen_total", client},
		{"tls", append([]string{"counted:app"}, pair...), "requests_seen_total", client},
		{"http2", append([]string{"counted:app"}, pair...), "requests_seen_total", &http.Client{Transport: over2, Timeout: 20 * time.Second}},
		{"unix", []string{"-b", "unix:" + socket, "counted:app"}, "requests_seen_total", &http.Client{Transport: unix, Timeout: 20 * time.Second}},
		{"asgi", []string{"collected:async_app"}, "seen_total", client},
		{"gevent", nil, "seen_total", client},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.args == nil {
				c.args = greenArgs(t, "collected:app")
			}
			s := start(t, append([]string{"-w", "3", "--metrics-path", "/metrics"}, c.args...)...)
			v := visitor{c.client, "http://" + s.addr, t}
			if s.overTLS = slices.Contains(c.args, "--certfile"); s.overTLS {
				v.base = "https://" + s.addr
			}
			s.counts("/count", 30)
			s.eventually("the sum over the workers", func() bool { return v.seen(c.counter) == 30 })
			status, text, header := v.get("/metrics", "application/openmetrics-text; version=1.0.0")
			if status != 200 || !strings.HasSuffix(text, "\n# EOF\n") || !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text; version=1.0.0;") {
				t.Errorf("%d %v, ends with %q", status, header, text[max(len(text)-100, 0):])
			}
			if i := strings.Index(text, "hostler_"); i >= 0 {
				t.Errorf("the server's own are shown: %q", text[i:min(i+100, len(text))])
			}
			if status, text, _ := v.get("/metrics/", "text/plain"); status != 200 || strings.Contains(text, c.counter) {
				t.Errorf("another path: %d %q", status, text)
			}
			if n := s.metric("hostler_app_exceptions_total", ""); n != 0 {
				t.Errorf("%v exceptions", n)
			}
		})
	}
}

// TestMetricsPathReload: a client that goes on asking, while workers die and generations
// change, has an answer each time, and sees no counter go back.
func TestMetricsPathReload(t *testing.T) {
	s := start(t, "-w", "2", "--metrics-path", "/metrics", "counted:app")
	s.counts("/count", 10)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			last := 0
			keeps := &http.Client{Transport: new(http.Transport), Timeout: 20 * time.Second}
			defer keeps.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := keeps.Get("http://" + s.addr + "/metrics")
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				m := regexp.MustCompile(`(?m)^requests_seen_total (\d+)$`).FindSubmatch(b)
				if err != nil || r.StatusCode != 200 || m == nil {
					t.Errorf("%v: %s, %d bytes", err, r.Status, len(b))
					return
				}
				n, _ := strconv.Atoi(string(m[1])) // it is a number
				if n < last {
					t.Errorf("the counter went from %d to %d", last, n)
					return
				}
				last = n
			}
		})
	}
	for i := range 3 {
		s.counts("/count", 5)
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", i+1)
	}
	close(stop)
	wg.Wait()
	v := visitor{client, "http://" + s.addr, t}
	s.eventually("all that was counted", func() bool { return v.seen("requests_seen_total") == 25 })
}

// TestMetricsPathWedged: no Python is needed for it, and none is waited for.
func TestMetricsPathWedged(t *testing.T) {
	s := start(t, "-w", "1", "--threads", "1", "--metrics-path", "/metrics", "--graceful-timeout", "1", "counted:app")
	s.counts("/count", 3)
	pid := s.workers()[0]
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if r, err := client.Get("http://" + s.addr + "/wedge"); err == nil { // it has no answer
			r.Body.Close()
		}
	}()
	s.eventually("a thread that keeps the interpreter", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	v := visitor{client, "http://" + s.addr, t}
	for range 5 {
		if n := v.seen("requests_seen_total"); n != 3 {
			t.Errorf("%d were counted", n)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-gone
}

// TestMetricsPathLeft: where there is nothing of the application's that the server knows,
// it is asked itself; settings that make no sense together are said.
func TestMetricsPathLeft(t *testing.T) {
	for _, args := range [][]string{{"--env=PROMETHEUS_MULTIPROC_DIR=" + t.TempDir(), "counted:app"}, {"rules:app"}} {
		s := start(t, append([]string{"-w", "2", "--metrics-path", "/metrics"}, args...)...)
		s.counts("/metrics", 3) // the application says its process, whatever the path
		s.stop()
	}
	s := launch(t, "--metrics-path", "/metrics", "--app-metrics=false", "counted:app")
	s.waitLog("there is nothing to show without --app-metrics")
}
