package metrics

import (
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestOneFormat: whatever a scraper would take, it gets the text format, in gzip if it
// takes that.
func TestOneFormat(t *testing.T) {
	r := newRig(t)
	h, err := Handler(r.c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		accept, encoding string
		zipped           bool
	}{
		{"", "", false},
		{"", "gzip", true},
		{"", "identity, gzip;q=0.5", true},
		{"", "gzip;q=0", false},
		{"", "zstd", false},
		{"application/openmetrics-text;version=1.0.0,*/*;q=0.1", "", false},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "gzip", true},
	} {
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept", c.accept)
		req.Header.Set("Accept-Encoding", c.encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		var body io.Reader = w.Body
		if zipped := w.Header().Get("Content-Encoding") == "gzip"; zipped != c.zipped {
			t.Errorf("%q: compressed: %t", c.encoding, zipped)
		} else if zipped {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		if err != nil || !strings.Contains(string(text), "\nhostler_generation 1\n") || !strings.HasSuffix(string(text), "\n") {
			t.Errorf("%+v: %v, %q", c, err, text)
		}
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
			t.Errorf("%+v: the type is %q", c, got)
		}
	}
}

// TestRefusedScrape: nothing follows an answer that is none with metrics.
func TestRefusedScrape(t *testing.T) {
	busy := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) })
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	withApp(busy, newRig(t).c).ServeHTTP(w, req)
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "busy\n" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
}
