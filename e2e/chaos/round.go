package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hostler/ctl"
)

const (
	// clients is how many keep the server busy.
	clients = 10
	// talkers have WebSockets beside them, where there are any.
	talkers = 6
	// stamp is how times are written in the report.
	stamp = "15:04:05.000"
	// settling is how long the server may take to be whole again: the back-off
	// between failed boots is up to 10 s, and what is stuck or stopped has its
	// time limits.
	settling = 45 * time.Second
)

// round is the life of one server.
type round struct {
	options options
	shape   *shape
	server  *server
	load    *load
	faults  map[kind]func(*round, step)
	plan    *plan

	target         int
	failedUpgrades uint64
	journal        []string // of what was done
	samples        map[int][]sample
	workerFDs      int // of a worker that nobody is connected to

	mu       sync.Mutex
	problems []string
	deaths   []death
}

// sample is what a master used when it was at rest.
type sample struct {
	memory int64
	fds    int // without those that it has for each worker
}

// summary is what there is to tell of a round that held.
type summary struct {
	answered     uint64
	steps        int
	named, timed int
	deaths       int
	scrapes      int
}

// torment runs one round. The problems are the promises that were broken.
func torment(kids *children, o options, seed uint64, shape *shape, length time.Duration) (sum summary, journal, problems []string, log string) {
	r := &round{options: o, shape: shape, samples: make(map[int][]sample)}
	r.target = r.initial()
	shm := sharedMemory()
	dir, logs, unmount, err := places()
	if err != nil {
		return sum, nil, []string{err.Error()}, ""
	}
	defer os.RemoveAll(dir)
	defer unmount()
	r.faults = faults()
	maps.Copy(r.faults, controls())
	if shape.preload {
		maps.Copy(r.faults, moldFaults())
	}
	if logs != dir {
		maps.Copy(r.faults, rootFaults())
	}
	r.plan = newPlan(seed, slices.Sorted(maps.Keys(r.faults)))
	if r.server, err = start(kids, o, dir, logs, shape); err == nil {
		err = r.server.run()
	}
	if err != nil {
		return sum, nil, []string{err.Error()}, ""
	}
	r.settled()
	r.warmUp(seed)
	scraper := startScraper(r.server.admin)
	stopWatching := r.watchDeaths()
	r.load = startLoad(r.server.addr, shape, clients, seed)

	for end := time.Now().Add(length); time.Now().Before(end) && len(r.problems) == 0; {
		r.take(r.plan.next())
		sum.steps++
		if sum.steps%6 == 0 {
			r.settled()
		}
	}
	r.settled()
	r.load.end()
	r.atRest()
	stopWatching()
	wrong, scrapes := scraper.end()
	r.problems = append(r.problems, wrong...)
	r.leave()
	if now := sharedMemory(); !slices.Equal(now, shm) {
		r.wrong("shared memory was %v and is %v", shm, now)
	}
	r.flat()

	log = r.server.errorLog()
	died, lost := readLog(log)
	r.deaths = append(r.deaths, died...)
	guilty, named, timed := blame(r.load.failures, r.deaths, lost)
	for i, f := range guilty {
		if i == 10 {
			r.wrong("… and %d more requests", len(guilty)-i)
			break
		}
		r.wrong("a request failed, and no process had died: %v%s", &f, r.server.accessLog(f.id))
	}
	sum.answered, sum.named, sum.timed, sum.deaths, sum.scrapes = r.load.ok.Load(), named, timed, len(died), scrapes
	if sum.answered < 100 {
		r.wrong("only %d requests were answered", sum.answered)
	}
	return sum, r.journal, r.problems, log
}

// warmUp has every kind of request made before anything goes wrong, and notes how
// many descriptors a worker then keeps: some it opens when it first needs them.
func (r *round) warmUp(seed uint64) {
	r.load = startLoad(r.server.addr, r.shape, clients, seed)
	time.Sleep(time.Second)
	r.load.end()
	for _, f := range r.load.failures {
		r.wrong("a request failed before anything was done: %v", &f)
	}
	for range 10 { // the connections end
		time.Sleep(50 * time.Millisecond)
		most := 0
		for _, pid := range r.server.pids("serving") {
			most = max(most, descriptors(pid))
		}
		if r.workerFDs == 0 || most < r.workerFDs {
			r.workerFDs = most
		}
	}
}

// take does what a step says.
func (r *round) take(s step) {
	begin := time.Now()
	var wg sync.WaitGroup
	if s.kill > 0 {
		wg.Go(func() {
			time.Sleep(s.kill)
			r.kill(r.pick(s.which + 2))
		})
	}
	r.faults[s.kind](r, s)
	wg.Wait()
	r.journal = append(r.journal, fmt.Sprintf("%s %v (took %v)", begin.Format(stamp), s, time.Since(begin).Round(time.Millisecond)))
	time.Sleep(s.pause)
}

func (r *round) signal(sig syscall.Signal) { r.server.signal(sig) }

// wrong notes down that a promise was broken.
func (r *round) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, time.Now().Format(stamp)+" "+fmt.Sprintf(format, args...))
}

func (r *round) died(pid int, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaths = append(r.deaths, death{pid, time.Now(), how})
}

// watchDeaths reads the master's journal all along: where the disk is full the log
// misses some.
func (r *round) watchDeaths() (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		known := make(map[string]bool)
		for {
			select {
			case <-end:
				return
			case <-time.After(200 * time.Millisecond):
			}
			var got ctl.Events
			if r.server.ask(http.MethodGet, "events", nil, &got) != nil {
				continue
			}
			for _, e := range got.Events {
				id := fmt.Sprint(e.PID, e.Time)
				if (e.Kind == "worker_died" || e.Kind == "worker_killed") && !known[id] {
					known[id] = true
					r.mu.Lock()
					r.deaths = append(r.deaths, death{e.PID, e.Time, e.Kind + " " + e.Text})
					r.mu.Unlock()
				}
			}
		}
	})
	return func() { close(end); wg.Wait() }
}

