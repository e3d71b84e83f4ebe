package master

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/cgroup"
	"hostler/protocol"
)

// scaler is what the state goroutine remembers for scaling by need.
type scaler struct {
	workers int       // as many as the policy wants; 0: has not said yet
	pinned  bool      // an operator has set a number, which holds until it is given back
	lookAt  time.Time // when the next look is due
	looked  time.Time // when the last was; zero: there is nothing to compare with
	trend   trend

	waits   waits
	machine machine
}

// waits counts the requests that were begun, and those that had waited too long.
type waits struct{ all, late uint64 }

// scales reports whether the number of workers goes by need.
func (s *supervisor) scales() bool {
	return s.phase == phaseServing && s.set.MaxWorkers > 0 && !s.scaling.pinned
}

// scaleByNeed looks at the workers, if that is due.
func (s *supervisor) scaleByNeed(now time.Time, mono int64) {
	sc := &s.scaling
	if !s.scales() || now.Before(sc.lookAt) {
		return
	}
	sc.lookAt = now.Add(lookOften)
	want := s.target(s.set)
	if _, ready := s.count(s.current); ready < want || s.reloading() && s.trial == nil || s.upgrading {
		// What the last decision does to the waiting is not to be seen yet.
		sc.looked, sc.trend.late = time.Time{}, 0
		return
	}
	since := now.Sub(sc.looked)
	first := sc.looked.IsZero()
	sc.looked = now
	g := s.glance(want, since.Seconds(), mono, first)
	if first {
		return
	}
	t, d := decide(sc.trend, g, since, s.set.Workers, s.set.MaxWorkers)
	sc.trend = t
	if d.held != "" {
		s.log.Warn("no more workers", "workers", want, "reason", d.held)
		s.note(protocol.Event{Kind: "scale_held", Text: d.held})
	}
	if d.workers != want {
		sc.workers = d.workers
		s.scaled(want, s.target(s.set), d.why)
	}
}

// glance gathers what the policy looks at.
func (s *supervisor) glance(want int, seconds float64, mono int64, first bool) glance {
	sc := &s.scaling
	g := glance{workers: want, threads: s.set.Threads, room: want}
	used, largest, serving, capacity := 0.0, int64(0), 0, 0
	for _, w := range s.workers {
		if w.gen != s.current || w.state != stateServing {
			continue
		}
		serving++
		threads := w.threads()
		if w.gen.set.ThreadsAuto {
			threads = int(min(max(w.board.Gauges.Threads.Load(), 1), int64(threads)))
		}
		capacity += threads
		for i := range threads {
			if w.board.ThreadRecs[i].Started() != 0 {
				g.busy++
			}
		}
		g.busy += int(max(0, w.board.Gauges.QueueDepth.Load()))
		if at := w.board.Gauges.QueueOldest.Load(); at != 0 {
			if age := time.Duration(mono - at); age > waitTarget {
				g.late = fmt.Sprintf("a request has waited for a thread for %v", age.Round(time.Millisecond))
			}
		}
		if cpu, err := s.host.CPU(w.proc.PID()); err == nil {
			if w.cpu > 0 {
				used += (cpu - w.cpu) / seconds
			}
			w.cpu = cpu
		}
	}
	if s.set.ThreadsAuto && serving > 0 {
		g.threads = (capacity + serving - 1) / serving
	}
	before := sc.waits
	sc.waits = countWaits(s.board)
	if all, late := sc.waits.all-before.all, sc.waits.late-before.late; late > 0 && float64(late) > lateShare*float64(all) {
		g.late = fmt.Sprintf("%d of %d requests waited longer than %v for a thread", late, all, waitTarget)
	}
	// A worker without a free thread does not accept, so that others can.
	if g.late == "" && g.busy >= capacity && s.host.Pending(s.current.listeners) {
		g.late = "connections wait to be accepted"
	}
	last := sc.machine
	sc.machine = s.host.Machine()
	if first || g.late == "" {
		return g
	}
	g.cpu = cpuLeft(used, serving, last, sc.machine)
	for _, w := range s.workers {
		if w.gen == s.current && w.state == stateServing {
			if n, err := s.host.Memory(w.proc.PID()); err == nil {
				largest = max(largest, n)
			}
		}
	}
	g.room = memoryRoom(sc.machine.free, largest)
	return g
}

