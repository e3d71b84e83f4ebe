package admin

import (
	"context"
	"sync"
	"time"

	"hostler/protocol"
)

// How the last minutes are kept: a sample a second.
const (
	samplePeriod = time.Second
	historySize  = 300
	// nowWindow is what "now" means in a figure that is read at a glance: a second of a
	// quiet server's says nothing.
	nowWindow = 10
)

// buckets are what a histogram of the scoreboard's has gained in a second.
type buckets [len(protocol.Bounds) + 1]uint32

// second is what a second has brought, over all workers.
type second struct {
	at               time.Time
	length           time.Duration // about samplePeriod, unless the machine slept
	requests, errors uint32        // that ended, and those of them with a 5xx
	duration, wait   buckets
	busy, queue      int32 // at its end
}

// totals is what the scoreboard had counted at a moment.
type totals struct {
	at               time.Time
	requests, errors uint64
	duration, wait   [len(protocol.Bounds) + 1]uint64
}

// History keeps what the last minutes were like. It reads the scoreboard once a second,
// whether somebody looks or not: 8 workers take 12 µs (BenchmarkSample), and who looks
// wants to see what led to what he sees. It has 50 kB. Make one with NewHistory, and keep
// it going with Run.
type History struct {
	board *protocol.Scoreboard
	now   func() time.Time

	mu      sync.Mutex
	before  totals
	seconds []second // a ring once it is full
	oldest  int
	taken   uint64 // how many there have ever been
	hub     hub
}

// NewHistory returns a History of what board counts from now on.
func NewHistory(board *protocol.Scoreboard) *History {
	h := &History{board: board, now: time.Now}
	h.before = h.read(h.now())
	return h
}

// Run takes a sample each second until ctx ends.
func (h *History) Run(ctx context.Context) {
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.sample()
			h.hub.tick()
		}
	}
}

// read sums what all workers have counted.
func (h *History) read(at time.Time) totals {
	t := totals{at: at}
	for i := range h.board.Used() {
		c := &h.board.Slot(i).Counters
		for m := range c.Requests {
			for k := range c.Requests[m] {
				n := c.Requests[m][k].Load()
				if n == 0 {
					continue
				}
				t.requests += n
				if protocol.CodeClass(k) == serverError {
					t.errors += n
				}
			}
		}
		for m := range c.Duration {
			for class := range c.Duration[m] {
				addTo(&t.duration, &c.Duration[m][class])
			}
		}
		addTo(&t.wait, &c.QueueWait)
	}
	return t
}

func addTo(sum *[len(protocol.Bounds) + 1]uint64, h *protocol.Histogram) {
	for k := range sum {
		sum[k] += h.Counts[k].Load()
	}
}

// serverError is the index of 5xx in protocol.Classes.
const serverError = 5

// sample adds the second that ends now.
func (h *History) sample() {
	t := h.read(h.now())
	h.mu.Lock()
	defer h.mu.Unlock()
	s := second{at: t.at, length: t.at.Sub(h.before.at),
		requests: gained(t.requests, h.before.requests), errors: gained(t.errors, h.before.errors)}
	for k := range t.duration {
		s.duration[k] = gained(t.duration[k], h.before.duration[k])
		s.wait[k] = gained(t.wait[k], h.before.wait[k])
	}
	for i := range h.board.Used() {
		slot := h.board.Slot(i)
		state := protocol.SlotState(slot.State.Load())
		if state != protocol.SlotServing && state != protocol.SlotDraining && state != protocol.SlotCanary {
			continue
		}
		s.queue += int32(min(max(slot.Gauges.QueueDepth.Load(), 0), 1<<20))
		for k := range min(max(slot.Gauges.Threads.Load(), 0), protocol.MaxThreads) {
			if slot.ThreadRecs[k].Started() != 0 {
				s.busy++
			}
		}
	}
	h.before = t
	h.taken++
	if len(h.seconds) < historySize {
		h.seconds = append(h.seconds, s)
		return
	}
	h.seconds[h.oldest] = s
	h.oldest = (h.oldest + 1) % historySize
}

// gained is the difference of two readings. A worker that means ill may have counted
// backwards, or too much: nobody has to believe it, but no sum goes astray by it.
func gained(now, before uint64) uint32 {
	if now < before {
		return 0
	}
	return uint32(min(now-before, 1<<31))
}

