package metrics

import (
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestFormats: a scraper gets the format that it likes best of those that there are, in
// gzip if it takes that.
func TestFormats(t *testing.T) {
	r := newRig(t)
	h, err := Handler(r.c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const plain, open = "text/plain; version=0.0.4;", "application/openmetrics-text; version=1.0.0;"
	for _, c := range []struct {
		accept, encoding string
		zipped           bool
		format           string
	}{
		{"", "", false, plain},
		{"*/*", "gzip", true, plain},
		{"text/plain", "identity, gzip;q=0.5", true, plain},
		{"text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4", "gzip;q=0", false, plain},
		{"nonsense", "zstd", false, plain},
		{"application/openmetrics-text", "", false, "application/openmetrics-text; version=0.0.1;"},
		{"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "gzip", true, open},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8", "", false, open},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "gzip", true, plain},
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
		ends := c.format != plain
		if err != nil || !strings.Contains(string(text), "\nhostler_generation 1") || strings.HasSuffix(string(text), "\n# EOF\n") != ends ||
			strings.Contains(string(text), "\n# TYPE hostler_received_bytes counter\n# UNIT hostler_received_bytes bytes\nhostler_received_bytes_total 0.0\n") != ends {
			t.Errorf("%+v: %v, %d bytes that end with %q", c, err, len(text), text[max(len(text)-200, 0):])
		}
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, c.format) || strings.Join(w.Header()["Vary"], ",") != "Accept,Accept-Encoding" {
			t.Errorf("%+v: %v", c, w.Header())
		}
	}
}

// TestRefusedScrape: a crowd is turned away, and so is one for which there is nothing.
func TestRefusedScrape(t *testing.T) {
	come, leave, done := make(chan bool), make(chan bool), make(chan bool)
	s := newScraper(newRig(t).c, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		come <- true
		<-leave
		return nil, errors.New("nothing")
	}), slog.New(slog.DiscardHandler))
	scrape := func() *httptest.ResponseRecorder {
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		return w
	}
	for range scrapesAtOnce {
		go func() {
			w := scrape()
			if w.Code != http.StatusInternalServerError || w.Header().Get("Content-Encoding") != "" {
				t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
			}
			done <- true
		}()
		<-come
	}
	if w := scrape(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
	for range scrapesAtOnce {
		leave <- true
	}
	for range scrapesAtOnce {
		<-done
	}
}
