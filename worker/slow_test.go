package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hostler/protocol"
)

// reported collects what a loop tells the master.
type reported struct {
	mu   sync.Mutex
	deaf bool // the master does not read
	all  []protocol.SlowRequest
	most int // in one message
}

func (r *reported) tell(m protocol.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deaf {
		return false
	}
	var list []protocol.SlowRequest
	if err := json.Unmarshal([]byte(m.Text), &list); err != nil || m.Kind != protocol.KindSlow || len(m.Text) >= protocol.MaxMessage {
		panic(fmt.Sprint(err, m))
	}
	r.most = max(r.most, len(list))
	r.all = append(r.all, list...)
	return true
}

func (r *reported) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// TestSlowReports: the worst of a route are told, quick ones and repetitions not.
func TestSlowReports(t *testing.T) {
	var told reported
	r := newRig(t, testConfig(), func(c *call) {
		var ms int
		_, _ = fmt.Sscanf(c.target, "/sleep/%d", &ms)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		echo(c)
	})
	r.SetReporter(told.tell)
	r.start()
	c := r.dial()
	rd := responses(t, c)
	get := func(target string) {
		send(t, c, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		rd.want(200, "GET "+target+" ")
	}
	get("/")
	get("/sleep/300")
	get("/sleep/200")
	get("/sleep/100")
	eventually(t, "three reports", func() bool { return told.count() == 3 })
	for range 5 {
		get("/sleep/20") // not among them
	}
	get("/sleep/150")
	get("/other/")
	eventually(t, "another", func() bool { return told.count() == 4 })
	q := told.all[0]
	if q.Method != "GET" || q.Target != "/sleep/300" || q.Status != 200 || q.Duration < 300*time.Millisecond || q.Client != "127.0.0.1" || q.Start == 0 {
		t.Errorf("%+v", q)
	}
	if q := told.all[3]; q.Target != "/sleep/150" {
		t.Errorf("%+v", q)
	}
}

// TestSlowStacked: a request whose stack was taken is told of twice, however quick it
// is for its route; the stack only if it still runs.
func TestSlowStacked(t *testing.T) {
	var told reported
	opened, open := gate(t)
	r := newRig(t, testConfig(), func(c *call) {
		if c.target == "/wait" {
			<-opened
		}
		echo(c)
	})
	r.SetReporter(told.tell)
	var asked []int64
	r.SetIntervene(func(what, thread int, start int64) bool {
		asked = append(asked, int64(what), int64(thread), start)
		return true
	})
	r.start()
	t.Cleanup(open)
	c := r.dial()
	send(t, c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "it runs", func() bool { return r.slot.ThreadRecs[0].Started() != 0 })
	start := r.slot.ThreadRecs[0].Started()
	r.Intervene(InterveneStack, 0, start-1)
	r.Intervene(InterveneStack, 7, start)
	r.Intervene(InterveneStack, 0, start)
	if fmt.Sprint(asked) != fmt.Sprint([]int64{InterveneStack, 0, start}) {
		t.Errorf("asked: %v", asked)
	}
	r.Stacked(0, start-1, "of another")
	r.Stacked(0, start, strings.Repeat("x", 2*protocol.SlowStack)+"the end")
	eventually(t, "the stack", func() bool { return told.count() == 1 })
	if q := told.all[0]; q.Target != "/wait" || q.Start != start || q.Status != 0 || len(q.Stack) > protocol.SlowStack+3 || !strings.HasSuffix(q.Stack, "the end") {
		t.Errorf("%+v", q)
	}
	time.Sleep(20 * time.Millisecond)
	r.slow.mu.Lock()
	r.slow.worst = map[string][]int64{"GET /wait": {int64(time.Hour), int64(time.Hour), int64(time.Hour)}}
	r.slow.mu.Unlock()
	open()
	responses(t, c).want(200, "GET /wait ")
	eventually(t, "its end", func() bool { return told.count() == 2 })
	if q := told.all[1]; q.Start != start || q.Status != 200 {
		t.Errorf("%+v", q)
	}
}

// TestSlowBounded: neither clients nor a master that does not read make it grow.
func TestSlowBounded(t *testing.T) {
	told := reported{deaf: true}
	r := newRig(t, testConfig(), nil)
	r.SetReporter(told.tell)
	s := &r.slow
	for i := range 1000 {
		if s.isWorst(fmt.Sprint("GET /", i), int64(1+i)) {
			s.report(protocol.SlowRequest{Target: "/" + strings.Repeat("\x00", protocol.SlowTarget-1), Stack: strings.Repeat("\"\n", i%2*protocol.SlowStack/2)})
		}
	}
	if len(s.worst) > slowRoutes || len(s.reports) > slowQueue {
		t.Errorf("%d routes, %d reports", len(s.worst), len(s.reports))
	}
	if _, ok := s.worst["GET /999"]; !ok || s.isWorst("GET /x", 1) {
		t.Error("the worst was forgotten for a quicker one")
	}
	r.slow.send()
	if len(s.reports) != slowQueue {
		t.Error("reports are lost while the master does not read")
	}
	told.deaf = false
	r.slow.send()
	if len(s.reports) != 0 || len(told.all) != slowQueue || told.most > slowBatch {
		t.Errorf("%d left, %d told, %d at once", len(s.reports), len(told.all), told.most)
	}
}

// TestWaitsOfAnother: who has waited for the client of an earlier request changes nothing
// of the one that its thread runs now.
func TestWaitsOfAnother(t *testing.T) {
	r := newRig(t, testConfig(), echo)
	th, rec := r.Thread(0), &r.slot.ThreadRecs[0]
	first := r.now()
	rec.Begin(first, []byte("GET"), []byte("/a"), nil)
	since := th.Wait(first)
	second := r.now() + 1
	rec.Begin(second, []byte("GET"), []byte("/b"), nil)
	th.Waited(first, since-int64(time.Second))
	if n := th.forClient.Load(); n != 0 {
		t.Errorf("it has waited for its client for %d ns", n)
	}
	since = th.Wait(second)
	th.Wait(first) // it looked just before
	if rec.ClockSince(second) != 0 {
		t.Error("the clock runs while it waits for its client")
	}
	th.Waited(second, since-int64(time.Second))
	if th.forClient.Load() < int64(time.Second) || rec.ClockSince(second) == 0 {
		t.Errorf("its own wait counts %d ns", th.forClient.Load())
	}
}
