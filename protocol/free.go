package protocol

import "sync/atomic"

// Free takes the slot back from a worker that has exited. What described that
// worker is cleared, so that nobody reads of a request that died with it;
// counters stay.
func (s *Slot) Free() {
	s.State.Store(uint32(SlotFree))
	s.clear()
	s.PID.Store(0)
	s.StartedAt.Store(0)
}

// clear sets back the gauges and thread records.
func (s *Slot) clear() {
	g := &s.Gauges
	for _, v := range []*atomic.Int64{&g.ConnsIdle, &g.ConnsReading, &g.ConnsRunning, &g.ConnsWriting, &g.Sockets,
		&g.QueueDepth, &g.QueueOldest, &g.Threads, &g.Heartbeat, &g.SpoolFiles, &g.SpoolBytes, &g.GILWanted, &g.Tasks, &g.TasksWaiting, &g.Unseen, &g.LoopSince} {
		v.Store(0)
	}
	g.Served.Store(0)
	for i := range s.Pools {
		s.Pools[i].Busy.Store(0)
		s.Pools[i].Depth.Store(0)
	}
	for i := range s.ThreadRecs {
		if t := &s.ThreadRecs[i]; t.start.Load() != 0 {
			t.End()
		}
	}
}

// MethodIndex returns the index of method in Methods; 0 if it is not there.
func MethodIndex(method string) int {
	for i := 1; i < len(Methods); i++ {
		if Methods[i] == method {
			return i
		}
	}
	return 0
}
