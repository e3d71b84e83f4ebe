package master

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

// fakeTaker takes no spans, and remembers from whom.
type fakeTaker struct {
	mu     sync.Mutex
	log    []string
	lost   []lostSpan
	closed bool
}

type lostSpan struct {
	protocol.Span
	worker int
	cause  string
}

func (f *fakeTaker) say(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what)
}

func (f *fakeTaker) said() ([]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log), f.closed
}

func (f *fakeTaker) Take(pipe *os.File, worker int) func() {
	pipe.Close()
	name := string(rune('0' + worker))
	f.say("take " + name)
	return func() { f.say("end " + name) }
}

func (f *fakeTaker) Lost(s protocol.Span, worker int, cause string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = append(f.lost, lostSpan{s, worker, cause})
}

func (f *fakeTaker) Serve() { f.say("serve") }

func (f *fakeTaker) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// TestSpanTakers: each worker gets a pipe, once; who takes its spans is told of its end, and
// closed when the generation has no worker any more.
func TestSpanTakers(t *testing.T) {
	set := testSettings()
	set.Otel, set.Tracing = true, &settings.Tracing{Sampler: settings.SamplerOn}
	withRig(t, set, nil, func(r *rig) {
		want := func(i int, closed bool, log ...string) {
			t.Helper()
			r.host.mu.Lock()
			taker := r.host.takers[i]
			r.host.mu.Unlock()
			got, is := taker.said()
			slices.Sort(got)
			if !slices.Equal(got, log) || is != closed {
				t.Errorf("the taker of generation %d: %q, closed: %v", i+1, got, is)
			}
		}
		r.awaitServing()
		want(0, false, "serve", "take 1", "take 2")
		for _, p := range r.all() {
			if n, m := p.got(protocol.KindReopen); n != 1 || m.Text != protocol.LogSpans {
				t.Errorf("told %d times, of %s", n, m.Text)
			}
		}
		r.signal(syscall.SIGHUP)
		r.pass(bootTakes)
		want(0, false, "serve", "take 1", "take 2") // its workers drain
		want(1, false, "serve", "take 3", "take 4")
		r.pass(leaveTakes)
		want(0, true, "end 1", "end 2", "serve", "take 1", "take 2")
		// A reload that fails leaves nothing behind.
		broken := testSettings()
		broken.Otel, broken.Tracing, broken.Binds = true, set.Tracing, []settings.Bind{{Network: "tcp", Address: "taken"}}
		r.host.mu.Lock()
		r.host.next = broken
		r.host.mu.Unlock()
		r.signal(syscall.SIGHUP)
		r.pass(bootTakes)
		if r.view().LastReloadSuccessful {
			t.Error("the reload did not fail")
		}
		want(2, true)
		want(1, false, "serve", "take 3", "take 4")
		// Nor does one that cannot prepare its exporter take place.
		r.host.mu.Lock()
		r.host.next = set
		r.host.noSpans = errors.New("no exporter")
		r.host.mu.Unlock()
		r.signal(syscall.SIGHUP)
		r.pass(bootTakes)
		if r.view().LastReloadSuccessful {
			t.Error("a reload without an exporter did not fail")
		}
		r.signal(syscall.SIGTERM)
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
		if !r.s.spans.finish(endTime) {
			t.Error("not finished")
		}
		want(1, true, "end 3", "end 4", "serve", "take 3", "take 4")
	})
}

// TestLostSpans: a request that dies with its worker has a span, where it is recorded, and its
// worker has not told of it.
func TestLostSpans(t *testing.T) {
	place := protocol.Place{Trace: [16]byte{1}, ID: [8]byte{2}, Parent: [8]byte{3}, Flags: 1, Security: 1}
	for _, c := range []struct {
		name   string
		ws     syscall.WaitStatus
		loop   bool
		stuck  bool
		cause  string
		failed string
	}{
		{"killed", killed(syscall.SIGKILL), false, false, "signal:SIGKILL", "worker_died"},
		{"crashed", killed(syscall.SIGSEGV), false, false, "signal:SIGSEGV", "worker_died"},
		{"left", exited(3), false, false, "exit:3", "worker_died"},
		{"loop", killed(syscall.SIGKILL), true, false, "signal:SIGKILL", "worker_died"},
		{"stuck", 0, false, true, "timeout", "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := testSettings()
			if c.stuck {
				set = withTimeout()
			}
			set.Otel, set.Tracing, set.Threads = true, &settings.Tracing{Sampler: settings.SamplerOn}, 4
			withRig(t, set, nil, func(r *rig) {
				r.awaitServing()
				r.pass(time.Minute)
				p := r.all()[0]
				slot := r.slotOf(p)
				if c.loop {
					slot.Gauges.LoopSince.Store(protocol.LoopRests)
				}
				trace := func(thread int, target string) *protocol.Thread {
					r.begin(p, thread, target, 3*time.Second)
					rec := &slot.ThreadRecs[thread]
					at := place
					at.Arrived = rec.Started() - int64(time.Second)
					rec.Trace(rec.Started(), at)
					return rec
				}
				trace(1, "http://shop/lost?x=y")
				r.begin(p, 2, "/hidden", 3*time.Second)
				told := trace(3, "/told")
				told.Told(told.Started())
				if c.loop { // what its last step was of has a record of its own
					step := trace(0, "/step")
					step.Logged(step.Started())
				}
				if c.stuck {
					r.pass(time.Minute)
				} else {
					p.exit(c.ws)
					r.pass(0)
				}
				r.host.mu.Lock()
				taker := r.host.takers[0]
				r.host.mu.Unlock()
				taker.mu.Lock()
				defer taker.mu.Unlock()
				if len(taker.lost) != 1 {
					t.Fatalf("%d spans: %+v", len(taker.lost), taker.lost)
				}
				got := taker.lost[0]
				if err := got.Check(); err != nil {
					t.Error(err)
				}
				if got.Trace != place.Trace || got.ID != place.ID || got.Parent != place.Parent || got.Flags != 1 || string(got.Path) != "/lost" || string(got.Method) != "GET" ||
					string(got.Scheme) != "https" || string(got.Client) != "192.0.2.1" || string(got.Error) != c.failed || got.Status != 0 || got.Queue != -1 || got.Minor != 1 ||
					got.worker != 1 || got.cause != c.cause || got.Duration < int64(4*time.Second) {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}
