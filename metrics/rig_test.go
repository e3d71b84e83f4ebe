package metrics

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"hostler/protocol"
)

var reasons = []string{"none", "bare_lf", "", "bad_host"}

// rig is a Collector over a real scoreboard and a world that tests change.
type rig struct {
	t     testing.TB
	board *protocol.Scoreboard
	c     *Collector

	mu   sync.Mutex
	snap protocol.Snapshot
	proc fstest.MapFS
	used map[int]float64 // CPU time, by pid
}

func newRig(t testing.TB) *rig {
	t.Helper()
	b, f, err := protocol.CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); f.Close() })
	r := &rig{t: t, board: b, proc: fstest.MapFS{}, used: make(map[int]float64)}
	r.snap = protocol.Snapshot{
		Version: "1.2.3", App: "app:app", Started: time.Unix(1000, 0), Generation: 1, Ready: true, TargetWorkers: 2, MinWorkers: 1, MaxWorkers: 4,
		ThreadsPerWorker: 2, Exits: map[string]uint64{"exit": 0, "signal": 0},
		Reloads: map[string]uint64{"success": 0, "failure": 0}, Upgrades: map[string]uint64{"success": 0, "failure": 0},
	}
	r.c, err = New(Options{Board: b, RejectReasons: reasons, Snapshot: func() protocol.Snapshot {
		r.mu.Lock()
		defer r.mu.Unlock()
		s := r.snap
		s.Workers = append([]protocol.WorkerStatus(nil), s.Workers...)
		return s
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.c.proc = r.proc
	return r
}

// start puts a serving worker into a slot.
func (r *rig) start(slot, pid int) *protocol.Slot {
	s := r.board.Slot(slot)
	s.Assign(1, 2)
	s.PID.Store(int64(pid))
	s.State.Store(uint32(protocol.SlotServing))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snap.Workers = append(r.snap.Workers, protocol.WorkerStatus{Slot: slot, Number: slot + 1, PID: pid, Generation: 1,
		State: protocol.SlotServing, Started: time.Unix(2000, 5e8), ReadySince: time.Unix(2001, 0)})
	return s
}

// end takes the worker out of its slot.
func (r *rig) end(slot int, cause string) {
	r.board.Slot(slot).Free()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, w := range r.snap.Workers {
		if w.Slot == slot {
			delete(r.proc, strconv.Itoa(w.PID)+"/stat")
			gone := make([]float64, max(len(r.snap.GoneCPU), slot+1))
			copy(gone, r.snap.GoneCPU)
			gone[slot] += r.used[w.PID]
			r.snap.GoneCPU = gone
			r.snap.Workers = append(r.snap.Workers[:i], r.snap.Workers[i+1:]...)
			break
		}
	}
	r.snap.Exits[cause]++
}

// stat says what /proc shows for pid: CPU time in ticks of 10 ms, memory in pages.
func (r *rig) stat(pid, born, user, system, pages int) {
	r.used[pid] = float64(user+system) / 100
	r.proc[strconv.Itoa(pid)+"/stat"] = &fstest.MapFile{Data: []byte(fmt.Sprintf(
		"%d (py) thon (x) S 1 1 1 0 -1 4194560 100 0 0 0 %d %d 7 7 20 0 3 0 %d 123456 %d 18446744073709551615 1 1\n",
		pid, user, system, born, pages))}
}

// files gives pid so many open files, of 1024.
func (r *rig) files(pid, n int) {
	dir := strconv.Itoa(pid)
	for i := range n {
		r.proc[dir+"/fd/"+strconv.Itoa(i)] = &fstest.MapFile{}
	}
	r.proc[dir+"/limits"] = &fstest.MapFile{Data: []byte("Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             7                    8                    processes \nMax open files            1024                 4096                 files     \n")}
}

// share gives pid so many kilobytes of memory.
func (r *rig) share(pid, kB int) {
	r.proc[strconv.Itoa(pid)+"/smaps_rollup"] = &fstest.MapFile{Data: []byte(fmt.Sprintf("0-1 ---p 0 00:00 0 [rollup]\nRss: 9000 kB\nPss: %d kB\n", kB))}
}

// scrape returns the whole exposition as Prometheus would read it.
func (r *rig) scrape() string {
	r.t.Helper()
	h, err := Handler(r.c, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		r.t.Fatalf("a scrape got %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// samples are the values of a scrape by series.
func (r *rig) samples() map[string]float64 { return parse(r.t, r.scrape()) }

func parse(t testing.TB, text string) map[string]float64 {
	t.Helper()
	m := make(map[string]float64)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if _, dup := m[line[:i]]; dup {
			t.Errorf("series %s is there twice", line[:i])
		}
		m[line[:i]] = v
	}
	return m
}

func (r *rig) want(what string, want map[string]float64) {
	r.t.Helper()
	got := r.samples()
	for series, v := range want {
		if g, ok := got[series]; !ok || g != v {
			r.t.Errorf("%s: %s is %v (there: %v), want %v", what, series, g, ok, v)
		}
	}
}
