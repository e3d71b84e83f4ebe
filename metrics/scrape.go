package metrics

import (
	"strconv"

	"hostler/internal/appmetrics"
	"hostler/internal/procstat"
	"hostler/protocol"
)

// scrape is what one scrape reads from.
type scrape struct {
	snap    *protocol.Snapshot
	reasons []string
	mono    int64
	workers []workerView
	routes  []protocol.RouteSum

	overflows float64 // of listen queues; -1: not known
	app       appmetrics.Stats
}

// workerView is a slot that was ever used, and who holds it.
type workerView struct {
	label   string // the worker's number
	slot    *protocol.Slot
	status  *protocol.WorkerStatus // nil: nobody holds it
	process *procstat.Process      // nil: there is none, or not any more
	cpu     float64                // seconds, of all who have held the slot
	pss     float64                // bytes; 0: not known
	fds     int                    // -1: not known
	maxFDs  float64                // -1: not known
}

// begin gathers what the rows read. The Collector is locked.
func (c *Collector) begin() *scrape {
	snap := c.snapshot()
	c.overflows = max(c.overflows, procstat.ListenOverflows(c.proc))
	s := &scrape{snap: &snap, reasons: c.reasons, mono: c.mono(), overflows: c.overflows, app: c.app.Stats(), routes: c.board.Routes()}
	holders := make(map[int]*protocol.WorkerStatus, len(snap.Workers))
	for i := range snap.Workers {
		holders[snap.Workers[i].Slot] = &snap.Workers[i]
	}
	for i := range c.board.Used() {
		w := workerView{label: strconv.Itoa(i + 1), slot: c.board.Slot(i), status: holders[i], fds: -1, maxFDs: -1}
		account := c.accounts[i]
		if account == nil {
			account = new(slotAccount)
			c.accounts[i] = account
		}
		now := 0.0
		if w.status != nil {
			// A worker may be gone before the master has heard of it.
			if p, err := procstat.Read(c.proc, w.status.PID); err == nil {
				now = p.CPU
				w.process = &p
				w.fds, w.maxFDs = procstat.Files(c.proc, w.status.PID)
				w.pss = account.share(c.proc, p, s.mono)
			}
		}
		w.cpu = account.total(snap.GoneCPU, i, now)
		s.workers = append(s.workers, w)
	}
	return s
}

// count sums a counter over all slots.
func (s *scrape) count(of func(*protocol.Counters) uint64) float64 {
	n := uint64(0)
	for i := range s.workers {
		n += of(&s.workers[i].slot.Counters)
	}
	return float64(n)
}

// now sums a gauge over the workers that there are. One that is counted up and down by
// several threads may be below zero for a moment.
func (s *scrape) now(of func(*protocol.Gauges) int64) float64 {
	n := int64(0)
	for i := range s.workers {
		if s.workers[i].state() != protocol.SlotFree {
			n += max(of(&s.workers[i].slot.Gauges), 0)
		}
	}
	return float64(n)
}

func (w *workerView) state() protocol.SlotState { return protocol.SlotState(w.slot.State.Load()) }

// threads are those that could serve: a worker that boots has none.
func (w *workerView) threads() []protocol.Thread {
	if s := w.state(); s == protocol.SlotFree || s == protocol.SlotBooting {
		return nil
	}
	return w.slot.ThreadRecs[:min(max(w.slot.Gauges.Threads.Load(), 0), protocol.MaxThreads)]
}

func (s *scrape) threads() (busy, all int) {
	for i := range s.workers {
		threads := s.workers[i].threads()
		all += len(threads)
		for k := range threads {
			if threads[k].Started() != 0 {
				busy++
			}
		}
	}
	return busy, all
}

// oldest is the age of the oldest request, in seconds.
func (s *scrape) oldest() float64 {
	first := int64(0)
	began := func(at int64) {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	for i := range s.workers {
		w := &s.workers[i]
		if w.state() != protocol.SlotFree {
			began(w.slot.Gauges.QueueOldest.Load())
		}
		threads := w.threads()
		for k := range threads {
			began(threads[k].Started())
		}
	}
	if first == 0 {
		return 0
	}
	return seconds(max(s.mono-first, 0))
}

// poolView is the sum over the workers that have a pool of the name.
type poolView struct{ threads, busy, depth int64 }

func (s *scrape) pools() map[string]poolView {
	pools := make(map[string]poolView)
	for i := range s.workers {
		w := &s.workers[i]
		if w.status == nil || w.status.ReadySince.IsZero() {
			continue
		}
		for k, p := range w.status.Pools {
			sum := pools[p.Name]
			sum.threads += int64(p.Threads)
			sum.busy += w.slot.Pools[k].Busy.Load()
			sum.depth += w.slot.Pools[k].Depth.Load()
			pools[p.Name] = sum
		}
	}
	return pools
}

// histogram is a sum over histograms of the scoreboard.
type histogram struct{ protocol.HistogramSum }

// total sums a histogram over all slots.
func (s *scrape) total(of func(*protocol.Counters) *protocol.Histogram) *histogram {
	h := new(histogram)
	for i := range s.workers {
		h.Add(of(&s.workers[i].slot.Counters))
	}
	return h
}

func (h *histogram) empty() bool { return h.Counts == [len(h.Counts)]uint64{} }

// export returns what a constant histogram is made from. The count is made from
// the very same reading of the buckets, so that the two always agree.
func (h *histogram) export() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(protocol.Bounds))
	for i, n := range h.Counts {
		count += n
		if i < len(protocol.Bounds) {
			buckets[float64(protocol.Bounds[i])/1e9] = count
		}
	}
	return count, seconds(h.Sum), buckets
}
