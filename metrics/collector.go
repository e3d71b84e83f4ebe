package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"hostler/internal/appmetrics"
	"hostler/protocol"
)

// Options are what a Collector is made from.
type Options struct {
	Board *protocol.Scoreboard
	// Snapshot returns what the master knows at this moment; it must not wait.
	Snapshot func() protocol.Snapshot
	// RejectReasons names the counters in protocol.Counters.Rejected by index.
	// Index 0 stands for no reason and is left out, and so is an empty name.
	RejectReasons []string
	// App is the application's own metrics. Nil: there are none.
	App *appmetrics.Registry
	// Collect has workers look up what of App they have not; it returns in good time. Nil:
	// nobody is asked.
	Collect func(context.Context)
}

// Collector collects hostler's metrics. It may be used by any number of scrapes
// at a time.
type Collector struct {
	board    *protocol.Scoreboard
	snapshot func() protocol.Snapshot
	reasons  []string
	app      *appmetrics.Registry
	collect  func(context.Context)
	proc     fs.FS
	mono     func() int64
	families []described

	// mu guards what follows: the memory that outlives a worker.
	mu       sync.Mutex
	accounts map[int]*slotAccount // by slot
	// overflows is what was last known of them: at a time without descriptors nothing
	// can be read, and a counter that is gone for a scrape begins anew for its readers.
	overflows float64
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a Collector.
func New(o Options) (*Collector, error) {
	if o.Board == nil || o.Snapshot == nil {
		return nil, errors.New("cannot export metrics without a scoreboard and a snapshot of the master")
	}
	if len(o.RejectReasons) > protocol.MaxRejects {
		return nil, fmt.Errorf("cannot export %d reasons for rejects: the scoreboard has room for %d",
			len(o.RejectReasons), protocol.MaxRejects)
	}
	seen := make(map[string]bool)
	for i, r := range o.RejectReasons {
		if i > 0 && r != "" && seen[r] {
			return nil, fmt.Errorf("cannot export two reasons for rejects that are both called %q", r)
		}
		seen[r] = i > 0
	}
	if o.Collect == nil {
		o.Collect = func(context.Context) {}
	}
	if o.App == nil {
		o.App = appmetrics.New(slog.New(slog.DiscardHandler))
	}
	return &Collector{board: o.Board, snapshot: o.Snapshot, reasons: o.RejectReasons, app: o.App, collect: o.Collect,
		proc: os.DirFS("/proc"), mono: protocol.Monotonic, families: describe(), accounts: make(map[int]*slotAccount), overflows: -1}, nil
}

// described is a row of the table with its description.
type described struct {
	*family
	desc *prometheus.Desc
}

func describe() (all []described) {
	for _, g := range table {
		for i := range g.families {
			f := &g.families[i]
			all = append(all, described{f, f.desc()})
		}
	}
	return all
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	// One scrape after the other: with two at a time, the one that was asked
	// first could answer last, with less than a counter has shown already.
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.begin()
	for _, f := range c.families {
		f.collect(s, ch)
	}
}

// collect sends a family's metrics to a scrape.
func (f described) collect(s *scrape, ch chan<- prometheus.Metric) {
	typ := prometheus.CounterValue
	switch f.typ {
	case histo:
		f.sum(s, func(h *histogram, labels ...string) {
			count, sum, buckets := h.export()
			ch <- prometheus.MustNewConstHistogram(f.desc, count, sum, buckets, labels...)
		})
		return
	case gauge:
		typ = prometheus.GaugeValue
	}
	f.read(s, func(v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(f.desc, typ, v, labels...)
	})
}
