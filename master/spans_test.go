package master

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"hostler/protocol"
	"hostler/settings"
)

// fakeTaker takes no spans, and remembers from whom.
type fakeTaker struct {
	mu     sync.Mutex
	log    []string
	closed bool
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
