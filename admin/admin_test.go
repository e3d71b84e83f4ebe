package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"hostler/metrics"
	"hostler/protocol"
)

var update = flag.Bool("update", false, "write the golden files anew")

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a handler over a real scoreboard and a fake master.
type rig struct {
	t     *testing.T
	board *protocol.Scoreboard
	snap  protocol.Snapshot
	alive func(context.Context) error

	queries bool
	h       http.Handler

	history  *History
	events   atomic.Pointer[[]protocol.Event]
	slow     []protocol.SlowRoute
	settings []Setting
	profiled *protocol.Profile
	asked    time.Duration // of a profile, the last time
}

// event adds to the journal.
func (r *rig) event(e protocol.Event) {
	all := append(append([]protocol.Event{}, *r.events.Load()...), e)
	r.events.Store(&all)
}

// tick has a second pass.
func (r *rig) tick() {
	r.history.sample()
	r.history.hub.tick()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	b, f, err := protocol.CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); f.Close() })
	r := &rig{t: t, board: b, snap: protocol.Snapshot{
		Version: "1.2.3", App: "shop.wsgi:app", Name: "shop", Started: start, Generation: 2, Ready: true,
		TargetWorkers: 2, MinWorkers: 1, MaxWorkers: 4, ThreadsPerWorker: 2, Reloads: map[string]uint64{"success": 1, "failure": 0},
		LastReloadSuccessful: true, LastReload: start.Add(10 * time.Second),
		Exits: map[string]uint64{"reload": 2, "signal": 1}, RequestTimeouts: 3,
		Upgrades: map[string]uint64{"success": 0, "failure": 0}, BootFailures: 1, NextBoot: start.Add(101 * time.Second), Ended: []int{4},
	}, history: NewHistory(b)}
	r.events.Store(new([]protocol.Event))
	snapshot := func() protocol.Snapshot { return r.snap }
	c, err := metrics.New(metrics.Options{Board: b, Snapshot: snapshot, RejectReasons: []string{"none", "bare_lf"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := metrics.Handler(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{now: func() time.Time { return start.Add(100 * time.Second) }, mono: func() int64 { return 50e9 },
		o: Options{Board: b, Snapshot: snapshot, Metrics: m, Queries: func() bool { return r.queries }, Alive: func(ctx context.Context) error {
			if r.alive == nil {
				return nil
			}
			return r.alive(ctx)
		}, History: r.history, Events: func() []protocol.Event { return *r.events.Load() },
			Slow:     func() []protocol.SlowRoute { return clone(r.slow) },
			Settings: func(context.Context) ([]Setting, error) { return r.settings, nil },
			Profile: func(_ context.Context, d time.Duration) (*protocol.Profile, error) {
				r.asked = d
				return r.profiled, nil
			}}}
	r.h = s.handler()
	return r
}

// clone is a copy of all of it, as the master gives one.
func clone(routes []protocol.SlowRoute) (all []protocol.SlowRoute) {
	for _, r := range routes {
		all = append(all, protocol.SlowRoute{Route: r.Route, Worst: slices.Clone(r.Worst)})
	}
	return all
}

func (r *rig) worker(slot, pid int, state protocol.SlotState) *protocol.Slot {
	s := r.board.Slot(slot)
	s.Assign(2, 2)
	s.PID.Store(int64(pid))
	s.State.Store(uint32(state))
	w := protocol.WorkerStatus{Slot: slot, Number: slot + 1, PID: pid, Generation: 2, State: state, Started: start.Add(5 * time.Second)}
	if state != protocol.SlotBooting {
		w.ReadySince = start.Add(7 * time.Second)
	}
	r.snap.Workers = append(r.snap.Workers, w)
	return s
}

// wedge makes every thread of a worker run one request for ever.
func wedge(s *protocol.Slot) {
	for i := range 2 {
		s.ThreadRecs[i].Begin(int64(20e9), []byte("POST"), []byte("/pay?order=7&x=<é>"), []byte("192.0.2.9"))
	}
	s.Gauges.ConnsIdle.Store(4)
	s.Gauges.ConnsReading.Store(1)
	s.Gauges.ConnsRunning.Store(3)
	s.Gauges.ConnsWriting.Store(-1)
	s.Gauges.QueueDepth.Store(1)
	s.Gauges.QueueOldest.Store(49.5e9)
	s.Gauges.Served.Store(77)
}

// tear leaves a thread's record as a worker does that is killed while writing.
// The head is the record's first word, its sequence the upper half.
func tear(s *protocol.Slot, thread int) {
	(*atomic.Uint64)(unsafe.Pointer(&s.ThreadRecs[thread])).Add(1 << 32)
}

func (r *rig) do(method, target string) *httptest.ResponseRecorder {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func (r *rig) get(target string, code int) string {
	r.t.Helper()
	w := r.do("GET", target)
	if w.Code != code {
		r.t.Errorf("GET %s: %d, want %d: %s", target, w.Code, code, w.Body)
	}
	return w.Body.String()
}

func TestStatusGolden(t *testing.T) {
	r := newRig(t)
	r.worker(2, 302, protocol.SlotBooting) // the answer is sorted
	wedge(r.worker(0, 300, protocol.SlotServing))
	s := r.worker(1, 301, protocol.SlotDraining)
	s.ThreadRecs[1].Begin(49e9, []byte("GET"), []byte("/"), []byte("::1"))
	tear(s, 1)
	got := strings.Replace(r.get("/status", 200), fmt.Sprintf(`"pid": %d,`, os.Getpid()), `"pid": 1,`, 1)
	file := filepath.Join("testdata", "status.json")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("/status has changed; if that is meant, run the test with -update.\ngot:\n%s\nwant:\n%s", got, want)
	}
}

func TestStatusOfNothing(t *testing.T) {
	r := newRig(t)
	r.snap = protocol.Snapshot{Workers: []protocol.WorkerStatus{{Slot: -1}, {Slot: protocol.MaxSlots}}}
	var st Status
	if err := json.Unmarshal([]byte(r.get("/status", 200)), &st); err != nil {
		t.Fatal(err)
	}
	if st.Workers == nil || len(st.Workers) != 0 || st.Master.LastReload != nil || st.Master.NextBoot != nil {
		t.Errorf("got %+v", st)
	}
}

func TestStatusShowsNoEnvironment(t *testing.T) {
	t.Setenv("SECRET_KEY", "hunter2-in-the-environment")
	r := newRig(t)
	wedge(r.worker(0, os.Getpid(), protocol.SlotServing))
	for _, path := range []string{"/", "/metrics", "/status", "/readyz?verbose", "/healthz"} {
		if strings.Contains(r.get(path, 200), "hunter2") {
			t.Errorf("%s shows the environment", path)
		}
	}
}

func TestReadyz(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rig)
		code   int
		want   string
	}{
		"serving":    {func(r *rig) { r.worker(0, 1, protocol.SlotServing) }, 200, "ok\n"},
		"one of two": {func(r *rig) { r.worker(0, 1, protocol.SlotBooting); r.worker(1, 2, protocol.SlotServing) }, 200, "ok\n"},
		"wedged":     {func(r *rig) { wedge(r.worker(0, 1, protocol.SlotServing)) }, 200, "ok\n"},
		"stopping":   {func(r *rig) { r.worker(0, 1, protocol.SlotServing); r.snap.Stopping = true }, 503, "not ready: the server is stopping\n"},
		"booting":    {func(r *rig) { r.worker(0, 1, protocol.SlotBooting); r.snap.Ready = false }, 503, "not ready: no generation of workers has booted\n"},
		"frozen":     {func(r *rig) { r.worker(0, 1, protocol.SlotServing); r.snap.Workers[0].Frozen = true }, 503, "not ready: no worker serves (2 wanted, 0 booting, 1 without a sign of life)\n"},
		"one frozen": {func(r *rig) {
			r.worker(0, 1, protocol.SlotServing)
			r.worker(1, 2, protocol.SlotServing)
			r.snap.Workers[0].Frozen = true
		}, 200, "ok\n"},
		"no listener": {func(r *rig) {
			r.worker(0, 1, protocol.SlotServing)
			r.snap.DeadListeners = []string{"127.0.0.1:80", "unix:/s"}
		}, 503, "not ready: not everybody can connect to 127.0.0.1:80 unix:/s: a worker has shut down the socket, or set options on it\n"},
		"none":          {func(*rig) {}, 503, "not ready: no worker serves (2 wanted, 0 booting)\n"},
		"only draining": {func(r *rig) { r.worker(0, 1, protocol.SlotDraining) }, 503, "not ready: no worker serves (2 wanted, 0 booting)\n"},
		"replacements":  {func(r *rig) { r.worker(0, 1, protocol.SlotBooting) }, 503, "not ready: no worker serves (2 wanted, 1 booting)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.change(r)
			if got := r.get("/readyz", c.code); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			verbose := r.get("/readyz?verbose", c.code)
			if strings.Count(verbose, "[") != 4 || !strings.HasSuffix(verbose, c.want) || (c.code == 200) == strings.Contains(verbose, "[-]") {
				t.Errorf("verbose: %q", verbose)
			}
		})
	}
}

