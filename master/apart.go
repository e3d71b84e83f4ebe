package master

import (
	"log/slog"
	"sync"
	"time"
)

// Nothing that can block runs in the state goroutine; see the package's text.

// thenEvent is what remains to be done in the state goroutine when something has
// been done apart from it.
type thenEvent struct{ do func() }

// apart runs do in a goroutine of its own, and then what it returns in the state
// goroutine.
func (s *supervisor) apart(do func() (then func())) {
	go func() {
		if then := do(); then != nil {
			s.post(thenEvent{then})
		}
	}()
}

// errandTime is how long an errand may take until that is said.
const errandTime = 10 * time.Second

// clerk runs errands one after the other, apart from who has them run. One that
// does not end holds up those after it, and nothing else.
type clerk struct {
	log *slog.Logger

	mu   sync.Mutex
	todo []errand
	busy bool
}

type errand struct {
	what string // for people
	do   func()
}

// do has do run when those before it are done.
func (c *clerk) do(what string, do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.todo = append(c.todo, errand{what, do})
	if !c.busy {
		c.busy = true
		go c.run()
	}
}

// doOnce is do in place of the latest errand, if that is the same and has not begun.
func (c *clerk) doOnce(what string, do func()) {
	c.mu.Lock()
	if n := len(c.todo); n > 0 && c.todo[n-1].what == what {
		c.todo[n-1].do = do
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.do(what, do)
}

func (c *clerk) run() {
	for {
		c.mu.Lock()
		if len(c.todo) == 0 {
			c.busy = false
			c.mu.Unlock()
			return
		}
		e := c.todo[0]
		c.todo = c.todo[1:]
		c.mu.Unlock()
		late := time.AfterFunc(errandTime, func() {
			c.log.Warn("an errand on files takes long: does a file system not answer?", "what", e.what, "after", errandTime)
		})
		e.do()
		late.Stop()
	}
}

// finish waits until all is done, but no longer than patience, and reports whether it is.
func (c *clerk) finish(patience time.Duration) bool {
	done := make(chan struct{})
	c.do("leaving", func() { close(done) })
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}
