package master

import (
	"testing"
	"testing/synctest"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// counts has a worker share metrics; looksUp has it answer that it has looked some up.
func (p *fakeProcess) counts() {
	p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindMetrics}})
	synctest.Wait()
}

func (p *fakeProcess) looksUp() {
	p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindCollected}})
	synctest.Wait()
}

// asked are the texts of the collections that a worker was asked for.
func (p *fakeProcess) asked() (texts []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.sent {
		if m.Kind == protocol.KindCollect {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// scrapes is Collect, ended later.
func (r *rig) scrapes() <-chan struct{} {
	c := make(chan struct{})
	go func() {
		r.master().Collect(r.t.Context())
		close(c)
	}()
	synctest.Wait()
	return c
}

func (r *rig) scraped(c <-chan struct{}, want bool) {
	r.t.Helper()
	synctest.Wait()
	select {
	case <-c:
		if !want {
			r.t.Error("a scrape does not wait for who is to look up metrics")
		}
	default:
		if want {
			r.t.Error("a scrape waits")
		}
	}
}

// TestCollect: those that share metrics are asked, one of them for all, at most once a
// second, and whoever does not answer is waited for once.
func TestCollect(t *testing.T) {
	set := testSettings()
	set.Workers = 3
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.scraped(r.scrapes(), true) // nobody shares any
		all := r.all()
		all[1].counts()
		all[2].counts()
		r.pass(collectEvery)
		first := r.scrapes()
		r.scraped(first, false)
		second := r.scrapes()
		r.scraped(second, false)
		all[1].looksUp()
		all[1].looksUp() // once too often
		r.scraped(first, false)
		all[2].looksUp()
		r.scraped(first, true)
		r.scraped(second, true)
		r.scraped(r.scrapes(), true)
		for i, want := range []int{0, 1, 1} {
			if n := len(all[i].asked()); n != want {
				t.Errorf("worker %d was asked %d times", i+1, n)
			}
		}
		if all[1].asked()[0] != protocol.CollectAll || all[2].asked()[0] != "" {
			t.Errorf("worker 2 is asked for %q, worker 3 for %q", all[1].asked(), all[2].asked())
		}

		r.pass(collectEvery)
		slow := r.scrapes()
		all[2].looksUp()
		r.pass(collectPatience - time.Millisecond)
		r.scraped(slow, false)
		r.pass(2 * time.Millisecond)
		r.scraped(slow, true)
		r.pass(collectEvery)
		without := r.scrapes()
		all[2].looksUp()
		r.scraped(without, true)
		if got := all[2].asked(); len(all[1].asked()) != 2 || len(got) != 3 || got[2] != protocol.CollectAll {
			t.Errorf("with worker 2 behind, worker 3 is asked for %q", got)
		}
		all[1].looksUp()
		r.pass(collectEvery)
		again := r.scrapes()
		all[1].looksUp()
		r.scraped(again, false)
		all[2].exit(exited(1))
		r.scraped(again, true)
		if n := len(all[1].asked()); n != 3 {
			t.Errorf("worker 2 was asked %d times, once it had answered", n)
		}
	})
}
