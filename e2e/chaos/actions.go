package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/ctl"
)

// faults are all kinds, and what they do.
func faults() map[kind]func(*round, step) {
	return map[kind]func(*round, step){
		"kill":        (*round).killWorkers,
		"kill-boot":   (*round).killBooting,
		"term":        (*round).termWorker,
		"stop":        (*round).stopWorker,
		"freeze":      (*round).freezeWorker,
		"stop-master": (*round).stopMaster,
		"reload":      (*round).reload,
		"broken-code": (*round).reloadBroken,
		"upgrade":     (*round).upgrade,
		"broken-exe":  (*round).upgradeBroken,
		"more":        (*round).more,
		"fewer":       (*round).fewer,
		"reopen":      func(r *round, _ step) { r.signal(syscall.SIGUSR1) },
		"swap-log":    (*round).swapLog,
		"file-size":   (*round).fileSize,
		"fds-worker":  (*round).fewDescriptors,
		"fds-master":  (*round).fewInMaster,
		"app-fault":   func(r *round, _ step) { r.load.poison("/fault", 0, 10*time.Second) },
		"app-exit":    func(r *round, s step) { r.load.poison("/exit", float64(s.n%3), 10*time.Second) },
		"app-hold":    func(r *round, _ step) { r.load.poison("/hold", 0, 3*timeout) },
		"app-leak":    (*round).leak,
		"app-linger":  (*round).linger,
		"app-fds":     func(r *round, s step) { r.load.poison("/descriptors", s.last.Seconds(), 10*time.Second) },
		"app-raises":  func(r *round, _ step) { r.load.poison("/raises", 0, 10*time.Second) },
	}
}

// rootFaults need a file system of the server's own.
func rootFaults() map[kind]func(*round, step) {
	return map[kind]func(*round, step){"full-disk": (*round).fillDisk}
}

// moldFaults need --preload.
func moldFaults() map[kind]func(*round, step) {
	return map[kind]func(*round, step){
		"kill-mold": func(r *round, _ step) { r.toMold(syscall.SIGKILL) },
		"stop-mold": func(r *round, s step) {
			if pid := r.toMold(syscall.SIGSTOP); pid > 1 {
				time.Sleep(s.last)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		},
	}
}

func (r *round) toMold(sig syscall.Signal) int {
	pid := r.server.mold()
	if pid > 1 {
		_ = syscall.Kill(pid, sig)
	}
	return pid
}

// pick returns one of the serving workers, or 0.
func (r *round) pick(which int) int {
	pids := r.server.pids("serving")
	if len(pids) == 0 {
		return 0
	}
	return pids[which%len(pids)]
}

func (r *round) kill(pid int) {
	if pid > 1 && syscall.Kill(pid, syscall.SIGKILL) == nil {
		r.died(pid, "killed by the driver")
	}
}

func (r *round) killWorkers(s step) {
	r.kill(r.pick(s.which))
	if s.n%3 == 0 {
		r.kill(r.pick(s.which + 1))
	}
}

// killBooting makes the server boot workers and kills one of them.
func (r *round) killBooting(s step) {
	r.signal(syscall.SIGHUP)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if pids := r.server.pids("booting"); len(pids) > 0 {
			r.kill(pids[s.which%len(pids)])
			break
		}
	}
	r.settled() // whichever code it was, it is the same
}

func (r *round) termWorker(s step) {
	if pid := r.pick(s.which); pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
}

// stopWorker stops a worker for a while. A reload meanwhile finds it deaf, and
// kills it.
func (r *round) stopWorker(s step) {
	pid := r.pick(s.which)
	if pid <= 1 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	if s.n%4 == 0 {
		r.signal(syscall.SIGHUP)
		time.Sleep(graceful)
	}
	time.Sleep(s.last)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

// freezeWorker stops a worker for good. Whoever waits for its answers waits until the
// server has had enough of it.
func (r *round) freezeWorker(s step) {
	pid := r.pick(s.which)
	if pid <= 1 || syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return
	}
	for end := time.Now().Add(timeout + settling/2); len(processAt(pid)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.wrong("worker %d is frozen, and still there", pid)
			_ = syscall.Kill(pid, syscall.SIGCONT)
			return
		}
	}
}