func TestHealthz(t *testing.T) {
	r := newRig(t)
	r.snap.Ready, r.snap.Stopping = false, true // alive all the same
	if got := r.get("/healthz", 200); got != "ok\n" {
		t.Errorf("got %q", got)
	}
	r.alive = func(context.Context) error { return errors.New("its loop has ended") }
	if got := r.get("/healthz", 503); got != "the master does not work: its loop has ended\n" {
		t.Errorf("got %q", got)
	}
	r.alive = func(ctx context.Context) error {
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > aliveTimeout {
			t.Error("the wait for a sign of life is not bounded")
		}
		return nil
	}
	r.get("/healthz", 200)
	h := Handler(Options{Board: r.board, Snapshot: func() protocol.Snapshot { return r.snap }, Metrics: http.NotFoundHandler()})
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil)); w.Code != 200 {
		t.Errorf("without a sign of life to ask for: %d", w.Code)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	r := newRig(t)
	r.worker(0, os.Getpid(), protocol.SlotServing)
	for path, kind := range map[string]string{"/": "text/plain; charset=utf-8", "/healthz": "text/plain; charset=utf-8",
		"/readyz": "text/plain; charset=utf-8", "/status": "application/json", "/metrics": "text/plain; version=0.0.4"} {
		for _, m := range []string{"GET", "HEAD"} {
			w := r.do(m, path)
			if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v", m, path, w.Code, w.Header())
			}
		}
		for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
			if w := r.do(m, path); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", m, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	for _, path := range []string{"/nothing", "/status/x", "/metrics/"} {
		r.get(path, 404)
	}
	index := r.get("/", 200)
	for _, s := range []string{"hostler 1.2.3", "/metrics", "/healthz", "/readyz", "/status"} {
		if !strings.Contains(index, s) {
			t.Errorf("the index says nothing of %s", s)
		}
	}
}

