package metrics

import (
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"hostler/internal/appmetrics"
)

const (
	// scrapesAtOnce bounds what a crowd of scrapers can cost the master.
	scrapesAtOnce = 8
	scrapeTimeout = 10 * time.Second
)

// formats are what a scraper can have, which asks for the first two by name.
var formats = [...]expfmt.Format{expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtText}

// scraper answers scrapes.
type scraper struct {
	c    *Collector
	own  prometheus.Gatherer
	log  *slog.Logger
	turn chan struct{} // has room for those that are answered
	zips sync.Pool
}

// Handler returns what answers a scrape with c's metrics, those of this process, which is
// the master, and the application's own.
func Handler(c *Collector, log *slog.Logger) (http.Handler, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{c, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register the metrics: %w", err)
		}
	}
	return http.TimeoutHandler(newScraper(c, r, log), scrapeTimeout, "the metrics could not be gathered in time\n"), nil
}

func newScraper(c *Collector, own prometheus.Gatherer, log *slog.Logger) *scraper {
	return &scraper{c: c, own: own, log: log, turn: make(chan struct{}, scrapesAtOnce),
		zips: sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}}
}

func (s *scraper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
		return
	}
	all, err := s.own.Gather()
	if err != nil { // what can be had is worth more than nothing
		s.log.Error("cannot gather all metrics", "error", err)
	}
	if len(all) == 0 {
		http.Error(w, "there are no metrics", http.StatusInternalServerError)
		return
	}
	s.c.collect(r.Context())
	format := expfmt.NegotiateAccept(r.Header, formats[:]...)
	h := w.Header()
	h.Set("Content-Type", string(format))
	h["Vary"] = append(h["Vary"], "Accept", "Accept-Encoding")
	to := io.Writer(w)
	if takesGzip(r) {
		h.Set("Content-Encoding", "gzip")
		z := s.zips.Get().(*gzip.Writer)
		z.Reset(w)
		defer s.zips.Put(z)
		defer z.Close() // who is gone is nobody's fault
		to = z
	}
	if err := s.write(to, format, slices.DeleteFunc(all, misleading)); err != nil {
		s.log.Debug("a scrape has not got all", "error", err)
	}
}

// write writes the server's own metrics and those of the application. The latter are not
// gathered with the others: the library would write the bound of a bucket in another way
// than the application's does, and so make another series of it.
func (s *scraper) write(w io.Writer, format expfmt.Format, own []*dto.MetricFamily) error {
	e := expfmt.NewEncoder(w, format)
	for _, f := range own {
		if unit := appmetrics.Unit(strings.TrimSuffix(f.GetName(), "_total")); unit != "" {
			f.Unit = &unit
		}
		if err := e.Encode(f); err != nil {
			return err
		}
	}
	snap := s.c.snapshot()
	if _, err := w.Write(s.c.app.Text(nil, format.FormatType() == expfmt.TypeOpenMetrics, snap.HasGeneration)); err != nil {
		return err
	}
	return e.(expfmt.Closer).Close() // which OpenMetrics' end is written by
}

// misleading tells what the library counts for this process and is not its own: the bytes
// of the whole network namespace.
func misleading(f *dto.MetricFamily) bool { return strings.HasPrefix(f.GetName(), "process_network_") }

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
