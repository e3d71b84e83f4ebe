package master

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// answers makes a worker send what a profile has found, in parts.
func (p *fakeProcess) answers(t *testing.T, stacks string) {
	t.Helper()
	_, m := p.got(protocol.KindProfile)
	var r protocol.ProfileRequest
	if err := json.Unmarshal([]byte(m.Text), &r); err != nil {
		t.Fatalf("%q: %v", m.Text, err)
	}
	p.finds(fmt.Sprintf(`{"id":%d,"samples":7,"seconds":%v}`+"\n%s", r.ID, r.Seconds, stacks))
}

func (p *fakeProcess) finds(text string) {
	for len(text) > 0 {
		n := min(len(text), max(10, len(text)/100))
		p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindProfiled, Text: text[:n]}})
		text = text[n:]
	}
	p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindProfiled}})
}

// profiles is Profile, told later.
func (r *rig) profiles(ctx context.Context, number int) <-chan *protocol.Profile {
	c := make(chan *protocol.Profile, 1)
	go func() {
		p, err := r.master().Profile(ctx, number, 5*time.Second, 100)
		if err != nil {
			p = &protocol.Profile{Missing: []protocol.MissingProfile{{Why: err.Error()}}}
		}
		c <- p
	}()
	synctest.Wait()
	return c
}

func (r *rig) profiled(c <-chan *protocol.Profile) string {
	r.t.Helper()
	synctest.Wait()
	select {
	case p := <-c:
		var all []string
		for _, w := range p.Workers {
			all = append(all, fmt.Sprintf("%d: %d samples, %s", w.Worker, w.Samples, strings.TrimSpace(w.Stacks)))
		}
		for _, m := range p.Missing {
			all = append(all, fmt.Sprintf("%d: %s", m.Worker, m.Why))
		}
		return strings.Join(all, "; ")
	default:
		return "under way"
	}
}

func TestProfile(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		if _, err := r.master().Profile(r.t.Context(), 0, time.Second, 1); err == nil {
			t.Error("workers that boot are looked into")
		}
		r.awaitServing()
		if _, err := r.master().Profile(r.t.Context(), 9, time.Second, 1); err == nil || err.Error() != "no worker 9 serves" {
			t.Error(err)
		}
		all := r.profiles(r.t.Context(), 0)
		if got := r.profiled(r.profiles(r.t.Context(), 0)); got != "0: a profile is being taken already" {
			t.Errorf("a second one: %s", got)
		}
		r.all()[0].answers(t, "a;b 1\n")
		if got := r.profiled(all); got != "under way" {
			t.Errorf("half of it: %s", got)
		}
		r.all()[1].answers(t, "c 2\n")
		if got := r.profiled(all); got != "1: 7 samples, a;b 1; 2: 7 samples, c 2" {
			t.Error(got)
		}
		one := r.profiles(r.t.Context(), 2)
		r.all()[1].answers(t, "d 3\n")
		if got := r.profiled(one); got != "2: 7 samples, d 3" {
			t.Error(got)
		}
	})
}

// TestProfileOfTheLost: a worker that ends, or does not answer, or makes no sense, is
// named, and the others are there.
func TestProfileOfTheLost(t *testing.T) {
	set := testSettings()
	set.Workers = 4
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		c := r.profiles(r.t.Context(), 0)
		r.all()[0].answers(t, "a 1\n")
		r.all()[1].exit(exited(3))
		r.all()[2].finds("nonsense")
		r.pass(5*time.Second + profilePatience - time.Millisecond)
		if got := r.profiled(c); got != "under way" {
			t.Fatal(got)
		}
		r.pass(2 * time.Millisecond)
		const silent = "it has not answered: something holds its GIL"
		if got := r.profiled(c); got != "1: 7 samples, a 1; 2: it has ended; 3: "+silent+"; 4: "+silent {
			t.Error(got)
		}
		// What comes too late is of no profile any more, and not of the next.
		c = r.profiles(r.t.Context(), 4)
		r.all()[3].finds(`{"id":1}` + "\nlate 1\n")
		if got := r.profiled(c); got != "under way" {
			t.Fatal(got)
		}
		r.all()[3].answers(t, "now 1\n")
		if got := r.profiled(c); got != "4: 7 samples, now 1" {
			t.Error(got)
		}
	})
}

// TestProfileGivenUp: nobody waits for it, and the next may begin.
func TestProfileGivenUp(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		ctx, cancel := context.WithCancel(r.t.Context())
		c := r.profiles(ctx, 0)
		cancel()
		if got := r.profiled(c); got != "0: context canceled" {
			t.Error(got)
		}
		// … even if it was given up before the master got to it.
		ctx, cancel = context.WithCancel(r.t.Context())
		busy := make(chan struct{})
		go func() { _ = r.master().ask(r.t.Context(), func(*supervisor) { <-busy }) }()
		synctest.Wait()
		c = r.profiles(ctx, 0)
		cancel()
		synctest.Wait()
		close(busy)
		if got := r.profiled(c); got != "0: context canceled" {
			t.Error(got)
		}
		c = r.profiles(r.t.Context(), 1)
		r.all()[0].answers(t, strings.Repeat("x 1\n", protocol.MaxProfile/4)) // more than may be
		r.pass(10 * time.Second)
		if got := r.profiled(c); !strings.HasPrefix(got, "1: 7 samples, x 1") || len(got) > protocol.MaxProfile+100 {
			t.Errorf("%.100s", got)
		}
	})
}
