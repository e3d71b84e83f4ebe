package master

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"hostler/master/spawn"
	"hostler/protocol"
)

// writes makes a worker send the parts of its tracebacks.
func (p *fakeProcess) writes(parts ...string) {
	for _, text := range parts {
		p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindDumped, Text: text}})
	}
	synctest.Wait()
}

// dumps is Dump, told later.
func (r *rig) dumps(ctx context.Context, number int) <-chan string {
	c := make(chan string, 1)
	go func() {
		dumps, err := r.master().Dump(ctx, number)
		if err != nil {
			c <- err.Error()
			return
		}
		var all []string
		for _, d := range dumps {
			all = append(all, fmt.Sprintf("%d: %s%s", d.Worker, d.Text, d.Missing))
		}
		c <- strings.Join(all, "; ")
	}()
	synctest.Wait()
	return c
}

func got(c <-chan string) string {
	synctest.Wait()
	select {
	case s := <-c:
		return s
	default:
		return "under way"
	}
}

func TestDump(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		if s := got(r.dumps(r.t.Context(), 0)); s != "no worker serves" {
			t.Errorf("workers that boot: %s", s)
		}
		r.awaitServing()
		if s := got(r.dumps(r.t.Context(), 3)); s != "no worker 3 serves" {
			t.Error(s)
		}
		one, two := r.all()[0], r.all()[1]
		all := r.dumps(r.t.Context(), 0)
		if n, m := one.got(protocol.KindDump); n != 1 || m.Text != protocol.DumpTell {
			t.Errorf("worker 1 was told %d times, %q", n, m.Text)
		}
		if n, _ := two.got(protocol.KindDump); n != 0 {
			t.Error("two dump at once")
		}
		if s := got(r.dumps(r.t.Context(), 1)); s != "1: a dump of it is being taken already" {
			t.Error(s)
		}
		two.writes("unasked", "")
		one.writes("a", "b", "")
		two.writes("c", "")
		if s := got(all); s != "1: ab; 2: c" {
			t.Error(s)
		}
		if len(r.s.dumps) != 0 {
			t.Errorf("%d dumps are left", len(r.s.dumps))
		}
	})
}

// TestDumpOfTheLost: who does not answer, or ends, or says too much, is named, and costs
// what is said.
func TestDumpOfTheLost(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		one, two := r.all()[0], r.all()[1]
		all := r.dumps(r.t.Context(), 0)
		one.writes("begun")
		r.pass(dumpPatience)
		if s := got(all); s != "under way" {
			t.Error(s)
		}
		two.exit(exited(3))
		r.pass(0)
		if s := got(all); !strings.HasPrefix(s, "1: begunit has not answered in time") || !strings.HasSuffix(s, "; 2: it has ended") {
			t.Error(s)
		}
		one.writes("too late", "")
		long := r.dumps(r.t.Context(), 1)
		for range protocol.MaxDump/1000 + 5 {
			one.writes(strings.Repeat("x", 1000))
		}
		one.writes("")
		if s := got(long); len(s) != len("1: ")+protocol.MaxDump {
			t.Errorf("%d bytes", len(s))
		}
		ctx, cancel := context.WithCancel(r.t.Context())
		gone := r.dumps(ctx, 1)
		cancel()
		if s := got(gone); s != context.Canceled.Error() || len(r.s.dumps) != 0 {
			t.Errorf("%s, %d dumps are left", s, len(r.s.dumps))
		}
	})
}
