package spawn

import (
	"maps"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/internal/procstat"
)

// What becomes of processes that are no workers but ours all the same: orphans
// among our descendants, where we are a subreaper (--preload) or process 1 of a
// container. Nobody else would reap them.
//
// Process 1 differs in one more thing: signals have no default action there. Go
// handles them all, so that one which comes before we ask for it ends us, too;
// and SIGKILL from inside does nothing.

const (
	FirstProcess = 1
	// strangerFor is how long a process that has ended may turn out to be a forked
	// worker that the mold has yet to name. Later its pid is somebody else's.
	strangerFor   = 10 * time.Second
	manyStrangers = 1000
	// orphansLeave is what orphans get to leave, before the kernel kills them.
	orphansLeave = 2 * time.Second
	orphansLook  = 10 * time.Millisecond
)

// stranger is a process that has ended.
type stranger struct {
	ending
	at time.Time
}

// reapStrangers reaps what nobody else will: orphans that the kernel made our
// children, and forked workers that ended before their mold could name them.
func (s *Spawner) reapStrangers() {
	for range manyStrangers { // and then others have their turn
		pid, ok := nextZombie()
		if _, ours := s.kids[pid]; !ok || ours {
			return // one of ours will be seen next time; its signal is on the way
		}
		e, ended, err := reapChild(pid)
		if !ended || err != nil {
			return
		}
		s.log.Debug("an orphan has ended", "pid", pid, "status", StatusText(e.status))
		s.strangers[pid] = stranger{e, time.Now()}
		if len(s.strangers) > manyStrangers {
			maps.DeleteFunc(s.strangers, func(_ int, st stranger) bool { return time.Since(st.at) > strangerFor })
		}
		if len(s.strangers) > manyStrangers { // somebody makes a great many: there is nobody to tell apart
			clear(s.strangers)
		}
	}
	s.reapLater()
}

// stranger returns how a forked worker has ended that ended before it was known.
func (s *Spawner) stranger(pid int) (ending, bool) {
	st, gone := s.strangers[pid]
	delete(s.strangers, pid)
	return st.ending, gone && time.Since(st.at) <= strangerFor
}

// EndOrphans has the processes that the application left behind end, where we are
// process 1: the kernel kills them without a word when we do. It is called when
// the last worker is gone.
func (s *Spawner) EndOrphans() {
	s.mu.Lock()
	molds := slices.Collect(maps.Keys(s.molds))
	s.mu.Unlock()
	for _, generation := range molds {
		s.Retire(generation) // or its end would be news
	}
	if os.Getpid() != FirstProcess || unix.Kill(-1, unix.SIGTERM) != nil {
		return // nobody is there
	}
	for end := time.Now().Add(orphansLeave); time.Now().Before(end); time.Sleep(orphansLook) {
		// Those that have ended are reaped as ever; this only looks whether there
		// is any child.
		if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err == unix.ECHILD {
			return
		}
	}
	s.log.Warn("processes that the application left behind do not end; leaving them to the kernel")
}

// reapChild reaps a child of ours if it has ended. How much CPU time it has used is
// what /proc says of it last, as it did before: wait4(2) adds that of its own children.
func reapChild(pid int) (e ending, ended bool, err error) {
	if isZombie(pid) {
		if p, err := procstat.Read(os.DirFS("/proc"), pid); err == nil {
			e.cpu = p.CPU
		}
	}
	var use syscall.Rusage
	got, err := syscall.Wait4(pid, &e.status, syscall.WNOHANG, &use)
	if err == nil && got != 0 && e.cpu == 0 { // less than a tick, or we may not look
		e.cpu = time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
	}
	return e, err == nil && got != 0, err
}

// nextZombie returns a child that has ended, without reaping it.
func nextZombie() (pid int, ok bool) { return zombie(unix.P_ALL, 0) }

// isZombie reports whether pid is a child that has ended and was not reaped.
func isZombie(pid int) bool {
	_, ok := zombie(unix.P_PID, pid)
	return ok
}

func zombie(kind, id int) (pid int, ok bool) {
	var info unix.Siginfo
	err := unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	// si_pid; x/sys does not name the fields of the union, which begins here on
	// all 64-bit machines.
	pid = int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 16)))
	return pid, err == nil && pid != 0
}

// isOurs reports whether pid is a child of ours that was not reaped.
func isOurs(pid int) bool {
	return pid > FirstProcess && unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}
