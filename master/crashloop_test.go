package master

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCrashLoopSaysWhyOnce: an hour of it, and the log and the journal are still
// readable; and then it is over.
func TestCrashLoopSaysWhyOnce(t *testing.T) {
	for name, broken := range map[string]func(n int) manner{
		"traceback": func(n int) manner {
			return manner{fails: fmt.Sprintf("Traceback\n  line 1\nOSError: no database, from port %d\n", 40000+n)}
		},
		"one line": func(n int) manner { return manner{fails: fmt.Sprintf("no database, from port %d", 40000+n)} },
		"no word":  func(int) manner { return manner{dies: true} },
	} {
		withRig(t, testSettings(), nil, func(r *rig) {
			r.awaitServing()
			r.pass(time.Minute)
			r.mu.Lock()
			r.procs.manner = broken
			r.mu.Unlock()
			r.all()[0].exit(killed(syscall.SIGSEGV))
			r.pass(time.Hour)
			if n := len(r.all()); n < 300 || n > 3600/10+10 {
				t.Errorf("%s: %d boots in an hour", name, n)
			}
			if n := strings.Count(r.log.String(), "level=ERROR msg=\"a worker did not boot"); n != 1 {
				t.Errorf("%s: said %d times", name, n)
			}
			if n := strings.Count(r.stderr.String(), "Traceback"); name == "traceback" && n != 1 {
				t.Errorf("%s: %d tracebacks", name, n)
			}
			loud := 0
			for _, line := range strings.Split(r.log.String(), "\n") {
				if !strings.Contains(line, "level=DEBUG") {
					loud++
				}
			}
			if loud > 12 {
				t.Errorf("%s: %d lines in the log", name, loud)
			}
			if e := r.events("boot_failed"); len(e) != 1 || e[0].Text == "" {
				t.Errorf("%s: %+v", name, e)
			}
			if n := len(r.s.journal.all()); n > 12 {
				t.Errorf("%s: %d events", name, n)
			}
			if v := r.view(); v.BootFailures < 300 {
				t.Errorf("%s: %d failures", name, v.BootFailures)
			}

			r.behave(manner{})
			r.pass(backoffMost + bootTakes + 2*proven)
			r.expect("1:serving/1 2:serving/1")
			if e := r.events("boots_again"); len(e) != 1 || r.view().BootFailures != 0 {
				t.Errorf("%s: %+v, %d failures", name, e, r.view().BootFailures)
			}
			started := r.events("worker_started")
			if last := started[len(started)-1]; !strings.Contains(last.Text, "signal:SIGSEGV") {
				t.Errorf("%s: the worker at last %s", name, last.Text)
			}
			// Another time is news again.
			r.mu.Lock()
			r.procs.manner = broken
			r.mu.Unlock()
			r.all()[1].exit(killed(syscall.SIGSEGV))
			r.pass(time.Minute)
			if e := r.events("boot_failed"); len(e) != 2 {
				t.Errorf("%s: the second time %+v", name, e)
			}
		})
	}
}

// TestCrashLoopOtherReason: what changes is said.
func TestCrashLoopOtherReason(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.behave(manner{fails: "no database"})
		r.all()[0].exit(exited(1))
		r.pass(time.Minute)
		r.behave(manner{fails: "SyntaxError"})
		r.pass(time.Minute)
		if e := r.events("boot_failed"); len(e) != 2 || !strings.Contains(e[1].Text, "SyntaxError") {
			t.Errorf("%+v", e)
		}
	})
}

// TestDyingYoung: workers that serve for some seconds and crash.
func TestDyingYoung(t *testing.T) {
	for _, c := range []struct {
		sig         syscall.Signal
		least, most int // boots in ten minutes
		said        int
	}{
		{syscall.SIGSEGV, 100, 180, 1}, // each serves 3 s, boots 1 s, and waits up to one
		{syscall.SIGKILL, 140, 152, 0}, // not the application's doing
	} {
		set := testSettings()
		set.Workers = 1
		withRig(t, set, nil, func(r *rig) {
			r.awaitServing()
			for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
				all := r.all()
				p := all[len(all)-1]
				p.mu.Lock()
				ready := p.ready && !p.dead
				p.mu.Unlock()
				if ready {
					r.pass(3 * time.Second)
					p.exit(killed(c.sig))
				}
				r.pass(100 * time.Millisecond)
			}
			if n := len(r.all()); n < c.least || n > c.most {
				t.Errorf("%v: %d boots", c.sig, n)
			}
			if e := r.events("crash_loop"); len(e) != c.said {
				t.Errorf("%v: %+v", c.sig, e)
			}
		})
	}
}

// TestOneDeathIsReplacedAtOnce: there is no pause for a single one.
func TestOneDeathIsReplacedAtOnce(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.pass(2 * proven)
		r.all()[0].exit(killed(syscall.SIGSEGV))
		r.pass(0)
		r.expect("1:booting/1 2:serving/1")
	})
}
