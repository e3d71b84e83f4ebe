package admin

import (
	"math"
	"testing"
	"time"

	"hostler/protocol"
)

// historyRig is a History whose seconds pass when the test says so.
type historyRig struct {
	*History
	clock time.Time
}

func newHistoryRig(t *testing.T) (*historyRig, *protocol.Slot) {
	t.Helper()
	b, f, err := protocol.CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); f.Close() })
	slot := b.Slot(0)
	slot.Assign(1, 4)
	slot.State.Store(uint32(protocol.SlotServing))
	r := &historyRig{History: NewHistory(b), clock: start}
	r.now = func() time.Time { return r.clock }
	r.before = r.read(r.clock)
	return r, slot
}

func (r *historyRig) second() {
	r.clock = r.clock.Add(time.Second)
	r.sample()
}

// request counts one that has ended.
func request(s *protocol.Slot, status int, took, waited time.Duration) {
	s.Counters.Requests[1][protocol.CodeIndex(status)].Add(1)
	s.Counters.Duration[1][status/100].Observe(int64(took))
	s.Counters.QueueWait.Observe(int64(waited))
}

func TestHistory(t *testing.T) {
	r, s := newHistoryRig(t)
	if r.Now() != nil {
		t.Error("there is traffic before the first second")
	}
	for i := range 100 {
		status := 200
		if i < 3 {
			status = 500 + i // one of them 502
		}
		request(s, status, 40*time.Millisecond, 200*time.Microsecond)
	}
	s.Gauges.QueueDepth.Store(7)
	s.ThreadRecs[2].Begin(1, []byte("GET"), []byte("/"), nil)
	r.second()
	s.Gauges.QueueDepth.Store(-1) // for a moment
	s.ThreadRecs[2].End()
	r.second()
	all, n := r.Since(0)
	if len(all) != 2 || n != 2 {
		t.Fatalf("%d samples of %d", len(all), n)
	}
	a, b := all[0], all[1]
	if a.Requests != 100 || a.Errors != 3 || a.Busy != 1 || a.Queue != 7 || a.Time != start.Add(time.Second).UnixMilli() {
		t.Errorf("the first second: %+v", a)
	}
	if !between(a.P50, 25e-3, 50e-3) || !between(a.P99, *a.P50, 50e-3) || !between(a.Wait, 100e-6, 250e-6) {
		t.Errorf("its quantiles: %v %v %v", *a.P50, *a.P99, *a.Wait)
	}
	if b.Requests != 0 || b.P50 != nil || b.P99 != nil || b.Wait != nil || b.Busy != 0 || b.Queue != 0 {
		t.Errorf("the second: %+v", b)
	}
	if now := r.Now(); now.Seconds != 2 || now.Requests != 50 || now.Errors != 1.5 || *now.P50 != *a.P50 {
		t.Errorf("both: %+v", now)
	}
	if all, _ := r.Since(1); len(all) != 1 || all[0] != b {
		t.Errorf("since the first: %+v", all)
	}
	if all, _ := r.Since(9); len(all) != 0 {
		t.Errorf("since what is to come: %+v", all)
	}
}

func between(f *float64, low, high float64) bool { return f != nil && *f >= low && *f <= high }

// TestHistoryIsBounded: it keeps as many seconds as it says, the latest.
func TestHistoryIsBounded(t *testing.T) {
	r, s := newHistoryRig(t)
	for i := range 2*historySize + 7 {
		for range i % 5 {
			request(s, 200, time.Millisecond, 0)
		}
		r.second()
	}
	all, n := r.Since(0)
	if len(all) != historySize || n != 2*historySize+7 {
		t.Fatalf("%d samples of %d", len(all), n)
	}
	for k, sample := range all {
		i := historySize + 7 + k
		if sample.Time != start.Add(time.Duration(i+1)*time.Second).UnixMilli() || sample.Requests != float64(i%5) {
			t.Fatalf("sample %d is %+v", k, sample)
		}
	}
	if now := r.Now(); now.Seconds != nowWindow || now.Requests != 2 {
		t.Errorf("now: %+v", now)
	}
}

// TestHistoryOfLies: a worker may write anything into the scoreboard.
func TestHistoryOfLies(t *testing.T) {
	r, s := newHistoryRig(t)
	request(s, 200, time.Second, 0)
	r.second()
	s.Counters.Requests[1][protocol.CodeIndex(200)].Store(0)
	s.Counters.Requests[2][protocol.CodeIndex(500)].Store(math.MaxUint64)
	s.Counters.Duration[1][2].Counts[3].Store(math.MaxUint64)
	s.Gauges.Threads.Store(math.MaxInt64)
	s.Gauges.QueueDepth.Store(math.MaxInt64)
	r.second()
	r.clock = r.clock.Add(-2 * time.Hour) // and the clock is set back
	r.second()
	all, _ := r.Since(0)
	for _, sample := range all {
		for _, f := range []float64{sample.Requests, sample.Errors} {
			if f < 0 || math.IsNaN(f) || math.IsInf(f, 0) {
				t.Errorf("%+v", sample)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	var none, beyond, two [len(protocol.Bounds) + 1]uint64
	if q := quantile(0.5, &none); q != nil {
		t.Errorf("of nothing: %v", *q)
	}
	beyond[len(protocol.Bounds)] = 4
	if q := quantile(0.99, &beyond); q == nil || *q != 30 {
		t.Errorf("beyond all bounds: %v", q)
	}
	two[0], two[5] = 98, 2 // up to 100 µs, and 2.5 to 5 ms
	if q := quantile(0.5, &two); !between(q, 50e-6, 52e-6) {
		t.Errorf("the median: %v", *q)
	}
	if q := quantile(0.99, &two); !between(q, 3.7e-3, 3.8e-3) {
		t.Errorf("the 99th: %v", *q)
	}
}

func BenchmarkSample(b *testing.B) {
	board, f, err := protocol.CreateScoreboard()
	if err != nil {
		b.Fatal(err)
	}
	defer board.Close()
	defer f.Close()
	for i := range 8 {
		board.Slot(i).Assign(1, 16)
		board.Slot(i).State.Store(uint32(protocol.SlotServing))
	}
	h := NewHistory(board)
	for b.Loop() {
		h.sample()
	}
}
