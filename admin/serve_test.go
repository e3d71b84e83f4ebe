package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hostler/internal/testlog"
)

// listen returns a listener and a client of whatever is served there. A Unix
// socket in a directory of the test's own is in nobody's way.
func listen(t *testing.T) (net.Listener, *http.Client) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return l, &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	}}}
}

func TestServe(t *testing.T) {
	r, log := newRig(t), new(testlog.Buffer)
	l, client := listen(t)
	stop := Serve(l, r.h, slog.New(slog.NewTextHandler(log, nil)))
	for path, code := range map[string]int{"/": 200, "/status": 200, "/metrics": 200, "/healthz": 200, "/readyz": 503} {
		resp, err := client.Get("http://admin" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != code || len(body) == 0 {
			t.Errorf("GET %s: %d, %d bytes, %v", path, resp.StatusCode, len(body), err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stop(ctx)
	stop(ctx) // again: nothing
	if _, err := net.Dial("unix", l.Addr().String()); err == nil {
		t.Error("the listener is open after stop")
	}
	if log.String() != "" {
		t.Errorf("an orderly end was logged: %s", log)
	}
}

func TestStopCutsOffWhatDoesNotEnd(t *testing.T) {
	l, client := listen(t)
	entered, left := make(chan struct{}), make(chan struct{})
	stop := Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	}), slog.New(slog.DiscardHandler))
	got := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://admin")
		if err == nil {
			resp.Body.Close()
		}
		got <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stop(ctx)
	<-left
	if err := <-got; err == nil {
		t.Error("the client was answered")
	}
}

func TestServeReportsThatItEnded(t *testing.T) {
	l, _ := listen(t)
	log := new(testlog.Buffer)
	stop := Serve(brokenListener{l}, http.NotFoundHandler(), slog.New(slog.NewTextHandler(log, nil)))
	for log.String() == "" { // stopping it first would be an orderly end
		time.Sleep(time.Millisecond)
	}
	stop(t.Context())
	if !strings.Contains(log.String(), "the admin server has ended") || !strings.Contains(log.String(), "out of luck") {
		t.Errorf("the log says %q", log)
	}
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("out of luck") }

func TestServeBoundsTheHead(t *testing.T) {
	l, _ := listen(t)
	stop := Serve(l, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	defer stop(t.Context())
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The server may close before all of it is written.
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", maxHeader+8<<10)+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", resp.Status)
	}
}

// TestStopAnswersAccepted calls stop while clients come and go: who has connected
// before it gets an answer.
func TestStopAnswersAccepted(t *testing.T) {
	for range 30 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		// Another copy of the socket, as the next binary has one: what nobody has
		// accepted is not lost.
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		next, err := net.FileListener(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
		stop := Serve(l, hello, slog.New(slog.DiscardHandler))
		var wg sync.WaitGroup
		quit := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
				for {
					select {
					case <-quit:
						return
					default:
					}
					resp, err := c.Get("http://" + next.Addr().String())
					if err != nil {
						t.Errorf("while one server takes over from another: %v", err)
						return
					}
					resp.Body.Close()
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		stop(t.Context())
		end := Serve(next, hello, slog.New(slog.DiscardHandler))
		close(quit)
		wg.Wait()
		end(t.Context())
	}
}