// swapLog puts something else in the place of the access log, as a rotation that goes
// wrong would, and has the logs reopened; then it takes it away again.
func (r *round) swapLog(s step) {
	name := filepath.Join(r.server.logs, "access")
	put := []func() error{
		func() error { return unix.Mkfifo(name, 0o600) },
		func() error { return os.Mkdir(name, 0o700) },
		func() error { return os.Symlink(filepath.Join(r.server.logs, "no", "such", "file"), name) },
	}[s.n%3]
	if err := os.Rename(name, name+".1"); err != nil {
		r.wrong("the access log: %v", err)
		return
	}
	if err := put(); err != nil {
		r.wrong("%v", err)
	}
	r.signal(syscall.SIGUSR1)
	time.Sleep(s.last)
	if err := os.Remove(name); err != nil {
		r.wrong("%v", err)
	}
	for end := time.Now().Add(settling); ; time.Sleep(50 * time.Millisecond) {
		r.signal(syscall.SIGUSR1)
		if st, err := os.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			return
		}
		if time.Now().After(end) {
			r.wrong("nothing is written to the access log again")
			return
		}
	}
}

func (r *round) stopMaster(s step) {
	r.signal(syscall.SIGSTOP)
	if s.n%2 == 0 {
		// Signals to a process that is stopped wait for it.
		r.signal(syscall.SIGHUP)
	}
	time.Sleep(s.last)
	r.signal(syscall.SIGCONT)
}

// ended waits until the server has counted another reload, or upgrade, and says
// how it ended.
func (r *round) ended(counts func(*ctl.Status) map[string]uint64, begin func()) (result string) {
	before, err := r.server.status()
	if err != nil {
		r.wrong("no status: %v", err)
		return ""
	}
	begin()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		st, err := r.server.status()
		if err != nil {
			continue
		}
		for _, result := range []string{"success", "failure"} {
			if counts(st)[result] > counts(before)[result] {
				return result
			}
		}
	}
	return "nothing"
}

func reloads(st *ctl.Status) map[string]uint64  { return st.Master.Reloads }
func upgrades(st *ctl.Status) map[string]uint64 { return st.Master.Upgrades }

func (r *round) hup() { r.signal(syscall.SIGHUP) }

// reload brings new code, once or in a burst. If a worker is killed meanwhile, the
// server may give up; it is asked again then.
func (r *round) reload(s step) {
	r.settled() // nothing else may count as a reload
	r.server.version++
	if err := r.server.writeApp(fmt.Sprintf("VERSION = %q", r.server.code())); err != nil {
		r.wrong("%v", err)
		return
	}
	for tries := 0; ; tries++ {
		got := r.ended(reloads, func() {
			for range 1 + s.n%3 {
				r.signal(syscall.SIGHUP)
				time.Sleep(10 * time.Millisecond)
			}
		})
		switch {
		case got == "success":
			return
		case s.kill == 0 || tries == 3:
			r.wrong("a reload of good code ended in %s", got)
			return
		}
		r.calm()
	}
}

// reloadBroken offers code that does not load in one way or other.
func (r *round) reloadBroken(s step) {
	r.settled()
	broken := []string{"this is no Python", "raise RuntimeError('on purpose')", "os._exit(7)", "ctypes.string_at(0)", "import sys; sys.exit()", "application = None"}
	if err := r.server.writeApp(broken[s.n%len(broken)]); err != nil {
		r.wrong("%v", err)
		return
	}
	if got := r.ended(reloads, r.hup); got != "failure" {
		r.wrong("a reload of %q ended in %s", broken[s.n%len(broken)], got)
	}
	if err := r.server.writeApp(fmt.Sprintf("VERSION = %q", r.server.code())); err != nil {
		r.wrong("%v", err)
	}
}

func (r *round) upgrade(s step) {
	r.settled()
	old := r.server.master()
	r.signal(syscall.SIGUSR2)
	r.upgraded(old, func() bool {
		st, err := r.server.status()
		if err != nil || st.Master.PID != old || st.Master.Upgrades["failure"] <= r.failedUpgrades {
			return false
		}
		r.failedUpgrades = st.Master.Upgrades["failure"]
		if s.kill == 0 {
			r.wrong("an upgrade to the same binary failed")
		}
		return true
	})
}

// upgraded waits for the end of the old master, unless the upgrade failed.
func (r *round) upgraded(old int, failed func() bool) {
	for end := time.Now().Add(40 * time.Second); r.server.master() == old || len(processAt(old)) > 0; time.Sleep(20 * time.Millisecond) {
		if failed() {
			return
		}
		if time.Now().After(end) {
			r.wrong("the old master %d is still there", old)
			return
		}
	}
	r.renewed()
}

