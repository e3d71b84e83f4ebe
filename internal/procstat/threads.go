package procstat

import (
	"bytes"
	"io/fs"
	"strconv"
	"time"
)

// Thread is what the scheduler has given a thread until now.
type Thread struct {
	Ran    time.Duration
	Waited time.Duration // for a processor, as far as it has got one in the end
	Turns  int64         // how often it has got one
	Ready  bool          // it wants one now, or has it
}

// Threads reads what the threads of a process have had, by their numbers. Of what cannot be
// read there is nothing.
func Threads(proc fs.FS, pid int) map[int]Thread {
	dir := strconv.Itoa(pid) + "/task"
	list, _ := fs.ReadDir(proc, dir)
	all := make(map[int]Thread, len(list))
	for _, e := range list {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		sched, err := fs.ReadFile(proc, dir+"/"+e.Name()+"/schedstat")
		f := bytes.Fields(sched)
		if err != nil || len(f) < 3 {
			continue
		}
		var n [3]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(string(f[i]), 10, 64)
		}
		t := Thread{Ran: time.Duration(n[0]), Waited: time.Duration(n[1]), Turns: n[2]}
		stat, _ := fs.ReadFile(proc, dir+"/"+e.Name()+"/stat")
		if _, rest, _ := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(" ")); len(rest) > 0 {
			t.Ready = rest[0] == 'R'
		}
		all[tid] = t
	}
	return all
}

// LongestWait is how long, on average, that thread of a process has waited for a processor
// which has waited longest each time, from one look to another: about as long as any of them
// waits that wants one. What has wanted one all the time, and got none, has waited for all.
func LongestWait(before, after map[int]Thread, between time.Duration) (longest time.Duration) {
	for tid, now := range after {
		was, ok := before[tid]
		if !ok {
			continue
		}
		wait := time.Duration(0)
		switch turns := now.Turns - was.Turns; {
		case turns > 0:
			wait = (now.Waited - was.Waited) / time.Duration(turns)
		case now.Ready && was.Ready && now.Ran == was.Ran:
			wait = between
		}
		longest = max(longest, wait)
	}
	return longest
}
