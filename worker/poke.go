package worker

// poke has a goroutine look at something once more, however often it is given before the
// goroutine takes it.
type poke chan struct{}

func newPoke() poke { return make(poke, 1) }

func (p poke) give() {
	select {
	case p <- struct{}{}:
	default:
	}
}