// Every worker hangs: one in the application, one in the middle of a record.
// All is answered all the same, and what hangs can be seen.
func TestWedged(t *testing.T) {
	r := newRig(t)
	r.queries = true
	wedge(r.worker(0, 300, protocol.SlotServing))
	s := r.worker(1, 301, protocol.SlotServing)
	wedge(s)
	tear(s, 0)
	tear(s, 1)
	for _, path := range []string{"/", "/healthz", "/readyz"} {
		r.get(path, 200)
	}
	if m := r.get("/metrics", 200); !strings.Contains(m, `hostler_threads{state="busy"} 4`) {
		t.Error("/metrics does not count the threads that hang")
	}
	var st Status
	if err := json.Unmarshal([]byte(r.get("/status", 200)), &st); err != nil {
		t.Fatal(err)
	}
	if st.Threads != (ThreadCount{Total: 4, Busy: 4}) {
		t.Errorf("threads: %+v", st.Threads)
	}
	if got := *st.Workers[0].Threads[1].Request; got != (RequestStatus{Running{"POST", "/pay?order=7&x=<é>", "192.0.2.9", 30, false}, 30, false}) {
		t.Errorf("the request that hangs is %+v", got)
	}
	if got := st.Workers[1].Threads[0]; got.State != "busy" || *got.Request != (RequestStatus{Running: Running{Age: 30}, Clock: 30}) {
		t.Errorf("the torn record is %+v of %+v", got, got.Request)
	}
}