// lateFrom is the first bucket of requests that waited longer than waitTarget.
var lateFrom = sort.Search(len(protocol.Bounds), func(i int) bool { return protocol.Bounds[i] > int64(waitTarget) })

// countWaits sums over all workers there ever were.
func countWaits(b *protocol.Scoreboard) (n waits) {
	for i := range b.Used() {
		counts := &b.Slot(i).Counters.QueueWait.Counts
		for j := range counts {
			c := counts[j].Load()
			n.all += c
			if j >= lateFrom {
				n.late += c
			}
		}
	}
	return n
}

// pin makes the number of workers an operator's until unpin.
func (s *supervisor) pin() {
	if s.set.MaxWorkers > 0 && !s.scaling.pinned {
		s.adjust = s.target(s.set) - s.set.Workers
		s.scaling.pinned = true
	}
}

// unpin lets the number of workers go by need again.
func (s *supervisor) unpin() {
	before := s.target(s.set)
	s.scaling = scaler{workers: before}
	s.adjust = 0
	s.scaled(before, s.target(s.set), "by need again")
}

// The environment variables that tell a new binary how many workers the load has shown
// to be needed, and by how many an operator wants more or fewer.
const (
	upgradeWorkers = "_HOSTLER_UPGRADE_WORKERS"
	upgradeAdjust  = "_HOSTLER_UPGRADE_ADJUST"
)

// carryScale is what the next binary is to know of the number of workers.
func (s *supervisor) carryScale() (env []string) {
	if s.scales() {
		env = append(env, fmt.Sprintf("%s=%d", upgradeWorkers, s.target(s.set)))
	}
	if s.adjust != 0 || s.scaling.pinned {
		env = append(env, fmt.Sprintf("%s=%d", upgradeAdjust, s.adjust))
	}
	return env
}

// takeScale takes it over from the binary before us.
func (s *supervisor) takeScale() {
	take := func(name string) (int, bool) {
		n, err := strconv.Atoi(os.Getenv(name))
		os.Unsetenv(name)
		return n, err == nil
	}
	s.scaling.workers, _ = take(upgradeWorkers)
	if n, ok := take(upgradeAdjust); ok {
		s.adjust, s.scaling.pinned = n, s.set.MaxWorkers > 0
	}
}

// readMachine reads what the control groups and the machine have to offer.
func readMachine(root fs.FS) machine {
	m := machine{cpus: float64(runtime.NumCPU()), free: math.MaxInt64}
	if c, ok := cgroup.ReadCPU(root); ok {
		m.cpus, m.periods, m.throttled = min(m.cpus, c.Quota), c.Periods, c.Throttled
	}
	if p, ok := cgroup.Pressure(root); ok {
		m.pressure = p
	}
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "\nMemAvailable:")
		var kb int64
		if _, err := fmt.Sscanf(rest, "%d kB", &kb); err == nil {
			m.free = kb << 10
		}
	}
	if free, ok := cgroup.FreeMemory(root); ok {
		m.free = min(m.free, free)
	}
	return m
}

// anyPending reports whether a connection waits to be accepted.
func anyPending(ls []*listener) bool {
	fds := make([]unix.PollFd, len(ls))
	for i, l := range ls {
		fds[i] = unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN}
	}
	if n, err := unix.Poll(fds, 0); err != nil || n == 0 {
		return false
	}
	for _, fd := range fds {
		if fd.Revents&unix.POLLIN != 0 {
			return true
		}
	}
	return false
}
