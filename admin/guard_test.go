package admin

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hostler/protocol"
)

func TestGuard(t *testing.T) {
	door := Door{Names: func() []string { return []string{"Metrics.example"} }, Token: func() string { return "" }}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, c := range []struct {
		at, host string
		code     int
	}{
		{"127.0.0.1", "127.0.0.1:9191", 200},
		{"127.0.0.1", "127.0.0.1", 200},
		{"127.0.0.1", "[::1]:9191", 200},
		{"127.0.0.1", "[::1]", 200},
		{"::1", "localhost:9191", 200},
		{"127.0.0.1", "LocalHost.", 200},
		{"127.0.0.1", "app.localhost:80", 200},
		{"127.0.0.1", "", 200},
		{"127.0.0.1", "metrics.example:9191", 200},
		{"127.0.0.1", "metrics.example.", 200},
		{"127.0.0.1", "evil.example", 421},
		{"127.0.0.1", "evil.example:9191", 421},
		{"127.9.9.9", "evil.example", 421},
		{"::1", "evil.example", 421},
		{"127.0.0.1", "127.0.0.1.evil.example", 421},
		{"127.0.0.1", "localhost.evil.example", 421},
		{"127.0.0.1", "metrics.example.evil.example", 421},
		{"127.0.0.1", "evillocalhost", 421},
		{"10.0.0.7", "node7.example", 200},
		{"0.0.0.0", "node7.example", 200},
	} {
		h := Guard(&net.TCPAddr{IP: net.ParseIP(c.at), Port: 9191}, door, ok)
		r, w := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
		r.Host = c.host
		if h.ServeHTTP(w, r); w.Code != c.code {
			t.Errorf("at %s, Host %q: %d, want %d", c.at, c.host, w.Code, c.code)
		}
	}
	h := Guard(&net.UnixAddr{Name: "/run/admin", Net: "unix"}, door, ok)
	r, w := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
	r.Host = "whatever.example"
	if h.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("on a unix socket: %d", w.Code)
	}
}

// TestQueries: what is private in a query string is for whoever asks for it only.
func TestQueries(t *testing.T) {
	r := newRig(t)
	r.worker(0, 300, protocol.SlotServing).ThreadRecs[0].Begin(int64(20e9), []byte("GET"), []byte("/reset?token=hunter2"), nil)
	if got := r.get("/status", 200); strings.Contains(got, "hunter2") || !strings.Contains(got, `"/reset?…"`) {
		t.Errorf("/status shows %s", got)
	}
	r.queries = true
	if got := r.get("/status", 200); !strings.Contains(got, "/reset?token=hunter2") {
		t.Errorf("/status does not show what was asked for: %s", got)
	}
}
