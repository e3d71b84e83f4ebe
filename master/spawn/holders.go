package spawn

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What a mold, or a worker, has forked in secret, and what has left its group. As an
// orphan it becomes our child. Where the application is another principal nothing of it
// may go on with our listening sockets: not beyond our end, when whoever starts the server
// again wants their addresses, nor beyond the end of the mold that had to be given up,
// for it takes connections that it does not answer. What the application forks by Python
// has none of them (worker/python/fork.c), and goes on.

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
	s.theirs = spec.Identity.Uid
	for _, fd := range spec.Listeners {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			s.sockets[fmt.Sprintf("socket:[%d]", st.Ino)] = true
		}
	}
	if err := s.adoptOrphans(); err != nil {
		s.log.Debug("orphans of the application will not be ours", "error", err)
	}
}

// search is a look for the orphans of ours that have a listening socket. Whoever hides may
// do so in a crowd, with as many descriptors as there can be, and an end has its time.
type search struct {
	until   time.Time    // from then on who has not been looked at counts as one; zero: there is time
	cleared map[int]bool // have been looked at, and have none
}

// manyDescriptors is how many of a process are looked at. One that has more counts as one
// that hides something.
const manyDescriptors = 10000

// late reports whether there is no time left.
func (l *search) late() bool { return !l.until.IsZero() && time.Now().After(l.until) }

// holders returns the orphans of ours that have a listening socket.
func (s *Spawner) holders(l *search) map[int]bool {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what it has got until then
	found := make(map[int]bool)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		switch {
		case err != nil || !s.isOrphan(pid) || isZombie(pid):
		case l.late() && l.cleared[pid]:
		case s.holds(pid, l):
			found[pid] = true
		default:
			l.cleared[pid] = true
		}
	}
	return found
}

// isOrphan reports whether pid is a child of ours that nobody has started for us.
func (s *Spawner) isOrphan(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kids[pid] == nil && isOurs(pid)
}

// holds reports whether pid is the other principal's, as a new binary is not, and has one
// of our listening sockets.
func (s *Spawner) holds(pid int, l *search) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	s.mu.Lock()
	want := fmt.Appendf(nil, "\nUid:\t%d\t", s.theirs)
	none := s.theirs == 0 || len(s.sockets) == 0
	s.mu.Unlock()
	if none || !bytes.Contains(status, want) {
		return false
	}
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
		s.mu.Lock()
		ours := s.kids[pid] == nil && isOurs(pid) // nobody else reaps it, so the number is its own
		if ours {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		s.mu.Unlock()
		if !ours || said[pid] {
			continue
		}
		said[pid] = true
		if len(said) <= sayHolders {
			s.log.Error("killed a process that was forked in secret and had the listening sockets", "pid", pid)
		}
	}
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
	none := s.theirs == 0 || !s.subreaper
	s.mu.Unlock()
	if none {
		return
	}
	now := time.Now()
	l, said := &search{until: now.Add(patience / 2), cleared: make(map[int]bool)}, make(map[int]bool)
	defer s.sayRest(said)
	for end := now.Add(patience); time.Now().Before(end); time.Sleep(orphansLook) {
		found := s.holders(l) // what they have forked is ours when they have ended
		if len(found) == 0 {
			return
		}
		s.endHolders(found, said)
	}
	s.log.Error("there are still processes that were forked in secret and have the listening sockets")
}

// endHoldersLater does so after a mold that had to be given up, while others may fork
// workers that are not known yet.
func (s *Spawner) endHoldersLater() {
	look := func() map[int]bool { return s.holders(&search{cleared: make(map[int]bool)}) }
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
