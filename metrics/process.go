package metrics

import "hostler/internal/procstat"

// cpuAccount adds up the CPU time of the processes that hold a slot one after
// the other.
type cpuAccount struct {
	pid  int
	born uint64
	last float64 // of the process above, when it was last seen
	gone float64 // of all before it
}

// see takes in that p holds the slot.
func (a *cpuAccount) see(p procstat.Process) {
	if a.pid != p.PID || a.born != p.Born {
		a.gone += a.last
		a.pid, a.born, a.last = p.PID, p.Born, 0
	}
	a.last = max(a.last, p.CPU)
}

func (a *cpuAccount) total() float64 { return a.gone + a.last }
