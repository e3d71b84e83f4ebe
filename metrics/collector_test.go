package metrics

import (
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"hostler/protocol"
	"hostler/settings"
)

// busy fills every counter and gauge of a slot.
func busy(r *rig, s *protocol.Slot) {
	c, g := &s.Counters, &s.Gauges
	c.Requests[1][protocol.CodeIndex(200)].Add(4)
	c.Requests[1][protocol.CodeIndex(204)].Add(1)
	c.Requests[3][protocol.CodeIndex(503)].Add(1)
	c.Requests[3][protocol.CodeIndex(599)].Add(1)
	c.Requests[0][0].Add(1)
	for _, ns := range []int64{50e3, 100e3, 3e6, 40e9} {
		c.Duration[1][2].Observe(ns)
	}
	s.Routes[0].Name(1, "/a/<b>")
	s.Routes[0].Requests[2].Add(3)
	s.Routes[0].Requests[5].Add(1)
	s.Routes[0].Duration.Observe(2e6)
	s.Routed.Store(1)
	c.QueueWait.Observe(1e9)
	c.GILWait.Add(250e6)
	c.ReceivedBytes.Add(1000)
	c.SentBytes.Add(2000)
	c.Accepted.Add(7)
	c.Unavailable.Add(3)
	c.HandedOut.Add(2)
	c.HandedIn.Add(1)
	c.AppExceptions.Add(4)
	c.AppViolations.Add(5)
	c.AccessLogErrors.Add(6)
	c.ErrorLogErrors.Add(2)
	c.ForwardedUntrusted.Add(19)
	c.Timeouts[protocol.TimeoutBody].Add(8)
	c.Rejected[3].Add(9)
	g.ConnsIdle.Store(10)
	g.ConnsReading.Store(11)
	g.ConnsRunning.Store(12)
	g.ConnsWriting.Store(-1) // two threads counted in the other order
	g.QueueDepth.Store(13)
	g.QueueOldest.Store(2e9)
	r.c.mono = func() int64 { return 10e9 }
	s.ThreadRecs[1].Begin(3e9, []byte("GET"), []byte("/x"), []byte("127.0.0.1"))
}

