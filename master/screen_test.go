package master

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeScreen notes down what it is told of those that are waited for.
type fakeScreen struct {
	mu     sync.Mutex
	waited [][]Waited
}

func (f *fakeScreen) Serving(Greeting) {}

func (f *fakeScreen) Waiting(w []Waited, _ int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waited = append(f.waited, w)
}

func (f *fakeScreen) told() [][]Waited {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waited
}

// TestScreen: who stops the server by hand is told once what that waits for; nobody else is.
func TestScreen(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 1, syscall.SIGTERM: 0} {
		withRig(t, testSettings(), func(int) manner { return manner{wedged: true, deaf: true} }, func(r *rig) {
			f := new(fakeScreen)
			set := make(chan struct{})
			r.s.post(askEvent{func(s *supervisor) { s.screen = f }, set})
			<-set
			r.awaitServing()
			p := r.all()[0]
			r.begin(p, 0, "/long", 0)
			r.signal(sig)
			r.pass(500 * time.Millisecond)
			if told := f.told(); len(told) != 0 {
				t.Errorf("%v: told at once: %+v", sig, told)
			}
			r.pass(2 * time.Second)
			if told := f.told(); len(told) != want || want > 0 && (len(told[0]) != 1 || told[0][0].Target != "/long") {
				t.Errorf("%v: told %+v", sig, told)
			}
		})
	}
}
