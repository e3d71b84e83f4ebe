package admin

import (
	"cmp"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"hostler/protocol"
)

// Status is what /status answers. Fields are added, but none is renamed or
// removed within a major version. Ages are seconds.
type Status struct {
	Time        time.Time      `json:"time"`
	Master      MasterStatus   `json:"master"`
	Connections Connections    `json:"connections"` // of all workers
	Queue       Queue          `json:"queue"`       // of all workers
	Threads     ThreadCount    `json:"threads"`     // of all workers
	Workers     []WorkerStatus `json:"workers"`     // by number
}

// MasterStatus is the master and what it has counted.
type MasterStatus struct {
	Version          string            `json:"version"`
	PID              int               `json:"pid"`
	App              string            `json:"app"`
	Name             string            `json:"name,omitempty"`
	Started          time.Time         `json:"started"`
	Uptime           float64           `json:"uptime_seconds"`
	Ready            bool              `json:"ready"`
	Stopping         bool              `json:"stopping"`
	Generation       int               `json:"generation"`
	TargetWorkers    int               `json:"target_workers"`
	MinWorkers       int               `json:"min_workers"`
	MaxWorkers       int               `json:"max_workers"`
	Pinned           bool              `json:"workers_pinned"` // by an operator, against min and max
	ThreadsPerWorker int               `json:"threads_per_worker"`
	Reloads          map[string]uint64 `json:"reloads"`     // by result
	LastReload       *Reload           `json:"last_reload"` // null: there was none
	Upgrades         map[string]uint64 `json:"upgrades"`    // by result
	WorkerExits      map[string]uint64 `json:"worker_exits"`
	RequestTimeouts  uint64            `json:"request_timeouts"`
	BootFailures     int               `json:"boot_failures"` // in a row
	NextBoot         *time.Time        `json:"next_boot"`     // null: none is put off
}

// Reload is how the last reload ended.
type Reload struct {
	Time       time.Time `json:"time"`
	Successful bool      `json:"successful"`
	Error      string    `json:"error,omitempty"` // why it was not
}

// Connections counts open connections by what they are in.
type Connections struct {
	Idle    int64 `json:"idle"`
	Reading int64 `json:"reading"`
	Running int64 `json:"running"`
	Writing int64 `json:"writing"`
}

// Queue is the whole requests that wait for a Python thread.
type Queue struct {
	Depth     int64   `json:"depth"`
	OldestAge float64 `json:"oldest_age_seconds"` // 0: none waits
}

// Spool is the request bodies that are in files.
type Spool struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// ThreadCount counts Python threads.
type ThreadCount struct {
	Total int `json:"total"`
	Busy  int `json:"busy"`
}

// WorkerStatus is one worker process.
type WorkerStatus struct {
	Worker      int            `json:"worker"` // as in logs, metrics and process titles
	Slot        int            `json:"slot"`
	PID         int            `json:"pid"`
	Generation  int            `json:"generation"`
	State       string         `json:"state"` // booting, serving, draining; frozen: it should serve, and gives no sign of life
	Started     time.Time      `json:"started"`
	Age         float64        `json:"age_seconds"`
	ReadySince  *time.Time     `json:"ready_since"` // null: it boots
	Requests    uint64         `json:"requests"`    // begun by this process
	Connections Connections    `json:"connections"`
	Queue       Queue          `json:"queue"`
	Spool       Spool          `json:"spool"`
	Threads     []ThreadStatus `json:"threads"`
	Loop        *LoopStatus    `json:"loop,omitempty"` // absent: it has threads
}

// LoopStatus is an event loop, or gevent's hub.
type LoopStatus struct {
	Tasks      int64   `json:"tasks"`         // requests that it runs
	Waiting    int64   `json:"tasks_waiting"` // … that wait, as it runs --worker-concurrency of them
	WebSockets int64   `json:"websockets"`
	Away       float64 `json:"away_seconds"` // how long it has been busy with what it is at; 0: it waits
	// Requests are those under way, the oldest first, and then the WebSockets: the oldest 255.
	Requests []Running `json:"requests"`
	Unseen   int64     `json:"unseen"` // how many more there are of both
}