func TestValues(t *testing.T) {
	r := newRig(t)
	busy(r, r.start(0, 100))
	r.start(1, 101).Counters.Requests[1][protocol.CodeIndex(200)].Add(1)
	r.stat(100, 1, 150, 50, 3)
	r.files(100, 12)
	r.snap.RequestTimeouts, r.snap.BootFailures, r.snap.Generation = 2, 3, 4
	r.snap.Reloads["failure"], r.snap.Upgrades["success"], r.snap.Exits["signal"] = 1, 1, 5
	r.snap.LastReload = time.Unix(5000, 0)
	r.snap.LogLost.Access, r.snap.LogLost.Error = 1, 3
	r.snap.Workers[1].State, r.snap.Workers[1].ReadySince = protocol.SlotBooting, time.Time{}
	r.board.Slot(1).State.Store(uint32(protocol.SlotBooting))
	r.want("busy", map[string]float64{
		`hostler_requests_total{code="2xx",method="GET"}`:                                        6,
		`hostler_requests_total{code="5xx",method="POST"}`:                                       2,
		`hostler_requests_total{code="none",method="other"}`:                                     1,
		`hostler_requests_total{code="4xx",method="PUT"}`:                                        0,
		`hostler_responses_total{code="200"}`:                                                    5,
		`hostler_responses_total{code="204"}`:                                                    1,
		`hostler_responses_total{code="503"}`:                                                    1,
		`hostler_responses_total{code="other"}`:                                                  1,
		`hostler_responses_total{code="404"}`:                                                    0,
		`hostler_worker_open_fds{worker="1"}`:                                                    12,
		`hostler_worker_max_fds{worker="1"}`:                                                     1024,
		`hostler_request_duration_seconds_bucket{code="2xx",method="GET",le="0.0001"}`:           2,
		`hostler_request_duration_seconds_bucket{code="2xx",method="GET",le="0.0025"}`:           2,
		`hostler_request_duration_seconds_bucket{code="2xx",method="GET",le="0.005"}`:            3,
		`hostler_request_duration_seconds_bucket{code="2xx",method="GET",le="30"}`:               3,
		`hostler_request_duration_seconds_bucket{code="2xx",method="GET",le="+Inf"}`:             4,
		`hostler_request_duration_seconds_count{code="2xx",method="GET"}`:                        4,
		`hostler_request_duration_seconds_sum{code="2xx",method="GET"}`:                          40.00315,
		`hostler_route_requests_total{code="2xx",method="GET",route="/a/<b>"}`:                   3,
		`hostler_route_requests_total{code="5xx",method="GET",route="/a/<b>"}`:                   1,
		`hostler_route_request_duration_seconds_bucket{method="GET",route="/a/<b>",le="0.001"}`:  0,
		`hostler_route_request_duration_seconds_bucket{method="GET",route="/a/<b>",le="0.0025"}`: 1,
		`hostler_route_request_duration_seconds_sum{method="GET",route="/a/<b>"}`:                0.002,
		`hostler_request_queue_wait_seconds_bucket{le="0.5"}`:                                    0,
		`hostler_request_queue_wait_seconds_bucket{le="1"}`:                                      1,
		`hostler_gil_wait_seconds_total`:                                                         0.25,
		`hostler_received_bytes_total`:                                                           1000,
		`hostler_sent_bytes_total`:                                                               2000,
		`hostler_connections_handed_over_total{direction="out"}`:                                 2,
		`hostler_connections_handed_over_total{direction="in"}`:                                  1,
		`hostler_connections_accepted_total`:                                                     7,
		`hostler_unavailable_total`:                                                              3,
		`hostler_app_exceptions_total`:                                                           4,
		`hostler_app_violations_total`:                                                           5,
		`hostler_access_log_errors_total`:                                                        7,
		`hostler_error_log_errors_total`:                                                         5,
		`hostler_forwarded_untrusted_total`:                                                      19,
		`hostler_connection_timeouts_total{phase="body"}`:                                        8,
		`hostler_connection_timeouts_total{phase="write"}`:                                       0,
		`hostler_rejected_requests_total{reason="bad_host"}`:                                     9,
		`hostler_rejected_requests_total{reason="bare_lf"}`:                                      0,
		`hostler_connections{state="idle"}`:                                                      10,
		`hostler_connections{state="reading"}`:                                                   11,
		`hostler_connections{state="running"}`:                                                   12,
		`hostler_connections{state="writing"}`:                                                   0,
		`hostler_queue_depth`:                                                                    13,
		`hostler_oldest_request_age_seconds`:                                                     8,
		`hostler_threads{state="busy"}`:                                                          1,
		`hostler_threads{state="idle"}`:                                                          1, // a booting worker's do not serve
		`hostler_worker_up{worker="1"}`:                                                          1,
		`hostler_worker_up{worker="2"}`:                                                          0,
		`hostler_worker_start_time_seconds{worker="1"}`:                                          2000.5,
		`hostler_worker_resident_memory_bytes{worker="1"}`:                                       float64(3 * os.Getpagesize()),
		`hostler_worker_cpu_seconds_total{worker="1"}`:                                           2,
		`hostler_worker_requests_total{worker="1"}`:                                              8,
		`hostler_worker_requests_total{worker="2"}`:                                              1,
		`hostler_workers{state="serving"}`:                                                       1,
		`hostler_workers{state="booting"}`:                                                       1,
		`hostler_workers{state="draining"}`:                                                      0,
		`hostler_workers_target`:                                                                 2,
		`hostler_workers_min`:                                                                    1,
		`hostler_workers_max`:                                                                    4,
		`hostler_worker_exits_total{cause="signal"}`:                                             5,
		`hostler_worker_exits_total{cause="exit"}`:                                               0,
		`hostler_generation`:                                                                     4,
		`hostler_reloads_total{result="failure"}`:                                                1,
		`hostler_reloads_total{result="success"}`:                                                0,
		`hostler_last_reload_successful`:                                                         0,
		`hostler_last_reload_timestamp_seconds`:                                                  5000,
		`hostler_upgrades_total{result="success"}`:                                               1,
		`hostler_consecutive_boot_failures`:                                                      3,
		`hostler_request_timeouts_total`:                                                         2,
		`hostler_build_info{goversion="` + runtime.Version() + `",version="1.2.3"}`:              1,
	})
}

