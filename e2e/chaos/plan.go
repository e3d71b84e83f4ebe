package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// kind is a fault, or something else that operators do to servers.
type kind string

// step is one action of a plan: what, to whom, for how long, and whether a worker
// dies meanwhile.
type step struct {
	kind  kind
	which int           // which of those that may be hit, modulo how many there are
	n     int           // times, or a choice, by kind
	last  time.Duration // how long it lasts
	kill  time.Duration // a worker is killed so long after the begin; 0: none
	pause time.Duration // before the next
}

func (s step) String() string {
	text := fmt.Sprintf("%-12s which=%d n=%d last=%v", s.kind, s.which, s.n, s.last)
	if s.kill > 0 {
		text += fmt.Sprintf(" kill-after=%v", s.kill)
	}
	return text
}

// plan deals out steps like cards: every kind comes once before any comes again.
type plan struct {
	rand  *rand.Rand
	kinds []kind
	deck  []kind
}

func newPlan(seed uint64, kinds []kind) *plan {
	return &plan{rand: rand.New(rand.NewPCG(seed, 0)), kinds: kinds}
}

func (p *plan) next() step {
	if len(p.deck) == 0 {
		p.deck = append(p.deck, p.kinds...)
		p.rand.Shuffle(len(p.deck), func(i, j int) { p.deck[i], p.deck[j] = p.deck[j], p.deck[i] })
	}
	s := step{
		kind:  p.deck[0],
		which: p.rand.IntN(1 << 16),
		n:     p.rand.IntN(1 << 16),
		last:  p.upTo(1500),
		pause: p.upTo(400),
	}
	p.deck = p.deck[1:]
	if p.rand.IntN(4) == 0 {
		s.kill = p.upTo(600)
	}
	return s
}

// upTo is a time of at least a tenth of ms milliseconds.
func (p *plan) upTo(ms int) time.Duration {
	return time.Duration(ms/10+p.rand.IntN(ms*9/10)) * time.Millisecond
}
