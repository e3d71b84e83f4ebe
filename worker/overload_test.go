package worker

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOverloadLaw(t *testing.T) {
	const ms = int64(time.Millisecond)
	o := overload{target: 10 * ms}
	// wait asks every millisecond in [from, to), always after the same wait.
	wait := func(from, to, w int64) (refused int) {
		for now := from; now < to; now++ {
			if o.tooLate(now*ms, w*ms) {
				refused++
			}
		}
		return refused
	}
	base := int64(1000)
	if n := wait(base, base+100, 5); n != 0 {
		t.Errorf("%d refused below the target", n)
	}
	if n := wait(base+100, base+200, 15); n != 0 {
		t.Errorf("%d refused that wait less than twice the target", n)
	}
	if n := wait(base+200, base+300, 25); n < 85 || n > 100 {
		t.Errorf("%d of 100 refused", n)
	}
	for now := base + 300; now < base+400; now++ { // a burst: some get through at once
		if o.tooLate(now*ms, 25*ms*(now%5)) && now > base+320 {
			t.Fatalf("refused at %d", now)
		}
	}
	wait(base+400, base+500, 25)
	if n := wait(base+10000, base+10005, 25); n != 0 {
		t.Errorf("%d refused after a pause", n)
	}
}

// TestOverload sends three times what the worker can do. It keeps doing what it
// can, those that are answered have not waited for long, and a health check goes
// first.
func TestOverload(t *testing.T) {
	cfg := testConfig()
	cfg.QueueWait = 30 * time.Millisecond
	cfg.HealthPaths = []string{"/up"}
	var served, refused atomic.Int64
	r := serve(t, cfg, func(c *call) {
		if c.target != "/up" {
			time.Sleep(2 * time.Millisecond)
			served.Add(1)
		}
		c.ok("done")
	})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			c := r.dial()
			in := responses(t, c)
			for {
				select {
				case <-stop:
					return
				default:
				}
				send(t, c, get)
				p, err := in.read(false)
				switch {
				case err != nil:
					t.Error(err)
					return
				case p.status == 503:
					refused.Add(1)
					if p.fields["retry-after"] != "1" || p.fields["connection"] != "" {
						t.Errorf("%v", p.fields)
					}
				case p.status != 200 || p.body != "done":
					t.Errorf("%d %q", p.status, p.body)
				}
			}
		})
	}
	eventually(t, "the overload to be noticed", func() bool { return refused.Load() > 100 })
	up := r.dial()
	in := responses(t, up)
	// In the queue, some thirty are served before one gets its turn. Some of these
	// went on while we, or the deputy, waited for a processor; on a busy machine all may.
	eventually(t, "a health check to go before others", func() bool {
		var others []int64
		for range 10 {
			before := served.Load()
			send(t, up, "GET /up?x HTTP/1.1\r\nHost: x\r\n\r\n")
			in.want(200, "done")
			others = append(others, served.Load()-before)
		}
		slices.Sort(others)
		return others[4] <= 20
	})
	before := served.Load()
	eventually(t, "work to go on", func() bool { return served.Load() > before+100 })
	close(stop)
	wg.Wait()
	if n := r.slot.Counters.Unavailable.Load(); int64(n) != refused.Load() {
		t.Errorf("%d counted, %d refused", n, refused.Load())
	}
}

func TestDeclinedAreSaid(t *testing.T) {
	var log bytes.Buffer
	d := declined{said: 7} // another process's of the same slot
	for _, c := range []struct {
		all  uint64
		now  int64
		want string
	}{
		{7, 1, ""},
		{9, 2, "declined=2 waiting=5"},
		{30, 3, ""},
		{30, 2 + declinedPause, "declined=21 waiting=5"},
		{30, 3 + 2*declinedPause, ""},
	} {
		log.Reset()
		d.say(slog.New(slog.NewTextHandler(&log, nil)), c.all, 5, c.now)
		if got := log.String(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d at %d: %q", c.all, c.now, got)
		}
	}
}