// renewed notes that there is a new master. How many workers there should be it has
// from the old one.
func (r *round) renewed() { r.failedUpgrades = 0 }

// initial is how many workers the settings ask for; 0: it depends.
func (r *round) initial() int {
	if r.shape.byNeed {
		return 0
	}
	return workers
}

// processAt is the state of a process, "" if it is gone.
func processAt(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return string(b) // a zombie's is empty
}

// upgradeBroken offers a binary that cannot run, ends at once, or hangs until it
// is killed.
func (r *round) upgradeBroken(s step) {
	r.settled()
	broken := []string{"#!/bin/sh\nexit 1\n", "no executable", "#!/bin/sh\nexec sleep 300\n", "#!/no/such/interpreter\n"}
	if err := replace(r.server.binary, []byte(broken[s.n%len(broken)]), 0o755); err != nil {
		r.wrong("%v", err)
		return
	}
	master := r.server.master()
	got := r.ended(upgrades, func() {
		r.signal(syscall.SIGUSR2)
		if s.n%len(broken) != 2 {
			return
		}
		time.Sleep(s.last)
		for _, pid := range descendants(master) {
			if line := commandLine(pid); line == "sleep 300" {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	if got != "failure" {
		r.wrong("an upgrade to %q ended in %s", broken[s.n%len(broken)], got)
	}
	r.failedUpgrades++
	if err := r.server.install(r.options.binary); err != nil {
		r.wrong("%v", err)
	}
}

// pinned makes the number of workers one that we know.
func (r *round) pinned(s step) {
	for r.target == 0 {
		s.n = 3*s.n + 1
		before := len(r.problems)
		if r.scale(s); len(r.problems) > before {
			return
		}
	}
}

func (r *round) more(s step) {
	r.pinned(s)
	if r.target < 5 {
		r.target++
		r.signal(syscall.SIGTTIN)
	}
}

func (r *round) fewer(s step) {
	r.pinned(s)
	if r.target > 1 {
		r.target--
		r.signal(syscall.SIGTTOU)
	}
}

// fillDisk leaves no room for logs.
func (r *round) fillDisk(s step) {
	name := filepath.Join(r.server.logs, "filler")
	f, err := os.Create(name)
	if err != nil {
		r.wrong("%v", err)
		return
	}
	for block := make([]byte, 1<<16); err == nil; {
		_, err = f.Write(block)
	}
	f.Close()
	time.Sleep(s.last)
	if err := os.Remove(name); err != nil {
		r.wrong("%v", err)
	}
}

// fileSize lets no process of the server write to a file.
func (r *round) fileSize(s step) {
	var undo func(int)
	for _, pid := range descendants(os.Getpid()) {
		if u, err := limit(pid, unix.RLIMIT_FSIZE, 1); err == nil {
			undo = u
		}
	}
	time.Sleep(s.last)
	for _, pid := range descendants(os.Getpid()) { // new ones have inherited it
		if undo != nil {
			undo(pid)
		}
	}
}

// fewDescriptors leaves a worker no descriptor.
func (r *round) fewDescriptors(s step) {
	pid := r.pick(s.which)
	if pid <= 1 {
		return
	}
	if undo, err := limit(pid, unix.RLIMIT_NOFILE, uint64(max(descriptors(pid), 0))); err == nil {
		if s.n%2 == 0 { // the others' connections would like to come here
			r.signal(syscall.SIGHUP)
		}
		time.Sleep(s.last)
		undo(pid)
	}
}

// fewInMaster leaves the master none, while it needs some.
func (r *round) fewInMaster(s step) {
	pid := r.server.master()
	victim := r.pick(s.which)
	undo, err := limit(pid, unix.RLIMIT_NOFILE, uint64(max(descriptors(pid), 0)))
	if err != nil {
		return
	}
	if s.n%2 == 0 {
		r.kill(victim)
	} else {
		r.signal(syscall.SIGHUP)
	}
	time.Sleep(s.last)
	undo(pid)
}

// leak makes workers too large.
func (r *round) leak(step) {
	for range 5 {
		r.load.poison("/leak", 40<<20, 10*time.Second)
	}
}

// lingering is how long children that the application forks stay at most.
const lingering = 3 * time.Second

func (r *round) linger(s step) {
	r.load.poison("/linger", min(2*s.last, lingering).Seconds(), 10*time.Second)
	if s.n%2 == 0 {
		r.kill(r.pick(s.which))
	}
}