// Run with -race.
func TestAnswersWhileWorkersWrite(t *testing.T) {
	r := newRig(t)
	r.queries = true
	s := r.worker(0, 300, protocol.SlotServing)
	stop := make(chan struct{})
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		for i := int64(1); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			s.ThreadRecs[i%2].Begin(i, []byte("GET"), []byte("/some/path?q=1"), []byte("127.0.0.1"))
			s.Gauges.Served.Add(1)
			s.Gauges.ConnsRunning.Add(1)
			s.ThreadRecs[i%2].End()
			s.Gauges.ConnsRunning.Add(-1)
		}
	})
	for range 3 {
		readers.Go(func() {
			for range 30 {
				var st Status
				if err := json.Unmarshal([]byte(r.get("/status", 200)), &st); err != nil {
					t.Error(err)
				}
				for _, th := range st.Workers[0].Threads {
					if q := th.Request; q != nil && q.Target != "" && q.Target != "/some/path?q=1" {
						t.Errorf("a mixture: %+v", q)
					}
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
}

// A target is bytes from the network; the answer is JSON whatever they are.
func TestStatusOfStrangeBytes(t *testing.T) {
	r := newRig(t)
	s := r.worker(0, 300, protocol.SlotServing)
	s.ThreadRecs[0].Begin(1, []byte("G\x00T"), bytes.Repeat([]byte("\xff\"\\"), 200), []byte("\x80"))
	if b := []byte(r.get("/status", 200)); !json.Valid(b) {
		t.Errorf("not JSON: %s", b)
	}
}

// TestStatusLoop: what an event loop has under way is told, the oldest first, and how much more.
func TestStatusLoop(t *testing.T) {
	r := newRig(t)
	s := r.worker(0, 300, protocol.SlotServing)
	s.Gauges.LoopSince.Store(protocol.LoopRests)
	begin := func(i int, at int64, target string) *protocol.Thread {
		rec := &s.ThreadRecs[i]
		rec.Begin(at, []byte("GET"), []byte(target), []byte("192.0.2.9"))
		return rec
	}
	begin(0, 49e9, "/step").Logged(49e9) // … of one that has a record of its own
	begin(1, 30e9, "/young?x=1")
	begin(2, 5e9, "/socket").Exempt(5e9)
	begin(4, 20e9, "/old")
	s.Gauges.Tasks.Store(1002)
	s.Gauges.Sockets.Store(11)
	s.Gauges.Unseen.Store(1010)
	loop := func() *LoopStatus {
		t.Helper()
		var st Status
		if err := json.Unmarshal([]byte(r.get("/status", 200)), &st); err != nil {
			t.Fatal(err)
		}
		return st.Workers[0].Loop
	}
	want := []Running{{"GET", "/old", "192.0.2.9", 30, false}, {"GET", "/young?…", "192.0.2.9", 20, false}, {"GET", "/socket", "192.0.2.9", 45, true}}
	if got := loop(); !slices.Equal(got.Requests, want) || got.Unseen != 1010 {
		t.Errorf("%+v", got)
	}
	begin(0, 49e9+1, "/first") // a first step
	s.Gauges.Tasks.Store(1003)
	if got := loop(); len(got.Requests) != 4 || got.Requests[2].Target != "/first" {
		t.Errorf("%+v", got)
	}
	s.Gauges.Tasks.Store(0)
	s.Gauges.Sockets.Store(0)
	if got := loop(); got.Requests == nil || len(got.Requests) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}
