package master

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"hostler/protocol"
)

func slowOf(target string, d time.Duration, start int64) protocol.SlowRequest {
	return protocol.SlowRequest{PID: 1, Method: "GET", Target: target, Duration: d, Start: start, Status: 200}
}

func TestSlowTable(t *testing.T) {
	var table slowTable
	for i, d := range []time.Duration{3, 9, 1, 7, 2, 8} {
		table.add(slowOf(fmt.Sprintf("/a/%d", i), d, int64(i)))
	}
	table.add(slowOf("/b", 20, 1))
	got := table.all()
	if len(got) != 2 || got[0].Route != "GET /b" || got[1].Route != "GET /a/*" {
		t.Fatalf("%+v", got)
	}
	var ds []time.Duration
	for _, q := range got[1].Worst {
		ds = append(ds, q.Duration)
	}
	if !reflect.DeepEqual(ds, []time.Duration{9, 8, 7}) {
		t.Errorf("the worst: %v", ds)
	}
}

// TestSlowTableStack: the stack comes while a request runs, its duration later.
func TestSlowTableStack(t *testing.T) {
	var table slowTable
	q := slowOf("/a", 5, 4)
	q.Status, q.Stack = 0, "here"
	table.add(q)
	table.add(slowOf("/a", 6, 5))
	table.add(slowOf("/a", 7, 4))
	worst := table.all()[0].Worst
	if len(worst) != 2 || worst[0].Start != 4 || worst[0].Stack != "here" || worst[0].Status != 200 || worst[0].Duration != 7 {
		t.Errorf("%+v", worst)
	}
}

// TestSlowTableBounded: clients cannot make it grow, nor drive the worst out.
func TestSlowTableBounded(t *testing.T) {
	var table slowTable
	table.add(slowOf("/worst", time.Hour, 1))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 500 {
				table.add(slowOf(fmt.Sprintf("/x%dy%dz", i, k), time.Duration(1+k), int64(k)))
				table.all()
			}
		})
	}
	wg.Wait()
	got := table.all()
	if len(got) != slowRoutes || got[0].Route != "GET /worst" {
		t.Errorf("%d routes, first %s", len(got), got[0].Route)
	}
	if least := got[len(got)-1].Worst[0].Duration; least < 450 {
		t.Errorf("the least is %d", least)
	}
}

// TestSlowReported: what workers say is completed, and nonsense does no harm.
func TestSlowReported(t *testing.T) {
	set := testSettings()
	set.Workers, set.SlowRequest = 1, time.Second
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 1, "/slow", 0)
		r.pass(2 * time.Second)
		n, m := p.got(protocol.KindStack)
		if n != 1 || m.Thread != 1 || m.Start != r.slotOf(p).ThreadRecs[1].Started() {
			t.Errorf("asked for %d stacks, %+v", n, m)
		}
		w := r.s.workers[0]
		r.s.slowReported(w, "nonsense")
		r.s.slowReported(w, `[{"method":"GET","target":"/slow","duration":2000000000,"status":200}]`)
		got := r.s.slow.all()
		if len(got) != 1 || got[0].Worst[0].Worker != 1 || got[0].Worst[0].PID != p.PID() || got[0].Worst[0].Generation != 1 {
			t.Errorf("%+v", got)
		}
	})
}
