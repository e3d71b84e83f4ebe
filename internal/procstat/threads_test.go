package procstat

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

func TestThreadsOfOwnProcess(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	proc, tid := os.DirFS("/proc"), unix.Gettid()
	before := Threads(proc, os.Getpid())[tid]
	if before.Ran == 0 || before.Turns == 0 {
		t.Skip("the kernel counts no waits here")
	}
	if !before.Ready {
		t.Error("who reads this runs")
	}
	for range 5 {
		time.Sleep(time.Millisecond)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if after := Threads(proc, os.Getpid())[tid]; after.Ran > before.Ran && after.Turns > before.Turns {
			return
		}
	}
	t.Error("it has not run since")
}

func TestThreadsElsewhere(t *testing.T) {
	proc := fstest.MapFS{}
	put := func(tid int, sched, state string) {
		proc[fmt.Sprintf("7/task/%d/schedstat", tid)] = &fstest.MapFile{Data: []byte(sched)}
		proc[fmt.Sprintf("7/task/%d/stat", tid)] = &fstest.MapFile{Data: []byte(fmt.Sprintf("%d (a) R) %s 1 2", tid, state))}
	}
	put(7, "300 200 10\n", "S")
	put(8, "1 2 3\n", "R")
	put(9, "", "R")
	all := Threads(proc, 7)
	if len(all) != 2 || all[7] != (Thread{300, 200, 10, false}) || all[8] != (Thread{1, 2, 3, true}) {
		t.Errorf("%+v", all)
	}
	if all := Threads(proc, 6); len(all) != 0 {
		t.Errorf("of a process that there is not: %+v", all)
	}
}

func TestLongestWait(t *testing.T) {
	const ms = time.Millisecond
	was := map[int]Thread{
		1: {Ran: 5 * ms, Waited: 100 * ms, Turns: 10},
		2: {Ran: 5 * ms, Waited: 100 * ms, Turns: 10, Ready: true},
	}
	for what, c := range map[string]struct {
		now  map[int]Thread
		want time.Duration
	}{
		"all sleep":               {map[int]Thread{1: was[1], 2: {Ran: 5 * ms, Waited: 100 * ms, Turns: 10}}, 0},
		"one is new":              {map[int]Thread{3: {Waited: 800 * ms, Turns: 1, Ready: true}}, 0},
		"one computes, alone":     {map[int]Thread{2: {Ran: 900 * ms, Waited: 100 * ms, Turns: 10, Ready: true}}, 0},
		"one has short waits":     {map[int]Thread{1: {Ran: 6 * ms, Waited: 130 * ms, Turns: 20}}, 3 * ms},
		"one has long ones":       {map[int]Thread{1: {Ran: 6 * ms, Waited: 130 * ms, Turns: 20}, 2: {Ran: 9 * ms, Waited: 700 * ms, Turns: 12, Ready: true}}, 300 * ms},
		"one waits all the time":  {map[int]Thread{1: was[1], 2: was[2]}, 900 * ms},
		"one has just been woken": {map[int]Thread{1: {Ran: 5 * ms, Waited: 100 * ms, Turns: 10, Ready: true}}, 0},
	} {
		if got := LongestWait(was, c.now, 900*ms); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}
