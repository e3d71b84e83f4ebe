package spawn

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hostler/internal/procstat"
)

// TestStrangers: a process that ended is a forked worker only as long as its pid
// cannot be another's.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Spawner{strangers: map[int]stranger{7: {ending{status: syscall.WaitStatus(3 << 8)}, time.Now()}, 8: {ending{status: syscall.WaitStatus(4 << 8)}, time.Now()}}}
		time.Sleep(strangerFor)
		if e, gone := s.stranger(7); !gone || e.status != syscall.WaitStatus(3<<8) {
			t.Errorf("%v, %v", e, gone)
		}
		if _, gone := s.stranger(7); gone {
			t.Error("it has ended twice")
		}
		time.Sleep(time.Second)
		if _, gone := s.stranger(8); gone {
			t.Error("who has got that pid is taken for dead")
		}
	})
}

// TestNumberUsedAgain: a process that says it is there is not the one of its number that
// has ended.
func TestNumberUsedAgain(t *testing.T) {
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Spawner{kids: make(map[int]*child), strangers: map[int]stranger{pid: {ending{status: syscall.WaitStatus(3 << 8)}, time.Now()}}}
	c := &child{status: make(chan ending, 1), begun: make(chan struct{})}
	if err := s.adopt(c, pid); err != nil || c.hasEnded() || c.PID() != pid {
		t.Errorf("%v; it has ended: %v; it is process %d, not %d", err, c.hasEnded(), c.PID(), pid)
	}
	if len(s.strangers) != 0 {
		t.Error("the old one may still be taken for another")
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// TestReapChild: the end of a process tells how much CPU time it has used itself.
func TestReapChild(t *testing.T) {
	// The shell's child burns more than the shell.
	script := "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; (i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done); exit 5"
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ended, err := reapChild(pid); ended || err != nil {
		t.Fatalf("it has ended: %v, %v", ended, err)
	}
	for !isZombie(pid) {
		time.Sleep(time.Millisecond)
	}
	all, err := procstat.Read(os.DirFS("/proc"), pid)
	if err != nil {
		t.Fatal(err)
	}
	e, ended, err := reapChild(pid)
	if !ended || err != nil || e.status.ExitStatus() != 5 || e.cpu <= 0 || all.CPU != 0 && e.cpu != all.CPU {
		t.Errorf("%+v, %v, %v; /proc says %v", e, ended, err, all.CPU)
	}
}

// TestApart: orphans that end during an upgrade are reaped when it is over, not when
// the next process ends.
func TestApart(t *testing.T) {
	s := &Spawner{childs: make(chan os.Signal, 1)}
	end := s.Apart()
	if s.foreign.Load() != 1 {
		t.Error("the upgrade's child may be reaped")
	}
	end()
	if s.foreign.Load() != 0 || len(s.childs) != 1 {
		t.Error("nobody looks for those that have ended")
	}
}
