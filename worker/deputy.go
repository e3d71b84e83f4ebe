package worker

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// deputyRest is after how many ticks without any step of a Python thread
	// the deputy goes to sleep, if a leader is at its post.
	deputyRest = 2
)

// deputy does what Python threads would do, while all of them are away. What it has is
// its goroutine's alone.
type deputy struct {
	l       *Loop
	t       *Thread // for its buffers: it queues what it reads
	surplus int     // requests that it may still give to other workers

	// What an event loop wants to be done at each tick, while it is away, and with its
	// stack; nil: there is none.
	tick    func()
	away    func()
	stacked func(since int64, stack string)
	lookout *lookout // for a loop that does not say when it is away
	tuner   *tuner   // nil: the number of threads is fixed
}

// run looks every millisecond whether the Python threads get on, while
// there is work. It returns when the loop stops.
//
// It sleeps in nanosleep(2): a timer of the runtime's would cost several futex
// calls and a poll of the network each time.
func (d *deputy) run() {
	l := d.l
	tick := unix.NsecToTimespec(int64(deputyTick))
	var last uint64
	still := 0
	yielded := int64(0)
	for {
		sleep, unsent := l.sched.rest(still > deputyRest)
		if sleep {
			d.lookout.sleeps()
			d.tuner.settle()
			select {
			case <-l.sched.deputyWake:
				still = 0
			case <-l.leave.stop:
				return
			}
		}
		if l.keeper.sockets.crowd(l) {
			d.listen()
		} else {
			_ = unix.Nanosleep(&tick, nil) // early is as good
		}
		if now := l.now(); now-yielded > yieldEvery {
			yielded = now
			runtime.Gosched() // see Thread.yield
		}
		select {
		case <-l.leave.stop:
			return
		default:
		}
		if unsent {
			l.sched.sendUnsent()
		}
		for _, t := range l.threads {
			t.coalescer.tick()
		}
		if d.tick != nil {
			d.tick()
		}
		d.lookout.tick()
		d.tuner.tick()
		if l.sched.waiting.Load() > 0 {
			d.letGo()
		}
		n := l.pace.calls.Load()
		if n != last {
			last, still = n, 0
			l.setWedged(false)
			continue
		}
		still++
		d.stepIn()
	}
}

// listen is the pause between two ticks where each thread stays with a WebSocket: what comes
// for these need not wait for the next.
func (d *deputy) listen() {
	if n, err := unix.EpollWait(d.l.sched.set.fd, d.t.Events[:], int(deputyTick.Milliseconds())); err == nil && n > 0 {
		d.l.sched.bring(d.t.Events[:n], d.l.now())
	}
}

// stepIn does the threads' work where none of them has moved for a tick and none
// waits in epoll_wait: a follower is woken to lead, or, if there is none, the
// deputy reads, parses and queues.
func (d *deputy) stepIn() {
	l := d.l
	if !l.sched.stir() {
		// calls need not have changed since: the thread that was away may have
		// been in Next already.
		l.setWedged(false)
		return
	}
	l.setWedged(true)
	d.tuner.missed()
	if d.away != nil {
		d.away()
	}
	d.surplus = l.capacity()
	d.offload()
	d.readOn()
	d.t.poll()
	for {
		ev, have := l.sched.event(d.t)
		if !have {
			return
		}
		l.event(d.t, ev)
	}
}

// readOn reads what has been left to a Python thread to read: frames of HTTP/2, as
// those that are away may wait for just these, and bodies of its streams; and, where we serve files or metrics
// ourselves, what may ask for them.
func (d *deputy) readOn() {
	l := d.l
	for range l.sched.depth(&l.sched.ready) { // more may be left meanwhile
		c := l.sched.steal(&l.sched.ready, func(c *conn) bool {
			return c.urgent() || (l.static != nil || l.keeper.exposition != nil) && c.waitsToBeRead()
		})
		if c == nil {
			return
		}
		l.dequeued(d.t, c)
	}
}

func (l *Loop) setWedged(v bool) {
	if l.pace.wedged.Load() != v {
		l.pace.wedged.Store(v)
		if !v {
			l.conns.room.give()
		}
	}
}

// offload gives waiting requests to other workers that have threads for them,
// while all of this one's are away.
func (d *deputy) offload() {
	l := d.l
	for d.surplus > 0 {
		c := l.sched.steal(&l.sched.ready, (*conn).movable)
		if c == nil {
			return
		}
		if !l.handOver(c, c.unparsed()) {
			l.sched.push(c, atFront)
			return
		}
		d.surplus--
	}
}

// letGo is called every millisecond while requests are held, and lets one of them
// run if there are two free threads, or all that have waited for long enough.
func (d *deputy) letGo() {
	l := d.l
	v := &l.spare
	now := l.now()
	all := !v.worth.Load() || l.leave.draining.Load()
	one := false
	if !all {
		free, _ := l.otherThreads(-1)
		one = free > 1
	}
	l.sched.letGo(func(c *conn) bool {
		first := one
		one = false
		return all || first || now >= c.in.until
	})
}