// ThreadStatus is one Python thread.
type ThreadStatus struct {
	Thread  int            `json:"thread"`
	State   string         `json:"state"`   // idle, busy
	Request *RequestStatus `json:"request"` // null: idle
}

// Running is a request that is under way. Method, target and client are empty if the
// worker died, or hangs, in the moment of writing them down.
type Running struct {
	Method    string  `json:"method"`
	Target    string  `json:"target"` // its query string is "…" unless that was asked for (--admin-queries); cut if it is long
	Client    string  `json:"client"`
	Age       float64 `json:"age_seconds"`
	WebSocket bool    `json:"websocket,omitempty"` // it has become one
}

// RequestStatus is the request that a thread runs.
type RequestStatus struct {
	Running
	// Clock is what --timeout is held against: how long it has been computing. It is 0
	// while the request waits for its client.
	Clock          float64 `json:"clock_seconds"`
	WaitsForClient bool    `json:"waits_for_client,omitempty"`
}

// Current returns what /status would answer now.
func Current(o Options) Status {
	st, _ := newServer(o).status()
	return st
}

// status returns it with the snapshot that it is of.
func (s *server) status() (Status, *protocol.Snapshot) {
	snap := s.o.Snapshot()
	now, mono := s.now(), s.mono()
	st := Status{Time: now.UTC(), Master: masterStatus(&snap, now), Workers: []WorkerStatus{}}
	for i := range snap.Workers {
		w := &snap.Workers[i]
		if w.Slot < 0 || w.Slot >= protocol.MaxSlots {
			continue
		}
		ws := workerStatus(w, s.o.Board.Slot(w.Slot), now, mono)
		st.Workers = append(st.Workers, ws)
		st.Connections.Idle += ws.Connections.Idle
		st.Connections.Reading += ws.Connections.Reading
		st.Connections.Running += ws.Connections.Running
		st.Connections.Writing += ws.Connections.Writing
		st.Queue.Depth += ws.Queue.Depth
		st.Queue.OldestAge = max(st.Queue.OldestAge, ws.Queue.OldestAge)
		st.Threads.Total += len(ws.Threads)
		for _, t := range ws.Threads {
			if t.Request != nil {
				st.Threads.Busy++
			}
		}
	}
	if s.o.Queries == nil || !s.o.Queries() {
		st.dropQueries()
	}
	slices.SortFunc(st.Workers, func(a, b WorkerStatus) int { return a.Slot - b.Slot })
	return st, &snap
}

// dropQueries cuts off what may be private.
func (st *Status) dropQueries() {
	for _, w := range st.Workers {
		for _, t := range w.Threads {
			if t.Request == nil {
				continue
			}
			t.Request.Target = withoutQuery(t.Request.Target)
		}
		if w.Loop != nil {
			for i := range w.Loop.Requests {
				w.Loop.Requests[i].Target = withoutQuery(w.Loop.Requests[i].Target)
			}
		}
	}
}

func withoutQuery(target string) string {
	if path, _, has := strings.Cut(target, "?"); has {
		return path + "?…"
	}
	return target
}

func masterStatus(snap *protocol.Snapshot, now time.Time) MasterStatus {
	m := MasterStatus{
		Version: snap.Version, PID: os.Getpid(), App: snap.App, Name: snap.Name,
		Started: snap.Started.UTC(), Uptime: age(now.Sub(snap.Started)),
		Ready: snap.Ready, Stopping: snap.Stopping, Generation: snap.Generation,
		TargetWorkers: snap.TargetWorkers, MinWorkers: snap.MinWorkers, MaxWorkers: snap.MaxWorkers, Pinned: snap.Pinned,
		ThreadsPerWorker: snap.ThreadsPerWorker,
		Reloads:          snap.Reloads, Upgrades: snap.Upgrades, WorkerExits: snap.Exits,
		RequestTimeouts: snap.RequestTimeouts, BootFailures: snap.BootFailures, NextBoot: when(snap.NextBoot),
	}
	if !snap.LastReload.IsZero() {
		m.LastReload = &Reload{Time: snap.LastReload.UTC(), Successful: snap.LastReloadSuccessful, Error: snap.LastReloadError}
	}
	return m
}

