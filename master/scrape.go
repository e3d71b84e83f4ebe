package master

import (
	"bytes"
	"compress/gzip"
	"os"
	"slices"
	"time"

	"hostler/internal/appmetrics"
	"hostler/master/spawn"
	"hostler/protocol"
)

// With --metrics-path clients of the application's get its metrics from workers, which
// have them from here. They are made apart, one time after the other and a few times a
// second, whatever workers ask for; and each time for those who have asked before it began.

const (
	// metricsEvery is how often they may be made.
	metricsEvery = 250 * time.Millisecond
	// metricsShare bounds the time that goes into that where there are many: one part of
	// so many.
	metricsShare = 5
)

// scrapes is how workers are given metrics. It belongs to the state goroutine.
type scrapes struct {
	apps   *appmetrics.Registry // nil: there are no metrics
	making bool
	next   time.Time // no sooner
}

// metricsForms are the metrics in each form: sealed memory, or nil if there are none.
type metricsForms [protocol.NumMetricsForms]*os.File

// scrapeWanted is called when a client of w's waits for metrics.
func (s *supervisor) scrapeWanted(w *worker, text string) {
	form, ok := protocol.ParseMetricsForm(text)
	if !ok || s.scrapes.apps == nil || w.gen.set.MetricsPath == "" {
		return // no worker of ours asks for that
	}
	w.scrapes |= 1 << form
	s.makeMetrics()
}

// makeMetrics has what workers wait for made, when it is time, unless something is already.
func (s *supervisor) makeMetrics() {
	if s.scrapes.making || !slices.ContainsFunc(s.workers, func(w *worker) bool { return w.scrapes != 0 }) {
		return
	}
	s.scrapes.making = true
	pause := s.scrapes.next.Sub(s.clock.now())
	s.apart(func() func() {
		time.Sleep(pause) // as a rule there is none
		return s.beginMetrics
	})
}

func (s *supervisor) beginMetrics() {
	s.scrapes.next = s.clock.now().Add(metricsEvery)
	wanted := uint8(0)
	for _, w := range s.workers {
		wanted |= w.scrapes
		w.owedMetrics, w.scrapes = w.scrapes, 0
	}
	asked := s.collect()
	s.apart(func() func() {
		select {
		case <-asked.done:
		case <-time.After(collectPatience):
		case <-s.gone:
		}
		begun, snap := time.Now(), s.view.Load()
		var made metricsForms
		var failed error
		for form := range protocol.MetricsForm(protocol.NumMetricsForms) {
			if wanted>>form&1 == 1 && failed == nil {
				made[form], failed = metricsIn(form, s.scrapes.apps, snap)
			}
		}
		took := time.Since(begun)
		return func() {
			if next := s.clock.now().Add((metricsShare - 1) * took); next.After(s.scrapes.next) {
				s.scrapes.next = next
			}
			s.metricsMade(&made, failed)
		}
	})
}

// metricsMade gives the workers what has been made for them.
func (s *supervisor) metricsMade(made *metricsForms, failed error) {
	s.scrapes.making = false
	if failed != nil { // they give up by themselves
		s.log.Error("the application's metrics cannot be given to workers", "error", failed)
	}
	for _, w := range s.workers {
		for form := range protocol.MetricsForm(protocol.NumMetricsForms) {
			if w.owedMetrics>>form&1 == 1 && failed == nil {
				s.giveMetrics(w, form, made[form])
			}
		}
		w.owedMetrics = 0
	}
	for _, memory := range made {
		if memory != nil {
			memory.Close()
		}
	}
	s.makeMetrics()
}

func (s *supervisor) giveMetrics(w *worker, form protocol.MetricsForm, memory *os.File) {
	m := protocol.Message{Kind: protocol.KindScraped, Text: form.String()}
	if memory == nil {
		s.send(w, m)
	} else if err := w.proc.SendFile(m, spawn.RawFD(memory)); err != nil {
		s.log.Debug("a worker did not take metrics", "worker", w.number(), "error", err)
	}
}

// metricsIn returns memory with the metrics, or nil if there are none.
func metricsIn(form protocol.MetricsForm, apps *appmetrics.Registry, snap *protocol.Snapshot) (*os.File, error) {
	open := form&protocol.MetricsOpen != 0
	text := apps.Text(nil, open, snap.HasGeneration)
	if len(text) == 0 {
		return nil, nil
	}
	if open {
		text = append(text, "# EOF\n"...)
	}
	if form&protocol.MetricsGzip != 0 {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // a level that there is
		_, _ = z.Write(text)                            // memory takes everything
		_ = z.Close()
		text = b.Bytes()
	}
	return protocol.NewMemory("hostler-metrics", text)
}
