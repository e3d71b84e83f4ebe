package master

import (
	"syscall"
	"testing"
	"time"
)

// fakeScreen notes down what it is told.
type fakeScreen struct {
	greetings []Greeting
	waited    [][]Waited
}

func (f *fakeScreen) Serving(g Greeting)        { f.greetings = append(f.greetings, g) }
func (f *fakeScreen) Waiting(w []Waited, _ int) { f.waited = append(f.waited, w) }

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
			if len(f.waited) != 0 {
				t.Errorf("%v: told at once: %+v", sig, f.waited)
			}
			r.pass(2 * time.Second)
			if len(f.waited) != want || want > 0 && (len(f.waited[0]) != 1 || f.waited[0][0].Target != "/long") {
				t.Errorf("%v: told %+v", sig, f.waited)
			}
		})
	}
}
