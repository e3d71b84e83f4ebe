package metrics

import (
	"hostler/protocol"
	"hostler/settings"
)

// histogram is a sum over histograms of the scoreboard.
type histogram struct {
	sum    int64
	counts [len(protocol.Bounds) + 1]uint64
}

func (h *histogram) add(o *protocol.Histogram) {
	h.sum += o.Sum.Load()
	for i := range o.Counts {
		h.counts[i] += o.Counts[i].Load()
	}
}

// export returns what a constant histogram is made from. The count is made from
// the very same reading of the buckets, so that the two always agree.
func (h *histogram) export() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(protocol.Bounds))
	for i, n := range h.counts {
		count += n
		if i < len(protocol.Bounds) {
			buckets[float64(protocol.Bounds[i])/1e9] = count
		}
	}
	return count, seconds(h.sum), buckets
}

// totals are sums over all slots.
type totals struct {
	requests                    [len(protocol.Methods)][len(protocol.Classes)]uint64
	duration, queueWait         histogram
	gilWait                     int64
	bytesIn, bytesOut, accepted uint64
	handedOut, handedIn         uint64
	handshakes, handshakeErrors uint64
	shed, held, exceptions      uint64
	acceptErrors                uint64
	spooledBodies, spooledBytes uint64
	spoolFailures               uint64
	violations                  uint64
	accessLogLost, errorLogLost uint64
	forwardedUntrusted          uint64
	timeouts                    [protocol.NumTimeouts]uint64
	evicted                     [protocol.NumEvictions]uint64
	rejects                     [protocol.MaxRejects]uint64

	idle, reading, running, writing int64
	queueDepth                      int64
	threads, busy                   int64
	spoolFiles, spoolBytes          int64
	pools                           map[string]poolTotals
	oldest                          int64 // when the oldest request began; 0: there is none
}

// addCounters adds what s has ever counted and returns its number of requests.
func (t *totals) addCounters(s *protocol.Slot) (requests uint64) {
	c := &s.Counters
	for m := range c.Requests {
		for k := range c.Requests[m] {
			n := c.Requests[m][k].Load()
			t.requests[m][k] += n
			requests += n
		}
	}
	t.duration.add(&c.Duration)
	t.handshakes += c.Handshakes.Load()
	t.handshakeErrors += c.HandshakeErrors.Load()
	t.queueWait.add(&c.QueueWait)
	t.gilWait += c.GILWait.Load()
	t.bytesIn += c.BytesIn.Load()
	t.bytesOut += c.BytesOut.Load()
	t.accepted += c.Accepted.Load()
	t.acceptErrors += c.AcceptErrors.Load()
	t.handedOut += c.HandedOut.Load()
	t.handedIn += c.HandedIn.Load()
	t.shed += c.Shed.Load()
	t.spooledBodies += c.SpooledBodies.Load()
	t.spooledBytes += c.SpooledBytes.Load()
	t.spoolFailures += c.SpoolFailures.Load()
	t.held += c.Held.Load()
	t.exceptions += c.AppExceptions.Load()
	t.violations += c.AppViolations.Load()
	t.accessLogLost += c.AccessLogErrs.Load()
	t.errorLogLost += c.ErrorLogErrs.Load()
	t.forwardedUntrusted += c.ForwardedUntrusted.Load()
	for i := range c.Timeouts {
		t.timeouts[i] += c.Timeouts[i].Load()
	}
	for i := range c.Evicted {
		t.evicted[i] += c.Evicted[i].Load()
	}
	for i := range c.Rejects {
		t.rejects[i] += c.Rejects[i].Load()
	}
	return requests
}

// addGauges adds what s shows of the worker that holds it.
func (t *totals) addGauges(s *protocol.Slot) {
	state := protocol.SlotState(s.State.Load())
	if state == protocol.SlotFree {
		return
	}
	g := &s.Gauges
	// A gauge that is counted up and down by several threads may be below zero
	// for a moment.
	t.idle += max(g.ConnsIdle.Load(), 0)
	t.reading += max(g.ConnsReading.Load(), 0)
	t.running += max(g.ConnsRunning.Load(), 0)
	t.writing += max(g.ConnsWriting.Load(), 0)
	t.queueDepth += max(g.QueueDepth.Load(), 0)
	t.spoolFiles += max(g.SpoolFiles.Load(), 0)
	t.spoolBytes += max(g.SpoolBytes.Load(), 0)
	t.began(g.QueueOldest.Load())
	if state == protocol.SlotBooting {
		return // it has no threads that could serve
	}
	threads := min(max(g.Threads.Load(), 0), protocol.MaxThreads)
	t.threads += threads
	for i := range threads {
		if start := s.ThreadRecs[i].Started(); start != 0 {
			t.busy++
			t.began(start)
		}
	}
}

// poolTotals are sums over the workers that have a pool of the name.
type poolTotals struct{ threads, busy, depth int64 }

// addPools adds the pools of the worker that holds s.
func (t *totals) addPools(s *protocol.Slot, pools []settings.Pool) {
	for i, p := range pools {
		if t.pools == nil {
			t.pools = make(map[string]poolTotals)
		}
		sum := t.pools[p.Name]
		sum.threads += int64(p.Threads)
		sum.busy += s.Pools[i].Busy.Load()
		sum.depth += s.Pools[i].Depth.Load()
		t.pools[p.Name] = sum
	}
}

func (t *totals) began(at int64) {
	if at != 0 && (t.oldest == 0 || at < t.oldest) {
		t.oldest = at
	}
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
