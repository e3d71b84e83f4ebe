package metrics

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hostler/internal/procstat"
	"hostler/protocol"
)

// Options are what a Collector is made from.
type Options struct {
	Board *protocol.Scoreboard
	// Snapshot returns what the master knows at this moment; it must not wait.
	Snapshot func() protocol.Snapshot
	// RejectReasons names the counters in protocol.Counters.Rejects by index.
	// Index 0 stands for no reason and is left out, and so is an empty name.
	RejectReasons []string
}

// Collector collects hostler's metrics. It may be used by any number of scrapes
// at a time.
type Collector struct {
	board    *protocol.Scoreboard
	snapshot func() protocol.Snapshot
	reasons  []string
	proc     fs.FS
	mono     func() int64
	f        *families

	// mu guards what follows: the memory that outlives a worker.
	mu  sync.Mutex
	cpu map[int]*cpuAccount // by slot
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
	return &Collector{board: o.Board, snapshot: o.Snapshot, reasons: o.RejectReasons,
		proc: os.DirFS("/proc"), mono: protocol.Monotonic, f: newFamilies(), cpu: make(map[int]*cpuAccount)}, nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.f.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	// One scrape after the other: with two at a time, the one that was asked
	// first could answer last, with less than a counter has shown already.
	c.mu.Lock()
	defer c.mu.Unlock()
	snap := c.snapshot()
	out := sink(ch)
	t := c.collectSlots(out, &snap)
	t.accessLogLost += snap.LogLost.Access
	t.errorLogLost += snap.LogLost.Error
	c.collectRequests(out, t)
	c.collectConnections(out, t)
	c.collectMaster(out, &snap)
}

// sink sends metrics to a scrape.
type sink chan<- prometheus.Metric

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) histogram(d *prometheus.Desc, h *histogram) {
	count, sum, buckets := h.export()
	s <- prometheus.MustNewConstHistogram(d, count, sum, buckets)
}

// collectSlots sends what there is per worker, and adds up the rest.
func (c *Collector) collectSlots(out sink, snap *protocol.Snapshot) *totals {
	holders := make(map[int]*protocol.WorkerStatus, len(snap.Workers))
	for i := range snap.Workers {
		w := &snap.Workers[i]
		holders[w.Slot] = w
	}
	t := new(totals)
	for i := range c.board.Used() {
		s := c.board.Slot(i)
		t.addGauges(s)
		label := strconv.Itoa(i + 1)
		out.counter(c.f.served, float64(t.addCounters(s)), label)
		w := holders[i]
		out.gauge(c.f.up, number(w != nil && !w.ReadySince.IsZero() && !w.Frozen), label)
		account := c.cpu[i]
		if account == nil {
			account = new(cpuAccount)
			c.cpu[i] = account
		}
		if w != nil {
			out.gauge(c.f.started, timestamp(w.Started), label)
			if !w.ReadySince.IsZero() {
				t.addPools(s, w.Pools)
			}
			// A worker may be gone before the master has heard of it.
			if p, err := procstat.Read(c.proc, w.PID); err == nil {
				account.see(p)
				out.gauge(c.f.memory, p.Memory, label)
			}
		}
		out.counter(c.f.cpu, account.total(), label)
	}
	return t
}

func (c *Collector) collectRequests(out sink, t *totals) {
	for m, method := range protocol.Methods {
		for k, class := range protocol.Classes {
			out.counter(c.f.requests, float64(t.requests[m][k]), class, method)
		}
	}
	out.histogram(c.f.duration, &t.duration)
	out.histogram(c.f.queueWait, &t.queueWait)
	out.counter(c.f.gilWait, seconds(t.gilWait))
	out.counter(c.f.bytesIn, float64(t.bytesIn))
	out.counter(c.f.bytesOut, float64(t.bytesOut))
	out.counter(c.f.exceptions, float64(t.exceptions))
	out.counter(c.f.violations, float64(t.violations))
	out.counter(c.f.unavailable, float64(t.shed))
	out.counter(c.f.spooledBodies, float64(t.spooledBodies))
	out.counter(c.f.spooledBytes, float64(t.spooledBytes))
	out.counter(c.f.spoolFailures, float64(t.spoolFailures))
	out.gauge(c.f.spoolFiles, float64(t.spoolFiles))
	out.gauge(c.f.spoolBytes, float64(t.spoolBytes))
	out.counter(c.f.held, float64(t.held))
	out.counter(c.f.accessLogErrors, float64(t.accessLogLost))
	out.counter(c.f.errorLogErrors, float64(t.errorLogLost))
	out.counter(c.f.forwardedUntrusted, float64(t.forwardedUntrusted))
	for i, reason := range c.reasons {
		if i > 0 && reason != "" {
			out.counter(c.f.rejected, float64(t.rejects[i]), reason)
		}
	}
}

