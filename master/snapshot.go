package master

import (
	"maps"
	"time"

	"hostler/protocol"
)

// stats are the master's own counters.
type stats struct {
	version     string
	started     time.Time
	reloads     map[string]uint64
	reloadOK    bool
	reloadAt    time.Time
	reloadErr   string // why the last one failed; "": it did not
	exits       map[cause]uint64
	canaries    map[string]uint64
	upgrades    map[string]uint64
	orders      map[string]uint64 // of certificates
	timeouts    uint64
	hooksFailed uint64
	goneCPU     []float64 // by slot; replaced to be changed, since snapshots have it
	ended       []int     // likewise
}

func newStats(version string, now time.Time) stats {
	st := stats{version: version, started: now,
		reloads:  map[string]uint64{"success": 0, "failure": 0},
		canaries: map[string]uint64{canaryPassed: 0, canaryFailed: 0, canaryEnded: 0},
		upgrades: map[string]uint64{"success": 0, "failure": 0},
		orders:   map[string]uint64{"success": 0, "failure": 0},
		exits:    make(map[cause]uint64)}
	for _, c := range causes {
		st.exits[c] = 0
	}
	return st
}

// spent counts a worker that is gone, and adds its CPU time to that of its slot.
func (st *stats) spent(slot int, seconds float64) {
	st.goneCPU = more(st.goneCPU, slot, seconds)
	st.ended = more(st.ended, slot, 1)
}

// more returns a copy of all with n added to one of it.
func more[T int | float64](all []T, at int, n T) []T {
	all = append(make([]T, 0, max(len(all), at+1)), all...)
	all = all[:max(len(all), at+1)]
	all[at] += n
	return all
}

func (st *stats) reloaded(err error, now time.Time) {
	st.reloadOK, st.reloadAt, st.reloadErr = err == nil, now, ""
	if err != nil {
		st.reloadErr = err.Error()
		st.reloads["failure"]++
		return
	}
	st.reloads["success"]++
}

// publish makes an immutable copy of the state for other goroutines.
func (s *supervisor) publish() {
	v := &protocol.Snapshot{
		Version: s.stats.version, App: s.set.App, Name: s.set.Name,
		Started:              s.stats.started,
		Ready:                s.phase == phaseServing,
		Stopping:             s.phase >= phaseStopping,
		TargetWorkers:        s.target(s.set),
		MinWorkers:           s.set.Workers,
		MaxWorkers:           max(s.set.Workers, s.set.MaxWorkers),
		Pinned:               s.scaling.pinned,
		ThreadsPerWorker:     s.set.Threads,
		Reloads:              maps.Clone(s.stats.reloads),
		LastReloadSuccessful: s.stats.reloadOK,
		LastReload:           s.stats.reloadAt,
		Canaries:             maps.Clone(s.stats.canaries),
		LastReloadError:      s.stats.reloadErr,
		Exits:                make(map[string]uint64, len(s.stats.exits)),
		RequestTimeouts:      s.stats.timeouts,
		Upgrades:             maps.Clone(s.stats.upgrades),
		BootFailures:         s.backoff.failures,
		HookFailures:         s.stats.hooksFailed,
		GoneCPU:              s.stats.goneCPU,
		Ended:                s.stats.ended,
	}
	if s.current != nil {
		v.Generation = s.current.number
		if c := s.current.certs; c != nil {
			v.Certificates, v.CertificatesFailed, v.CertificatesMissing = c.list, c.failed, c.missing
			if len(c.set.ACME.Certs) > 0 {
				v.CertificateOrders = maps.Clone(s.stats.orders)
			}
		}
	}
	if s.backoff.failures > 0 && s.backoff.wait(s.clock.now()) {
		v.NextBoot = s.backoff.next
	}
	for c, n := range s.stats.exits {
		v.Exits[string(c)] = n
	}
	if s.current != nil {
		for _, l := range s.listeners() {
			if q := l.queue; q.known {
				v.ListenQueues = append(v.ListenQueues, protocol.ListenQueue{Address: l.String(), Depth: q.depth, Limit: q.limit})
			}
			if l.dead {
				v.DeadListeners = append(v.DeadListeners, l.String())
			}
		}
	}
	for _, w := range s.workers {
		v.Workers = append(v.Workers, protocol.WorkerStatus{
			Slot: w.slot, Number: w.number(), PID: w.proc.PID(), Generation: w.gen.number,
			State: w.slotState(), Frozen: w.frozen && w.state == stateServing, Started: w.started, ReadySince: w.ready, Pools: w.gen.set.Pools,
		})
	}
	s.view.Store(v)
}