func workerStatus(w *protocol.WorkerStatus, slot *protocol.Slot, now time.Time, mono int64) WorkerStatus {
	g := &slot.Gauges
	ws := WorkerStatus{
		Worker: w.Number, Slot: w.Slot, PID: w.PID, Generation: w.Generation, State: w.StateName(),
		Started: w.Started.UTC(), Age: age(now.Sub(w.Started)), ReadySince: when(w.ReadySince),
		Requests: g.Served.Load(),
		// A gauge that several threads count may be below zero for a moment.
		Connections: Connections{Idle: max(g.ConnsIdle.Load(), 0), Reading: max(g.ConnsReading.Load(), 0),
			Running: max(g.ConnsRunning.Load(), 0), Writing: max(g.ConnsWriting.Load(), 0)},
		Queue:   Queue{Depth: max(g.QueueDepth.Load(), 0)},
		Spool:   Spool{Files: max(g.SpoolFiles.Load(), 0), Bytes: max(g.SpoolBytes.Load(), 0)},
		Threads: []ThreadStatus{},
	}
	if oldest := g.QueueOldest.Load(); oldest != 0 {
		ws.Queue.OldestAge = age(time.Duration(mono - oldest))
	}
	if since := g.LoopSince.Load(); since != 0 {
		ws.Loop = &LoopStatus{Tasks: max(g.Tasks.Load(), 0), Waiting: max(g.TasksWaiting.Load(), 0), WebSockets: max(g.Sockets.Load(), 0), Unseen: max(g.Unseen.Load(), 0)}
		if since > protocol.LoopRests {
			ws.Loop.Away = age(time.Duration(mono - since))
		}
		ws.Loop.Requests = loopRequests(slot, ws.Loop.Tasks+ws.Loop.WebSockets-ws.Loop.Unseen, mono)
	}
	for i := range min(max(g.Threads.Load(), 0), protocol.MaxThreads) {
		t := ThreadStatus{Thread: int(i), State: "idle"}
		if a, busy := slot.ThreadRecs[i].Snapshot(); busy {
			t.State = "busy"
			t.Request = &RequestStatus{Running: running(&a, mono)}
			if since := slot.ThreadRecs[i].ClockSince(a.Start); since != 0 {
				t.Request.Clock = age(time.Duration(mono - since))
			} else {
				t.Request.WaitsForClient = true
			}
		}
		ws.Threads = append(ws.Threads, t)
	}
	return ws
}

func running(a *protocol.Activity, mono int64) Running {
	return Running{Method: a.Method, Target: a.Target, Client: a.Client, Age: age(time.Duration(mono - a.Start)), WebSocket: a.Socket}
}

// loopRequests are those that an event loop has under way, most at most. The records that were
// never used lie behind the others, and are not looked at: that would be memory.
func loopRequests(slot *protocol.Slot, most, mono int64) []Running {
	all := []Running{}
	for i := range slot.ThreadRecs {
		if int64(len(all)) >= most {
			break
		}
		if a, busy := slot.ThreadRecs[i].Snapshot(); busy && !(i == 0 && a.Logged) { // it is a step of another's
			all = append(all, running(&a, mono))
		}
	}
	slices.SortStableFunc(all, ByAge)
	return all
}

// ByAge orders requests: the oldest first. A WebSocket is old because it is one, and comes
// after what somebody waits for.
func ByAge(a, b Running) int {
	if a.WebSocket != b.WebSocket {
		if a.WebSocket {
			return 1
		}
		return -1
	}
	return cmp.Compare(b.Age, a.Age)
}

// age is d in seconds, to the millisecond and never below 0.
func age(d time.Duration) float64 { return math.Round(max(d, 0).Seconds()*1e3) / 1e3 }

// when is t, and nil for the zero time.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
