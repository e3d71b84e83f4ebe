package protocol

// Place is where in which trace a request is that its worker will tell of (see Span). It is on
// the scoreboard, so that the master can if the worker dies.
type Place struct {
	Trace    [16]byte
	ID       [8]byte
	Parent   [8]byte
	Arrived  int64 // CLOCK_MONOTONIC nanoseconds
	Flags    byte
	Security byte // 0: its client speaks http, else https
}

// Trace says where the request that began at start is in its trace. The words of a place are
// plain ones, since nobody reads them while their writer lives: atomic ones would cost as much
// as Begin.
func (t *Thread) Trace(start int64, p Place) {
	t.place = p
	t.placeOf.Store(start)
}

// Told says that the worker tells of the request that began at start.
func (t *Thread) Told(start int64) { t.placeOf.CompareAndSwap(start, 0) }

// Place returns where the request that began at start is in its trace; false: nobody is to tell
// of it. The thread's writer has ended.
func (t *Thread) Place(start int64) (Place, bool) {
	if start == 0 || t.placeOf.Load() != start {
		return Place{}, false
	}
	return t.place, true
}
