package spawn

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What a mold, or a worker, has forked in secret, and what has left its group. As an
// orphan it becomes our child, or stays that of one that has: a stray. Where the
// application is another principal nothing of it may go on with our listening sockets: not
// beyond our end, when whoever starts the server again wants their addresses, nor beyond
// the end of the mold that had to be given up, for it takes connections that it does not
// answer. What the application forks by Python has none of them (worker/python/fork.c), and
// goes on.

// holdersRest is after what time a process that has our sockets and is nobody's is no
// worker that a mold has just forked.
const holdersRest = 2 * forkTime

// sayHolders is how many of them are named.
const sayHolders = 10

// adoptOrphans makes us a subreaper: the kernel makes orphans among our descendants our children.
// Called with s.mu held.
func (s *Spawner) adoptOrphans() error {
	if s.subreaper {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	s.subreaper = true
	return nil
}

// noteSockets remembers what a process of another principal is started with.
func (s *Spawner) noteSockets(spec Spec) {
	if spec.Identity == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if spec.Identity.Uid != 0 {
		s.theirs[spec.Identity.Uid] = true
	}
	for _, fd := range spec.Listeners {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			s.sockets[socketName(st.Ino)] = true
		}
	}
	if err := s.adoptOrphans(); err != nil {
		s.log.Debug("orphans of the application will not be ours", "error", err)
	}
}

// search is a look for the strays that have a listening socket. Whoever hides may do so in a
// crowd, with as many descriptors as there can be, and an end has its time.
type search struct {
	until time.Time // from then on every stray counts as one; zero: there is time
}

// manyDescriptors is how many of a process are looked at. One that has more counts as one
// that hides something.
const manyDescriptors = 10000

// late reports whether there is no time left.
func (l search) late() bool { return !l.until.IsZero() && time.Now().After(l.until) }

// holders returns the strays that have a listening socket.
func (s *Spawner) holders(l search) map[int]bool {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what it has got until then
	found := make(map[int]bool)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if _, theirs := s.parentOf(pid); theirs && s.holds(pid, l) && s.isStray(pid) {
			found[pid] = true
		}
	}
	return found
}

// parentOf returns the parent of a process of another principal's that nobody has started
// for us. Others are not theirs, and a new binary is not.
func (s *Spawner) parentOf(pid int) (parent int, theirs bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	number := func(field string) (n uint32) {
		_, rest, _ := bytes.Cut(status, []byte("\n"+field+":\t"))
		_, _ = fmt.Sscan(string(rest), &n)
		return n
	}
	uid := number("Uid")
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(number("PPid")), s.theirs[uid] && s.kids[pid] == nil
}

// isStray reports whether pid descends from us by such processes. Whoever of them dies
// leaves its children to another one or to us; so if the way up to us is still there on the
// way back down, all of it was at one time, whoever has got a number of theirs meanwhile.
func (s *Spawner) isStray(pid int) bool {
	us := os.Getpid()
	way := []int{pid}
	for {
		parent, theirs := s.parentOf(way[len(way)-1])
		if !theirs || slices.Contains(way, parent) {
			return false
		}
		way = append(way, parent)
		if parent == us {
			break
		}
	}
	for i := len(way) - 2; i >= 0; i-- {
		if parent, theirs := s.parentOf(way[i]); !theirs || parent != way[i+1] {
			return false
		}
	}
	return true
}

// holds reports whether a process has one of our listening sockets.
func (s *Spawner) holds(pid int, l search) bool {
	fds, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return false
	}
	defer fds.Close()
	for looked := 0; ; looked += 1000 {
		if l.late() || looked >= manyDescriptors {
			return true
		}
		names, err := fds.Readdirnames(1000)
		for _, name := range names {
			to, _ := os.Readlink(fds.Name() + "/" + name)
			s.mu.Lock()
			ours := s.sockets[to]
			s.mu.Unlock()
			if ours {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
}

// endHolders kills those, and says so of each that was not said yet.
func (s *Spawner) endHolders(which, said map[int]bool) {
	for pid := range which {
		if !s.endStray(pid) || said[pid] {
			continue
		}
		said[pid] = true
		if len(said) <= sayHolders {
			s.log.Error("killed a process that was forked in secret and had the listening sockets", "pid", pid)
		}
	}
}

// endStray kills a process if it is one.
func (s *Spawner) endStray(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0) // it is this one, whoever gets its number
	if err != nil {                   // before Linux 5.3 there is none
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.kids[pid] == nil && isOurs(pid) && unix.Kill(pid, unix.SIGKILL) == nil
	}
	defer unix.Close(fd)
	return s.isStray(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// sayRest says how many there were beyond those that were named.
func (s *Spawner) sayRest(said map[int]bool) {
	if more := len(said) - sayHolders; more > 0 {
		s.log.Error("killed more processes that were forked in secret and had the listening sockets", "processes", more)
	}
}

// endAllHolders does so until there are no more, when nothing is to be started any more.
func (s *Spawner) endAllHolders(patience time.Duration) {
	s.mu.Lock()
	none := len(s.theirs) == 0 || !s.subreaper
	s.mu.Unlock()
	if none {
		return
	}
	now := time.Now()
	l, said := search{until: now.Add(patience / 2)}, make(map[int]bool)
	defer s.sayRest(said)
	hurried, harsh := false, false
	for end := now.Add(patience); time.Now().Before(end); time.Sleep(orphansLook) {
		remain, known := s.remain()
		if known && !remain {
			return
		}
		if known && !hurried {
			hurried = true
			hurry()
		}
		if known && l.late() && !harsh {
			harsh = true
			s.log.Error("somebody has hidden a listening socket; killing all that workers have left running")
		}
		found := s.holders(l) // what they have forked is ours when they have ended
		if !known && len(found) == 0 {
			return
		}
		s.endHolders(found, said)
	}
	s.log.Error("there are still processes that were forked in secret and have the listening sockets")
}

// hurry has the kernel prefer our threads to others, if it lets us: who forks without end
// can take the processors from us.
func hurry() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		}
	}
}

// endHoldersLater does so after a mold that had to be given up, while others may fork
// workers that are not known yet.
func (s *Spawner) endHoldersLater() {
	look := func() map[int]bool { return s.holders(search{}) }
	before := look()
	if len(before) == 0 {
		return
	}
	time.AfterFunc(holdersRest, func() {
		still := look()
		for pid := range still {
			if !before[pid] {
				delete(still, pid)
			}
		}
		said := make(map[int]bool)
		s.endHolders(still, said)
		s.sayRest(said)
		if len(still) > 0 {
			time.AfterFunc(time.Second, s.endHoldersLater) // what they have forked
		}
	})
}