// The first increment of a counter shows in rate() only if there was a 0.
func TestZeroSeriesFromTheStart(t *testing.T) {
	got := newRig(t).samples()
	for _, prefix := range []string{"hostler_requests_total{", "hostler_rejected_requests_total{", "hostler_connection_timeouts_total{",
		"hostler_worker_exits_total{", "hostler_reloads_total{", "hostler_upgrades_total{", "hostler_request_duration_seconds_bucket{",
		"hostler_unavailable_total", "hostler_request_timeouts_total", "hostler_gil_wait_seconds_total"} {
		n := 0
		for series, v := range got {
			if strings.HasPrefix(series, prefix) {
				n++
				if v != 0 {
					t.Errorf("%s starts at %v", series, v)
				}
			}
		}
		if n == 0 {
			t.Errorf("there is no %s…", prefix)
		}
	}
	if got["hostler_last_reload_successful"] != 1 {
		t.Error("an alert for failed reloads would fire before the first")
	}
	for series := range got {
		if strings.Contains(series, `worker="`) {
			t.Errorf("%s: no slot was ever used", series)
		}
		if strings.Contains(series, `reason="none"`) || strings.Contains(series, `reason=""`) {
			t.Errorf("%s is no reason", series)
		}
	}
	for series := range got {
		if strings.HasPrefix(series, "process_network_") {
			t.Errorf("%s is the whole machine's", series)
		}
	}
	if _, ok := got["process_cpu_seconds_total"]; !ok {
		t.Error("the master's own process is missing")
	}
}

func TestLint(t *testing.T) {
	r := newRig(t)
	busy(r, r.start(0, 100))
	r.stat(100, 1, 1, 1, 1)
	problems, err := testutil.GatherAndLint(pedantic(t, r.c))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// pedantic is a registry that checks what c collects against what it describes.
func pedantic(t *testing.T, c prometheus.Collector) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed: run `make tools`, which installs it (Debian and Ubuntu: the package prometheus)")
	}
	r := newRig(t)
	busy(r, r.start(0, 100))
	r.stat(100, 1, 1, 1, 1)
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(r.scrape())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// counters returns the series of a scrape that must never go back.
func counters(samples map[string]float64) map[string]float64 {
	m := make(map[string]float64)
	for series, v := range samples {
		name, _, _ := strings.Cut(series, "{")
		if strings.HasPrefix(name, "hostler_") &&
			(strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_count") || strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_bucket")) {
			m[series] = v
		}
	}
	return m
}