func (c *Collector) collectConnections(out sink, t *totals) {
	out.gauge(c.f.connections, float64(t.idle), "idle")
	out.gauge(c.f.connections, float64(t.reading), "reading")
	out.gauge(c.f.connections, float64(t.running), "running")
	out.gauge(c.f.connections, float64(t.writing), "writing")
	out.counter(c.f.accepted, float64(t.accepted))
	out.counter(c.f.acceptErrors, float64(t.acceptErrors))
	out.counter(c.f.handedOver, float64(t.handedOut), "out")
	out.counter(c.f.handedOver, float64(t.handedIn), "in")
	out.counter(c.f.handshakes, float64(t.handshakes), "success")
	out.counter(c.f.handshakes, float64(t.handshakeErrors), "failure")
	for i, phase := range protocol.TimeoutNames {
		out.counter(c.f.connTimeouts, float64(t.timeouts[i]), phase)
	}
	for i, phase := range protocol.EvictionNames {
		out.counter(c.f.connEvictions, float64(t.evicted[i]), phase)
	}
	out.gauge(c.f.threads, float64(t.busy), "busy")
	out.gauge(c.f.threads, float64(t.threads-t.busy), "idle")
	out.gauge(c.f.queueDepth, float64(t.queueDepth))
	for name, p := range t.pools {
		out.gauge(c.f.poolThreads, float64(p.busy), name, "busy")
		out.gauge(c.f.poolThreads, float64(p.threads-p.busy), name, "idle")
		out.gauge(c.f.poolQueue, float64(p.depth), name)
	}
	age := 0.0
	if t.oldest != 0 {
		age = seconds(max(c.mono()-t.oldest, 0))
	}
	out.gauge(c.f.oldest, age)
}

func (c *Collector) collectMaster(out sink, snap *protocol.Snapshot) {
	states := make(map[string]int)
	for i := range snap.Workers {
		states[snap.Workers[i].StateName()]++
	}
	for _, s := range [...]string{protocol.SlotBooting.String(), protocol.SlotServing.String(), protocol.SlotDraining.String(), protocol.StateFrozen} {
		out.gauge(c.f.workers, float64(states[s]), s)
	}
	out.gauge(c.f.target, float64(snap.TargetWorkers))
	out.gauge(c.f.least, float64(snap.MinWorkers))
	out.gauge(c.f.most, float64(snap.MaxWorkers))
	out.gauge(c.f.bootsFailed, float64(snap.BootFailures))
	out.counter(c.f.hooksFailed, float64(snap.HookFailures))
	out.gauge(c.f.generation, float64(snap.Generation))
	out.gauge(c.f.reloadOK, number(snap.LastReload.IsZero() || snap.LastReloadSuccessful))
	out.gauge(c.f.reloadT, timestamp(snap.LastReload))
	seen := make(map[string]bool)
	for _, cert := range snap.Certificates {
		if !seen[cert.Name] { // of two for the same name, an RSA and an ECDSA one, the first
			seen[cert.Name] = true
			out.gauge(c.f.certExpiry, timestamp(cert.NotAfter), cert.Name)
		}
	}
	if len(snap.Certificates) > 0 {
		out.gauge(c.f.certsOK, number(snap.CertificatesFailed == ""))
	}
	out.counter(c.f.requestTimeouts, float64(snap.RequestTimeouts))
	for _, result := range [...]string{"success", "failure"} {
		out.counter(c.f.reloads, float64(snap.Reloads[result]), result)
		out.counter(c.f.upgrades, float64(snap.Upgrades[result]), result)
	}
	for cause, n := range snap.Exits {
		out.counter(c.f.exits, float64(n), cause)
	}
	out.gauge(c.f.build, 1, snap.Version, runtime.Version())
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// timestamp is t since the Unix epoch; 0 for the zero time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
