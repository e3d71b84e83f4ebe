package protocol

import (
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newBoard(t testing.TB) (*Scoreboard, *os.File) {
	t.Helper()
	s, f, err := CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); f.Close() })
	return s, f
}

func TestTwoMappings(t *testing.T) {
	a, f := newBoard(t)
	b, err := OpenScoreboard(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	last := MaxSlots - 1
	b.Slot(last).Counters.ReceivedBytes.Add(7)
	b.Slot(last).ThreadRecs[MaxThreads-1].Begin(5, []byte("GET"), []byte("/x"), []byte("::1"))
	if n := a.Slot(last).Counters.ReceivedBytes.Load(); n != 7 {
		t.Errorf("one mapping counted 7, the other reads %d", n)
	}
	if got, ok := a.Slot(last).ThreadRecs[MaxThreads-1].Snapshot(); !ok || got != (Activity{5, "GET", "/x", "::1", 1, false, false}) {
		t.Errorf("got %+v, %v", got, ok)
	}
}

func TestOpenNeedsNoFileAfterwards(t *testing.T) {
	a, f := newBoard(t)
	b, err := OpenScoreboard(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f.Close()
	a.Slot(0).PID.Store(1)
	if b.Slot(0).PID.Load() != 1 {
		t.Error("the mapping died with its file")
	}
}

func TestOpenRefuses(t *testing.T) {
	memfd := func(size int64) int {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Ftruncate(fd, size); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, size := range []int64{0, 4096, int64(scoreboardSize) - 1, int64(scoreboardSize) + 1} {
		if b, err := OpenScoreboard(memfd(size)); !errors.Is(err, ErrScoreboard) || b != nil {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
	if _, err := OpenScoreboard(-1); err == nil || errors.Is(err, ErrScoreboard) {
		t.Errorf("no file: got %v", err)
	}
}

func TestSlotLife(t *testing.T) {
	b, _ := newBoard(t)
	if b.Used() != 0 || b.Slot(0).Used() {
		t.Fatal("a new scoreboard has used slots")
	}
	before := Monotonic()
	s := b.Slot(0)
	s.Assign(1, 4)
	b.Slot(1).Assign(1, 4)
	if SlotState(s.State.Load()) != SlotBooting || s.Gauges.Threads.Load() != 4 || s.Generation.Load() != 1 || s.StartedAt.Load() < before {
		t.Errorf("after Assign: state %v, %d threads, generation %d", s.State.Load(), s.Gauges.Threads.Load(), s.Generation.Load())
	}
	s.PID.Store(99)
	s.Gauges.ConnsIdle.Store(3)
	s.Gauges.QueueOldest.Store(3)
	s.Gauges.Served.Store(3)
	s.Counters.Accepted.Add(3)
	s.ThreadRecs[2].Begin(1, []byte("GET"), []byte("/"), nil)

	cleared := func(what string) {
		t.Helper()
		if g := &s.Gauges; g.ConnsIdle.Load() != 0 || g.QueueOldest.Load() != 0 || g.Served.Load() != 0 || s.PID.Load() != 0 {
			t.Errorf("%s: gauges of the last worker are left", what)
		}
		if _, busy := s.ThreadRecs[2].Snapshot(); busy {
			t.Errorf("%s: a request of the last worker is left", what)
		}
		if s.Counters.Accepted.Load() != 3 {
			t.Errorf("%s: counters went back", what)
		}
	}
	s.Free()
	cleared("Free")
	if SlotState(s.State.Load()) != SlotFree || s.StartedAt.Load() != 0 {
		t.Error("the slot is not free")
	}
	if b.Used() != 2 || !s.Used() {
		t.Error("a slot that was freed counts as never used: its counts would be lost")
	}

	s.Gauges.ConnsIdle.Store(3) // the next worker's predecessor was never freed
	s.ThreadRecs[2].Begin(1, []byte("GET"), []byte("/"), nil)
	s.Assign(2, 2)
	cleared("Assign")
	if s.Gauges.Threads.Load() != 2 || s.Generation.Load() != 2 {
		t.Error("the slot is not the next worker's")
	}
}

func TestThreadRecord(t *testing.T) {
	long := strings.Repeat("p", 500)
	room := threadRecordWords * 8
	for _, c := range []struct{ method, target, client, m, u, c string }{
		{"GET", "/", "127.0.0.1:5", "GET", "/", "127.0.0.1:5"},
		{"", "", "", "", "", ""},
		{"POST", "/caf\xe9?a=%20", "", "POST", "/caf\xe9?a=%20", ""},
		{"PROPPATCH", long, "::1", "PROPPATCH", long[:room-9-3], "::1"},
		{long, long, long, long[:maxMethod], long[:room-maxMethod-maxClient], long[:maxClient]},
		{"", long, "", "", long[:room], ""},
	} {
		var r Thread
		if _, busy := r.Snapshot(); busy || r.Started() != 0 {
			t.Fatal("a new record is busy")
		}
		r.Begin(9, []byte("OTHER"), []byte("/something/else"), []byte("10.0.0.1")) // must leave no trace
		r.Begin(42, []byte(c.method), []byte(c.target), []byte(c.client))
		got, busy := r.Snapshot()
		if want := (Activity{42, c.m, c.u, c.c, 1, false, false}); !busy || got != want || r.Started() != 42 {
			t.Errorf("got %+v, want %+v", got, want)
		}
		r.Logged(42)
		if got, _ := r.Snapshot(); !got.Logged {
			t.Errorf("its line is written: %+v", got)
		}
		r.End()
		if got, busy := r.Snapshot(); busy || got != (Activity{}) || r.Started() != 0 {
			t.Errorf("after End: %+v, %v", got, busy)
		}
	}
}

// die leaves r as a writer does that is killed in the middle of Begin.
func die(r *Thread) { r.head.Store(uint64(uint32(r.head.Load()>>32)|1) << 32) }

// TestClock: the clock of one request is not another's, whatever that left behind.
func TestClock(t *testing.T) {
	var r Thread
	begin := func(at int64) { r.Begin(at, []byte("GET"), []byte("/"), nil) }
	at := func(start int64, timeout, total time.Duration, want int64) {
		t.Helper()
		if got := r.Deadline(start, timeout, total); got != want {
			t.Errorf("the time is up at %d, not %d", got, want)
		}
	}
	const never = math.MaxInt64
	begin(100)
	at(100, 30, 0, 130)
	at(100, 0, 0, never)
	at(100, 0, 20, 120)
	r.Progress(120)
	at(100, 30, 0, 150)
	at(100, 30, 40, 140)
	r.Wait(100)
	at(100, 30, 0, never)
	at(100, 30, 40, 140)
	if r.ClockSince(100) != 0 {
		t.Error("the clock runs")
	}
	r.Waited(100, 500)
	at(100, 30, 0, 530)
	r.SetTimeout(100, 510, 5)
	at(100, 30, 0, 515)
	r.Progress(512)
	at(100, 30, 0, 517) // its own wish stays
	at(100, 0, 0, never)
	r.Wait(100)
	r.End()
	begin(600)
	at(600, 30, 0, 630)
	// Somebody who waited for the client of the earlier one is done with it.
	r.Waited(100, 620)
	at(600, 30, 0, 630)
	r.Wait(600)
	r.Wait(100) // … or begins to, a moment late
	at(600, 30, 0, never)
	r.Waited(100, 640)
	at(600, 30, 0, never)
	r.Waited(600, 650)
	at(600, 30, 0, 680)
}

func TestTornRecord(t *testing.T) {
	var r Thread
	die(&r)
	if _, busy := r.Snapshot(); busy {
		t.Error("died in an idle thread's first Begin: busy")
	}
	r.Logged(2)
	r.Begin(3, []byte("GET"), []byte("/a"), nil)
	if got, ok := r.Snapshot(); !ok || got.Target != "/a" || got.Logged {
		t.Errorf("the next worker's record cannot be read: %+v, %v", got, ok)
	}
	die(&r)
	if got, busy := r.Snapshot(); !busy || got != (Activity{Start: 3}) {
		t.Errorf("died between two requests: %+v, %v", got, busy)
	}
	r.End()
	r.Begin(4, []byte("GET"), []byte("/b"), nil)
	if got, ok := r.Snapshot(); !ok || got.Start != 4 || got.Target != "/b" {
		t.Errorf("the next worker's record cannot be read: %+v, %v", got, ok)
	}
	r.head.Store(r.head.Load()&^0xffffff | 0xffff00) // memory that the application scribbled over
	if got, busy := r.Snapshot(); !busy || got != (Activity{Start: 4}) {
		t.Errorf("impossible lengths: %+v, %v", got, busy)
	}
}

// Readers see one request or another, never a mixture.
func TestSnapshotWhileWriting(t *testing.T) {
	b, f := newBoard(t)
	other, err := OpenScoreboard(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	targets := []string{"/a", "/" + strings.Repeat("b", 100), "/" + strings.Repeat("c", 180)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := &b.Slot(0).ThreadRecs[0]
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			k := i % len(targets)
			r.Begin(int64(k+1), []byte("GET"), []byte(targets[k]), []byte("127.0.0.1"))
			if i%7 == 0 {
				r.End()
			}
		}
	})
	whole := 0
	for deadline := time.Now().Add(10 * time.Second); whole < 200 && time.Now().Before(deadline); {
		got, busy := other.Slot(0).ThreadRecs[0].Snapshot()
		if !busy || got.Target == "" { // idle, or written at every one of its looks
			continue
		}
		whole++
		if k := got.Start - 1; got.Target != targets[k] || got.Method != "GET" || got.Client != "127.0.0.1" {
			t.Errorf("a mixture: %+v", got)
			break
		}
	}
	close(stop)
	wg.Wait()
	if whole == 0 {
		t.Error("no record could be read")
	}
}

func TestObserveBoundaries(t *testing.T) {
	for i, b := range Bounds {
		var h Histogram
		h.Observe(b - 1)
		h.Observe(b) // le: the bound belongs to its bucket
		h.Observe(b + 1)
		if h.Counts[i].Load() != 2 || h.Counts[i+1].Load() != 1 || h.Sum.Load() != 3*b {
			t.Errorf("around %d: %d and %d in the next", b, h.Counts[i].Load(), h.Counts[i+1].Load())
		}
		if i > 0 && b <= Bounds[i-1] {
			t.Errorf("bound %d is not above the one before", i)
		}
	}
	var h Histogram
	h.Observe(0)
	h.Observe(-1) // clocks of two threads
	if h.Sum.Load() != 0 {
		t.Error("the sum goes back")
	}
	h.Observe(1<<62 - 1)
	if h.Counts[0].Load() != 2 || h.Counts[len(Bounds)].Load() != 1 {
		t.Error("the outermost buckets are wrong")
	}
}

func TestNames(t *testing.T) {
	for i, m := range Methods[1:] {
		if MethodIndex(m) != i+1 {
			t.Errorf("MethodIndex(%q) = %d", m, MethodIndex(m))
		}
	}
	for _, m := range []string{"", "other", "get", "BREW"} {
		if MethodIndex(m) != 0 {
			t.Errorf("MethodIndex(%q) = %d", m, MethodIndex(m))
		}
	}
	for s, want := range map[SlotState]string{SlotFree: "free", SlotBooting: "booting", SlotServing: "serving", SlotDraining: "draining", SlotCanary: "canary", 9: "SlotState(9)"} {
		if s.String() != want {
			t.Errorf("%d is %q", uint32(s), s)
		}
	}
	for i, n := range TimeoutNames {
		if n == "" {
			t.Errorf("time limit %d has no name", i)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	b, _ := newBoard(t)
	s := b.Slot(0)
	method, target, client := []byte("GET"), []byte("/users/12345/profile"), []byte("127.0.0.1")
	if n := testing.AllocsPerRun(100, func() {
		s.ThreadRecs[0].Begin(1, method, target, client)
		s.Counters.QueueWait.Observe(1e6)
		s.ThreadRecs[0].End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The budget of Begin is 40 ns for such a request: every request pays it.
func BenchmarkBegin(b *testing.B) {
	board, _ := newBoard(b)
	r := &board.Slot(0).ThreadRecs[0]
	method, client := []byte("GET"), []byte("127.0.0.1")
	targets := [][]byte{[]byte("/users/12345/profile"), []byte("/items/98765/reviews")}
	b.ReportAllocs()
	for i := range b.N {
		r.Begin(int64(i), method, targets[i&1], client)
	}
}

func BenchmarkObserve(b *testing.B) {
	board, _ := newBoard(b)
	h := &board.Slot(0).Counters.QueueWait
	for b.Loop() {
		h.Observe(1500e3)
	}
}

// TestNoGaugeIsInherited: a worker begins with none of what its predecessor in the slot
// left, however that ended. Counters stay.
func TestNoGaugeIsInherited(t *testing.T) {
	b, f, err := CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer b.Close()
	for name, end := range map[string]func(*Slot){"free": (*Slot).Free, "assign": func(s *Slot) { s.Assign(2, 0) }} {
		s := b.Slot(0)
		fields := reflect.ValueOf(&s.Gauges).Elem()
		for i := range fields.NumField() {
			switch v := fields.Field(i).Addr().Interface().(type) {
			case *atomic.Int64:
				v.Store(7)
			case *atomic.Uint64:
				v.Store(7)
			default:
				t.Fatalf("Gauges.%s is of a kind that is new to this test: %T", fields.Type().Field(i).Name, v)
			}
		}
		s.Counters.Accepted.Store(7)
		end(s)
		for i := range fields.NumField() {
			left := true
			switch v := fields.Field(i).Addr().Interface().(type) {
			case *atomic.Int64:
				left = v.Load() != 0
			case *atomic.Uint64:
				left = v.Load() != 0
			}
			if left {
				t.Errorf("%s: Gauges.%s is left", name, fields.Type().Field(i).Name)
			}
		}
		if s.Counters.Accepted.Load() != 7 {
			t.Errorf("%s: a counter was set back", name)
		}
	}
}