func TestCountersSurviveWorkers(t *testing.T) {
	r := newRig(t)
	last := map[string]float64{}
	step := func(what string) {
		t.Helper()
		now := counters(r.samples())
		for series, v := range last {
			if n, ok := now[series]; !ok || n < v {
				t.Errorf("%s: %s went from %v to %v (there: %v)", what, series, v, n, ok)
			}
		}
		last = now
	}
	cpu := func(what string, want float64) {
		t.Helper()
		if got := last[`hostler_worker_cpu_seconds_total{worker="1"}`]; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: CPU time is %v, want %v", what, got, want)
		}
	}
	step("nothing runs")
	busy(r, r.start(0, 100))
	busy(r, r.start(1, 101))
	r.stat(100, 7, 300, 0, 1)
	step("two workers")
	cpu("first worker", 3)
	r.stat(100, 7, 320, 0, 1)
	step("more work")
	delete(r.proc, "100/stat")
	step("it is gone, the master has not heard of it yet")
	cpu("gone", 3.2)
	r.end(0, "signal")
	step("worker 1 is gone")
	cpu("gone", 3.2)
	busy(r, r.start(0, 102))
	step("its successor, before it is in /proc")
	r.stat(102, 9, 10, 0, 1)
	step("its successor")
	cpu("successor", 3.3)
	r.end(0, "reload")
	r.start(0, 102) // the kernel gives out the same pid again
	r.stat(102, 11, 5, 0, 1)
	step("the same pid again")
	cpu("same pid", 3.35)
	r.stat(102, 11, 4, 0, 1)
	step("the kernel's estimate of CPU time goes back")
	cpu("kernel's estimate", 3.35)
	r.end(0, "exit")
	r.end(1, "exit")
	step("scaled down")
	r.want("scaled down", map[string]float64{
		`hostler_worker_up{worker="1"}`:             0,
		`hostler_worker_requests_total{worker="1"}`: 16,
		`hostler_worker_requests_total{worker="2"}`: 8,
		`hostler_connections{state="idle"}`:         0,
		`hostler_oldest_request_age_seconds`:        0,
	})
	for series := range r.samples() {
		if strings.HasPrefix(series, "hostler_worker_start_time") || strings.HasPrefix(series, "hostler_worker_resident") {
			t.Errorf("%s describes a process that is gone", series)
		}
	}
}

// A worker whose whole life falls between two scrapes is counted.
func TestShortLivedWorkerIsCounted(t *testing.T) {
	r := newRig(t)
	r.samples()
	busy(r, r.start(0, 100))
	r.stat(100, 7, 120, 30, 1)
	r.end(0, "signal")
	r.want("after its death", map[string]float64{`hostler_requests_total{code="2xx",method="GET"}`: 5,
		`hostler_worker_cpu_seconds_total{worker="1"}`: 1.5,
		`hostler_worker_requests_total{worker="1"}`:    8})
}

func TestAllSlots(t *testing.T) {
	r := newRig(t)
	for i := range protocol.MaxSlots {
		s := r.start(i, 1000+i)
		s.Gauges.Threads.Store(1 << 40) // scribbled over
		s.Counters.Requests[1][protocol.CodeIndex(200)].Add(1)
	}
	r.want("every slot", map[string]float64{`hostler_requests_total{code="2xx",method="GET"}`: protocol.MaxSlots,
		`hostler_threads{state="idle"}`: protocol.MaxSlots * protocol.MaxThreads})
}

// Run with -race: workers write while several scrapers read. No counter may go
// back, and each histogram must agree with itself.
func TestScrapesWhileWorkersWrite(t *testing.T) {
	r := newRig(t)
	slots := []*protocol.Slot{r.start(0, 100), r.start(1, 101)}
	r.stat(100, 1, 1, 1, 1)
	stop := make(chan struct{})
	var writers, scrapers sync.WaitGroup
	for _, s := range slots {
		for i := range 2 {
			writers.Go(func() {
				for n := int64(0); ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					s.ThreadRecs[i].Begin(n+1, []byte("GET"), []byte("/some/path"), []byte("127.0.0.1"))
					s.Counters.Requests[1][protocol.CodeIndex(200)].Add(1)
					s.Counters.Duration[n%3][n%5].Observe(n * 1000 % 40e9)
					s.Gauges.ConnsIdle.Add(1 - n%3)
					s.ThreadRecs[i].End()
				}
			})
		}
	}
	for range 3 {
		scrapers.Go(func() {
			last := map[string]float64{}
			for range 15 {
				now := r.samples()
				for series, v := range counters(now) {
					if v < last[series] {
						t.Errorf("%s went from %v to %v", series, last[series], v)
					}
					last[series] = v
				}
				if now[`hostler_request_duration_seconds_count{code="2xx",method="GET"}`] != now[`hostler_request_duration_seconds_bucket{code="2xx",method="GET",le="+Inf"}`] {
					t.Error("a histogram's count is not the sum of its buckets")
				}
			}
		})
	}
	scrapers.Wait()
	close(stop)
	writers.Wait()
}