// Sample is a second of the server's. Times are in seconds; null: nothing ended in it.
type Sample struct {
	Time     int64    `json:"t"`        // its end, since the Unix epoch, in milliseconds
	Requests float64  `json:"requests"` // that ended, a second
	Errors   float64  `json:"errors"`   // … with a status of 500 or more
	P50      *float64 `json:"p50"`      // from a request's arrival to its response's end
	P99      *float64 `json:"p99"`
	Wait     *float64 `json:"wait_p99"` // from its arrival to the application's start
	Busy     int      `json:"busy"`     // threads that ran a request, at its end
	Queue    int      `json:"queue"`    // requests that waited for a thread, at its end
}

// Traffic is what the last seconds were like. A quantile is somewhere within a bucket of
// a histogram, and so about right; null: no request has ended.
type Traffic struct {
	Seconds  float64  `json:"seconds"` // how many these are
	Requests float64  `json:"requests_per_second"`
	Errors   float64  `json:"errors_per_second"` // with a status of 500 or more
	P50      *float64 `json:"p50_seconds"`
	P99      *float64 `json:"p99_seconds"`
	Wait     *float64 `json:"queue_wait_p99_seconds"`
}

// Since returns the samples that came after the first n that ever were, as far as they
// are kept, and how many there have been by now.
func (h *History) Since(n uint64) ([]Sample, uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	have := uint64(len(h.seconds))
	fresh := min(h.taken-min(n, h.taken), have)
	all := make([]Sample, 0, fresh)
	for i := have - fresh; i < have; i++ {
		s := h.at(int(i))
		t := sum([]*second{s})
		all = append(all, Sample{Time: s.at.UnixMilli(), Requests: t.Requests, Errors: t.Errors, P50: t.P50, P99: t.P99, Wait: t.Wait,
			Busy: int(s.busy), Queue: int(s.queue)})
	}
	return all, h.taken
}

// Now returns what the last seconds were like; nil: there has been none yet.
func (h *History) Now() *Traffic {
	h.mu.Lock()
	defer h.mu.Unlock()
	have := len(h.seconds)
	if have == 0 {
		return nil
	}
	var last []*second
	for i := max(0, have-nowWindow); i < have; i++ {
		last = append(last, h.at(i))
	}
	t := sum(last)
	return &t
}

// at returns the i-th of the seconds that are kept. h is locked.
func (h *History) at(i int) *second { return &h.seconds[(h.oldest+i)%len(h.seconds)] }

// sum is the traffic of some seconds.
func sum(all []*second) (t Traffic) {
	var requests, errors float64
	var duration, wait [len(protocol.Bounds) + 1]uint64
	for _, s := range all {
		t.Seconds += s.length.Seconds()
		requests += float64(s.requests)
		errors += float64(s.errors)
		for k := range duration {
			duration[k] += uint64(s.duration[k])
			wait[k] += uint64(s.wait[k])
		}
	}
	long := max(t.Seconds, 1e-3) // the clock may have been set back
	t.Seconds, t.Requests, t.Errors = round(t.Seconds), round(requests/long), round(errors/long)
	t.P50, t.P99, t.Wait = quantile(0.5, &duration), quantile(0.99, &duration), quantile(0.99, &wait)
	return t
}

// quantile is where the share q of all lies below, in seconds, if those of a bucket lie
// evenly in it; nil: there are none.
func quantile(q float64, counts *[len(protocol.Bounds) + 1]uint64) *float64 {
	all := uint64(0)
	for _, n := range counts {
		all += n
	}
	if all == 0 {
		return nil
	}
	rank, below := q*float64(all), 0.0
	for k, n := range counts {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		low := 0.0
		if k > 0 {
			low = float64(protocol.Bounds[k-1])
		}
		high := low // of those beyond all bounds only that is known
		if k < len(protocol.Bounds) {
			high = float64(protocol.Bounds[k])
		}
		at := (low + (high-low)*(rank-below)/float64(n)) / 1e9
		return &at
	}
	return nil
}

// round is f with three places.
func round(f float64) float64 { return float64(int64(f*1e3+.5)) / 1e3 }
