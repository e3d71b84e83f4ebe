package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// against runs a load on a handler.
func against(t *testing.T, l Load, secure bool, handle http.HandlerFunc) Result {
	t.Helper()
	server := httptest.NewUnstartedServer(handle)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	l.Addr, l.Path, l.TLS = server.Listener.Addr().String(), "/", secure
	if l.Timeout == 0 {
		l.Timeout = 10 * time.Second
	}
	return l.Run()
}

func hello(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }

func bad(r Result) (n int) {
	for _, count := range r.Failures {
		n += count
	}
	for _, count := range r.Statuses {
		n += count
	}
	return n
}

func TestClosedLoop(t *testing.T) {
	var slow atomic.Int64
	r := against(t, Load{Connections: 4, For: 300 * time.Millisecond, Slow: "/slow", Share: 0.2, Think: time.Millisecond}, false,
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				slow.Add(1)
			}
			hello(w, r)
		})
	if r.OK == 0 || r.OK != r.Sent || bad(r) != 0 || r.Closed != 0 {
		t.Errorf("%+v", r)
	}
	if r.Slow == 0 || int64(r.Slow) != slow.Load() || len(r.times) != r.OK-r.Slow {
		t.Errorf("%d slow, the server saw %d; %d times of %d answers", r.Slow, slow.Load(), len(r.times), r.OK)
	}
	if r.P50 > r.P99 || r.P99 > r.P999 || r.P999 > r.Max || r.Max == 0 {
		t.Errorf("quantiles %v %v %v %v", r.P50, r.P99, r.P999, r.Max)
	}
}

// TestWebSocket: what comes back is counted, what comes back changed is not, and who takes no
// WebSocket fails.
func TestWebSocket(t *testing.T) {
	for say, good := range map[string]bool{string(echoed): true, "\x81\x10fifteen of bytes": false, "": false} {
		r := against(t, Load{Connections: 3, For: 200 * time.Millisecond, WebSocket: true}, false, func(w http.ResponseWriter, _ *http.Request) {
			if say == "" {
				hello(w, nil)
				return
			}
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
			for got := make([]byte, len(message)); ; {
				if _, err := io.ReadFull(rw, got); err != nil || !bytes.Equal(got, message) {
					return
				}
				conn.Write([]byte(say))
			}
		})
		if (r.OK > 3 && bad(r) == 0) != good {
			t.Errorf("%q: %+v", say, r)
		}
	}
}

func TestOpenLoopCountsFromWhenDue(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(hello))
	defer server.Close()
	c := newClient(&Load{Addr: server.Listener.Addr().String(), Path: "/", Timeout: 10 * time.Second}, 1)
	defer c.drop()
	c.ask(time.Now().Add(-time.Second), time.Now().Add(time.Second))
	if len(c.times) != 1 || c.times[0] < time.Second {
		t.Errorf("%v for what was due a second ago", c.times)
	}
}

func TestOpenLoopTellsWhatItCouldNotSend(t *testing.T) {
	r := against(t, Load{Connections: 1, For: 200 * time.Millisecond, Rate: 100}, false,
		func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			hello(w, r)
		})
	if r.Sent != 20 || r.Failures["no connection free"] != 19 || r.OK != 1 || r.InTime != 0 {
		t.Errorf("%+v", r)
	}
}

func TestFailuresAndCloses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		closes     bool
		handle     http.HandlerFunc
	}{
		{"status", "", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }},
		{"announced", "", true, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close"); hello(w, r) }},
		{"none", "no answer", true, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"half", "midway", true, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("half"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"never", "time-out", false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := against(t, Load{Connections: 2, For: 100 * time.Millisecond, Timeout: 200 * time.Millisecond, Think: time.Millisecond}, false, c.handle)
			if c.closes != (r.Closed > 0) || c.want != "" && (r.Failures[c.want] == 0 || r.Failures[c.want] != bad(r)) {
				t.Errorf("%+v", r)
			}
			if c.name == "status" && (r.OK != 0 || r.Statuses["503"] != r.Sent) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestTLSNewConnectionEach(t *testing.T) {
	r := against(t, Load{Connections: 2, For: 200 * time.Millisecond, Reopen: 1}, true, func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume || !strings.EqualFold(r.Header.Get("Connection"), "close") {
			w.WriteHeader(500)
		}
	})
	if r.OK == 0 || bad(r) != 0 || r.Closed != 0 {
		t.Errorf("%+v", r)
	}
}

func TestIdle(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(hello))
	defer server.Close()
	l := Load{Addr: server.Listener.Addr().String(), Path: "/", Idle: 5, Timeout: time.Second}
	if gone := closed(l.Rest()); gone != 0 {
		t.Errorf("%d of open connections are said to be closed", gone)
	}
	idle := l.Rest()
	server.CloseClientConnections()
	time.Sleep(50 * time.Millisecond)
	if gone := closed(idle); len(idle) != 5 || gone != 5 {
		t.Errorf("%d of %d", gone, len(idle))
	}
}