func TestNewRefuses(t *testing.T) {
	r := newRig(t)
	snap := func() protocol.Snapshot { return protocol.Snapshot{} }
	for name, o := range map[string]Options{
		"no scoreboard":    {Snapshot: snap},
		"no snapshot":      {Board: r.board},
		"too many reasons": {Board: r.board, Snapshot: snap, RejectReasons: make([]string, protocol.MaxRejects+1)},
		"a reason twice":   {Board: r.board, Snapshot: snap, RejectReasons: []string{"", "a", "b", "a"}},
	} {
		if c, err := New(o); err == nil || c != nil || !strings.HasPrefix(err.Error(), "cannot ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Options{Board: r.board, Snapshot: snap, RejectReasons: []string{"none", "", ""}}); err != nil {
		t.Error(err)
	}
}

func BenchmarkScrape(b *testing.B) {
	r := newRig(b)
	for i := range 8 {
		busy(r, r.start(i, 100+i))
		r.stat(100+i, 1, 1, 1, 1)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(r.c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPools: a pool is the sum over the workers that have one of its name, whatever
// its place among theirs.
func TestPools(t *testing.T) {
	r := newRig(t)
	for i, names := range [][]string{{"a", "b"}, {"b"}, nil} {
		s := r.start(i, 100+i)
		for k, name := range names {
			r.snap.Workers[i].Pools = append(r.snap.Workers[i].Pools, settings.Pool{Name: name, Pattern: "/", Threads: 4})
			s.Pools[k].Busy.Store(int64(1 + i))
			s.Pools[k].Depth.Store(int64(10 * (1 + i)))
		}
	}
	got := r.samples()
	for series, want := range map[string]float64{
		`hostler_pool_threads{pool="a",state="busy"}`: 1,
		`hostler_pool_threads{pool="a",state="idle"}`: 3,
		`hostler_pool_threads{pool="b",state="busy"}`: 3,
		`hostler_pool_threads{pool="b",state="idle"}`: 5,
		`hostler_pool_queue_depth{pool="a"}`:          10,
		`hostler_pool_queue_depth{pool="b"}`:          30,
	} {
		if g, ok := got[series]; !ok || g != want {
			t.Errorf("%s: %v (%v), not %v", series, g, ok, want)
		}
	}
	if n := strings.Count(r.scrape(), "hostler_pool_queue_depth{"); n != 2 {
		t.Errorf("%d pools", n)
	}
}

// TestOverflowsStay: where nothing can be read, as at the limit of open files, what is
// counted once is not gone.
func TestOverflowsStay(t *testing.T) {
	r := newRig(t)
	r.proc["self/net/netstat"] = &fstest.MapFile{Data: []byte("TcpExt: ListenOverflows\nTcpExt: 7\n")}
	for range 2 {
		found, err := pedantic(t, r.c).Gather()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(found, func(f *dto.MetricFamily) bool { return f.GetName() == "hostler_listen_overflows_total" })
		if i < 0 || found[i].GetMetric()[0].GetCounter().GetValue() != 7 {
			t.Fatalf("%v", found)
		}
		delete(r.proc, "self/net/netstat")
	}
}

// TestProportionalMemory: it is read every now and then, and is that of who holds the slot.
func TestProportionalMemory(t *testing.T) {
	r := newRig(t)
	r.start(0, 100)
	r.stat(100, 1, 1, 1, 3)
	at := int64(100e9)
	r.c.mono = func() int64 { return at }
	series := `hostler_worker_proportional_memory_bytes{worker="1"}`
	want := func(when string, kB float64) {
		t.Helper()
		if v, has := r.samples()[series]; v != kB*1024 || has != (kB > 0) {
			t.Errorf("%s: %v", when, v)
		}
	}
	want("where it cannot be read", 0)
	r.share(100, 70)
	want("a moment later", 0)
	at += int64(pssAge)
	want("later", 70)
	r.share(100, 80)
	want("at once", 70)
	r.stat(100, 2, 1, 1, 3)
	want("once another process has the pid", 80)
}
