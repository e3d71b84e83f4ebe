package metrics

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