// settled waits until the server is as it should be: so many workers, all of them
// serving, of the right code.
func (r *round) settled() { r.rests(r.wrongCode) }

// calm waits like settled, but after a reload that has failed: then workers that
// started before it and after it have not the same code.
func (r *round) calm() { r.rests(func() string { return "" }) }

func (r *round) rests(wrong func() string) {
	why, there := "", 0
	for end := time.Now().Add(settling); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		st, err := r.server.status()
		if err != nil {
			why = err.Error()
			continue
		}
		there = len(st.Workers)
		if why = r.unsettled(st); why == "" {
			why = wrong()
		}
		if why == "" {
			break
		}
	}
	if why != "" {
		r.wrong("the server does not come to rest: %s", why)
		return
	}
	pid := r.server.master()
	r.samples[pid] = append(r.samples[pid], sample{memory(pid), descriptors(pid) - there})
}

func (r *round) unsettled(st *ctl.Status) string {
	serving := 0
	for _, w := range st.Workers {
		if w.State == "serving" {
			serving++
		}
	}
	want := r.target
	if want == 0 { // it is the master's to say
		want = min(max(st.Master.TargetWorkers, workers), mostWorkers)
	}
	if serving != want || len(st.Workers) != want || st.Master.TargetWorkers != want {
		return fmt.Sprintf("%d workers, of which %d serve, %d wanted by the master, and %d by us", len(st.Workers), serving, st.Master.TargetWorkers, want)
	}
	return ""
}

// wrongCode asks the application which code it is.
func (r *round) wrongCode() string {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: r.shape.encryption("http/1.1")}}
	scheme := "http://"
	if r.shape.tls {
		scheme = "https://"
	}
	text, err := get(c, scheme+r.server.addr+"/quick?id=0")
	if err != nil {
		return "" // a promise about requests, which the load will find broken
	}
	if f := strings.Fields(text); len(f) != 3 || f[2] != r.server.code() {
		return fmt.Sprintf("%q is not of the code %s", text, r.server.code())
	}
	return ""
}

// atRest looks at the descriptors of master and workers when no client is there
// any more.
func (r *round) atRest() {
	soon := func(what string, pid, most int) {
		have := 0
		for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if have = descriptors(pid); have <= most {
				return
			}
		}
		r.wrong("%s %d has %d descriptors, not %d: %s", what, pid, have, most, openFiles(pid))
	}
	for _, pid := range r.server.pids("serving") {
		soon("worker", pid, r.workerFDs)
	}
	if master := r.server.master(); len(r.samples[master]) > 1 {
		least := slices.MinFunc(r.samples[master], func(a, b sample) int { return a.fds - b.fds }).fds
		// After an upgrade that failed the null device stands for each address.
		const addresses = 2
		soon("master", master, least+len(r.server.pids("serving"))+addresses)
	}
}

// leave stops the server and looks at what it leaves behind.
func (r *round) leave() {
	pid := r.server.master()
	if r.server.front != nil {
		if err := r.server.front.stop(); err != nil {
			r.wrong("%v", err)
		}
	}
	r.signal(syscall.SIGTERM)
	for end := time.Now().Add(2*graceful + 5*time.Second); len(processAt(pid)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.wrong("the master does not stop")
			break
		}
	}
	time.Sleep(200 * time.Millisecond)
	for end := time.Now().Add(lingering); len(descendants(os.Getpid())) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond) // for the application's own children
	}
	for _, pid := range descendants(os.Getpid()) {
		r.wrong("process %d is left behind: %s", pid, commandLine(pid))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, name := range []string{"pid", "ctl*", "socket*"} {
		if left, _ := filepath.Glob(filepath.Join(r.server.dir, name)); len(left) > 0 {
			r.wrong("files are left behind: %v", left)
		}
	}
}

// flat compares the memory that a master had at rest early and late in its life.
func (r *round) flat() {
	for pid, all := range r.samples {
		n := len(all) / 3
		if n < 2 {
			continue
		}
		middle := func(part []sample) int64 {
			var m []int64
			for _, s := range part {
				m = append(m, s.memory)
			}
			slices.Sort(m)
			return m[len(m)/2]
		}
		if early, late := middle(all[:n]), middle(all[len(all)-n:]); late > early+early/4+4<<20 {
			r.wrong("the memory of master %d went from %.1f to %.1f MB", pid, float64(early)/(1<<20), float64(late)/(1<<20))
		}
	}
}

func sharedMemory() []string {
	names, _ := filepath.Glob("/dev/shm/*")
	b, _ := os.ReadFile("/proc/sysvipc/shm")
	return append(names, fmt.Sprint(strings.Count(string(b), "\n")))
}

// places makes a directory for the server and, for root, a small file system in it
// that can be full.
func places() (dir, logs string, unmount func(), err error) {
	if dir, err = os.MkdirTemp("", "chaos"); err != nil {
		return "", "", nil, err
	}
	logs = filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		return "", "", nil, err
	}
	if syscall.Mount("tmpfs", logs, "tmpfs", 0, "size=32m") != nil {
		return dir, dir, func() {}, nil
	}
	return dir, logs, func() { _ = syscall.Unmount(logs, syscall.MNT_DETACH) }, nil
}
