package metrics

import (
	"io/fs"
	"time"

	"hostler/internal/procstat"
)

// slotAccount is what is kept, from one scrape to the next, of the processes that have
// held a slot.
type slotAccount struct {
	cpuAccount
	of      procstat.Process // of whom pss is
	pss     float64          // bytes; 0: not known
	pssRead int64            // by the monotonic clock
}

// pssAge is how old the figure may be. The kernel walks all pages of a process for it, with
// the lock of its memory held.
const pssAge = 15 * time.Second

// share returns the proportional memory of p; 0 where it cannot be read.
func (a *slotAccount) share(proc fs.FS, p procstat.Process, now int64) float64 {
	if a.of.PID != p.PID || a.of.Born != p.Born || now-a.pssRead >= int64(pssAge) {
		a.of, a.pssRead = p, now
		a.pss, _ = procstat.PSS(proc, p.PID) // not everybody may
	}
	return a.pss
}

// cpuAccount is the CPU time of the processes that have held a slot. What those that are
// gone have used the master knows, from their ends; the one that holds it now is looked
// at. One that has just ended is for a moment neither: the account never goes back.
type cpuAccount struct{ seen float64 }

// total is all of it, where the one that holds the slot has used now.
func (a *cpuAccount) total(gone []float64, slot int, now float64) float64 {
	if slot < len(gone) {
		now += gone[slot]
	}
	a.seen = max(a.seen, now)
	return a.seen
}
