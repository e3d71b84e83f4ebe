package metrics

import (
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"hostler/internal/appmetrics"
	"hostler/protocol"
)

var appFamilies = []family{
	{name: "app_metrics_processes", typ: gauge,
		help: "Processes, workers and molds, that share metrics of the application's own.",
		read: func(s *scrape, put put) { put(float64(s.app.Processes)) }},
	{name: "app_metrics_series", typ: gauge,
		help: "Series of the application's own that are kept, those that only ended processes have had included.",
		read: func(s *scrape, put put) { put(float64(s.app.Series)) }},
	{name: "app_metrics_unrecorded_values", typ: gauge,
		help: "Values in the present processes that are not in /metrics, since there is no room for them or their names are none.",
		read: func(s *scrape, put put) { put(float64(s.app.Unrecorded)) }},
	{name: "app_metrics_left_out_total", labels: []string{"reason"},
		help: "What of the application's metrics was left out: series beyond the limit, families with a name that cannot be exported (once for each process), families whose name another one has (clash), processes whose memory is damaged.",
		read: func(s *scrape, put put) {
			for _, reason := range appmetrics.LeftOutReasons {
				put(float64(s.app.LeftOut[reason]), reason)
			}
		}},
}

// withApp appends the application's own metrics to an answer of own's. They are not
// gathered with the server's: that library would write the bound of a bucket in another
// way than the application's does, and so make another series of it. So all is in the
// text format, whatever else a scraper would take.
func withApp(own http.Handler, c *Collector) http.Handler {
	zips := &sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		zip := takesGzip(r)
		r = r.Clone(r.Context())
		r.Header.Set("Accept", "text/plain;version=0.0.4")
		a := &appended{ResponseWriter: w}
		if zip {
			z := zips.Get().(*gzip.Writer)
			z.Reset(w)
			defer zips.Put(z)
			a.zip = z
		}
		own.ServeHTTP(a, r)
		if a.refused || r.Method == http.MethodHead {
			return
		}
		c.collect(r.Context())
		_, _ = a.Write(c.app.Text(nil, c.inUse())) // who is gone is nobody's fault
		if a.zip != nil {
			_ = a.zip.Close()
		}
	})
}

// inUse returns what tells generations that serve, or have workers still or already.
func (c *Collector) inUse() func(generation int) bool {
	snap := c.snapshot()
	return func(generation int) bool {
		return generation == snap.Generation || slices.ContainsFunc(snap.Workers, func(w protocol.WorkerStatus) bool { return w.Generation == generation })
	}
}

// appended is an answer that more follows, if it is one with metrics.
type appended struct {
	http.ResponseWriter
	zip     *gzip.Writer // nil: it is not compressed
	begun   bool
	refused bool
}

func (a *appended) WriteHeader(status int) {
	if a.begun = true; status != http.StatusOK {
		a.refused, a.zip = true, nil
	} else if a.zip != nil {
		a.Header().Set("Content-Encoding", "gzip")
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *appended) Write(b []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if a.zip != nil {
		return a.zip.Write(b)
	}
	return a.ResponseWriter.Write(b)
}

// takesGzip reports whether a scraper takes an answer in gzip.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		q, found := strings.CutPrefix(strings.TrimSpace(params), "q=")
		v, err := strconv.ParseFloat(q, 64)
		return !found || err == nil && v > 0
	}
	return false
}
