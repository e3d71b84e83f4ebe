package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

const (
	// scrapesAtOnce bounds what a crowd of scrapers can cost the master.
	scrapesAtOnce = 8
	scrapeTimeout = 10 * time.Second
)

// Handler returns what answers a scrape with c's metrics and those of this
// process, which is the master.
func Handler(c *Collector, log *slog.Logger) (http.Handler, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{c, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register the metrics: %w", err)
		}
	}
	own := promhttp.HandlerFor(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := r.Gather()
		return slices.DeleteFunc(all, misleading), err
	}), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
		// What can be had is worth more than nothing.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
		Timeout:             scrapeTimeout,
		DisableCompression:  true, // see withApp
	})
	return withApp(own, c), nil
}

// misleading tells what the library counts for this process and is not its own: the bytes
// of the whole network namespace.
func misleading(f *dto.MetricFamily) bool { return strings.HasPrefix(f.GetName(), "process_network_") }
