package worker

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// scheduler decides which thread does what, and when what waits has its turn. Nothing
// else has its lock, which is held for a few instructions at a time; whom there is to
// wake is woken when it has been let go.
//
// Everything that waits is in a lane:
//
//	events ─▶ batch ─┐
//	           ready ─┴─▶ a thread       by turns (see first)
//	             ▲ ▲
//	             │ └── held              a slow request, until a second thread is free
//	             └──── a pool's          until it has a permit of the pool's
//
// What leaves a lane with permits, or the held one, goes to the end of the ready one,
// and is never turned away there: it has waited.
type scheduler struct {
	set        *pollSet
	deputyWake poke
	waiting    atomic.Int64 // in held: to be asked without the lock
	inUse      atomic.Int64 // threads that may be awake: those below that index, and no others; see tuner
	pools      []*pool      // each with a lane; nil: none

	mu         sync.Mutex // everything below, and what is in lanes
	ready      lane
	held       lane
	batch      batch
	eventsNext bool // the batch's, where the ready lane has something too
	leader     *Thread
	idle       []*Thread // followers; the last to sleep is the first to be woken
	asleep     bool      // the deputy has gone to sleep for want of work
	exiting    bool
	garbage    []uintptr // Python objects to be released
	unsent     []sender
	news       []*Thread   // seats that are to be looked at; see watch
	sockets    []uint32    // WebSockets that are, by number
	told       atomic.Bool // there are some: to be asked without the lock
}

// sender is what has something to send that waits for the answers to other requests.
type sender interface{ sendNow() }

// newScheduler makes a scheduler whose lanes have room for so many each.
func newScheduler(set *pollSet, queue int, g *protocol.Gauges) *scheduler {
	s := &scheduler{set: set, deputyWake: newPoke(), asleep: true, batch: newBatch()}
	s.ready = lane{max: queue, depth: &g.QueueDepth, oldest: &g.QueueOldest}
	s.held = lane{max: queue, depth: &s.waiting}
	s.inUse.Store(math.MaxInt64)
	return s
}

// chosen is what there is for a thread to do.
type chosen int

const (
	choseNone   chosen = iota
	choseReady         // a connection of the ready lane's
	choseEvent         // one of the batch's
	choseLead          // to wait in epoll_wait(2)
	choseFollow        // to sleep until it is woken
	choseExit
	choseGarbage // to release Python objects
	choseNotice  // news for a seat
)

// next says what t does next.
func (s *scheduler) next(t *Thread) (*conn, unix.EpollEvent, chosen) {
	if !s.used(t) && s.replace(t) {
		return nil, unix.EpollEvent{}, choseFollow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.garbage) > 0 {
		return nil, unix.EpollEvent{}, choseGarbage
	}
	if c, ev, what := s.first(t); what != choseNone {
		return c, ev, what
	}
	if s.exiting {
		return nil, unix.EpollEvent{}, choseExit
	}
	if s.leader == nil {
		s.leader = t
		return nil, unix.EpollEvent{}, choseLead
	}
	s.follow(t)
	return nil, unix.EpollEvent{}, choseFollow
}

// atOnce is next for a thread that does not wait: with nothing to do, choseLead says that
// it may poll the set, as nobody leads.
func (s *scheduler) atOnce(t *Thread) (*conn, unix.EpollEvent, chosen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ev, what := s.first(t)
	if what == choseNone && s.leader == nil {
		what = choseLead
	}
	return c, ev, what
}

// onLoop is next for the thread of an event loop, which does not wait here. choseNone:
// there is nothing to do. news is a seat that is to be looked at.
func (s *scheduler) onLoop(t *Thread) (news *Thread, c *conn, ev unix.EpollEvent, what chosen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if news = s.popNews(); news != nil {
		return news, nil, ev, choseNotice
	}
	if c, ev, what = s.first(t); what != choseNone {
		return nil, c, ev, what
	}
	switch {
	case len(s.garbage) > 0:
		what = choseGarbage
	case s.exiting:
		what = choseExit
	}
	return nil, nil, ev, what
}

// takeSockets returns the WebSockets that are to be looked at, and keeps the memory of next for others.
func (s *scheduler) takeSockets(next []uint32) []uint32 {
	if !s.told.Load() {
		return next[:0]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told.Store(false)
	all := s.sockets
	s.sockets = next[:0]
	return all
}

// tellSocket has a WebSocket looked at.
func (s *scheduler) tellSocket(number uint32) {
	s.mu.Lock()
	s.sockets = append(s.sockets, number)
	s.told.Store(true)
	who := s.someone()
	s.mu.Unlock()
	s.rouse(who)
}

// popNews takes a seat that is to be looked at, or returns nil. The lock is held.
func (s *scheduler) popNews() *Thread {
	n := len(s.news)
	if n == 0 {
		return nil
	}
	t := s.news[n-1]
	s.news[n-1] = nil
	s.news = s.news[:n-1]
	t.listed = false
	return t
}

// newsOnly is onLoop where there is no seat for anything else.
func (s *scheduler) newsOnly() *Thread {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.popNews()
}

// leaves takes what t, the thread of an event loop, has brought from its post. Whatever it
// is going to do now, the deputy watches.
func (s *scheduler) leaves(t *Thread, evs []unix.EpollEvent, at int64) {
	s.mu.Lock()
	if s.leader == t {
		s.leader = nil
	}
	if len(evs) > 0 {
		s.batch.add(evs, at)
	}
	wake := s.asleep
	s.asleep = false
	s.mu.Unlock()
	s.wakeDeputy(wake)
}

// standBy makes the thread of an event loop the leader, at the end of an iteration. If it
// waits now though there is something to do, it does not wait for long.
func (s *scheduler) standBy(t *Thread, waits bool) {
	s.mu.Lock()
	s.leader = t
	poke := waits && (s.work() || s.exiting || len(s.garbage) > 0)
	s.mu.Unlock()
	if poke {
		s.set.poke()
	}
}

// misses takes the leader's post from t, the thread of an event loop, which is not there, if
// sure says so, too. The lock is held meanwhile, as t comes and goes under it.
func (s *scheduler) misses(t *Thread, sure func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != t || !sure() {
		return false
	}
	s.leader = nil
	return true
}

// tell has the request that c runs on an event loop, if any, hear of an event.
func (s *scheduler) tell(c *conn) {
	t := c.seat.Load()
	if t == nil {
		return
	}
	s.mu.Lock()
	var who sleeper
	if !t.listed {
		t.listed = true
		s.news = append(s.news, t)
		who = s.someone()
	}
	s.mu.Unlock()
	s.rouse(who)
}

// first takes what has its turn. The lock is held.
func (s *scheduler) first(t *Thread) (*conn, unix.EpollEvent, chosen) {
	// By turns: a client that pipelines without end keeps the ready lane filled.
	if s.ready.n > 0 && !(s.eventsNext && !s.batch.empty()) {
		s.eventsNext = true
		return s.ready.pop(), unix.EpollEvent{}, choseReady
	}
	s.eventsNext = false
	if s.batch.empty() {
		return nil, unix.EpollEvent{}, choseNone
	}
	t.arrived = s.batch.at
	return nil, s.batch.next(), choseEvent
}

// event is next for the deputy, which takes events only.
func (s *scheduler) event(t *Thread) (unix.EpollEvent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batch.empty() {
		return unix.EpollEvent{}, false
	}
	t.arrived = s.batch.at
	return s.batch.next(), true
}

// led takes what the leader t has brought from epoll_wait(2).
func (s *scheduler) led(t *Thread, evs []unix.EpollEvent, at int64) {
	wake := false
	s.mu.Lock()
	if s.leader == t {
		s.leader = nil
	}
	if len(evs) > 0 {
		s.batch.add(evs, at)
		wake, s.asleep = s.asleep, false
	}
	s.mu.Unlock()
	s.wakeDeputy(wake)
}

// bring takes events that somebody else has polled.
func (s *scheduler) bring(evs []unix.EpollEvent, at int64) {
	s.mu.Lock()
	s.batch.add(evs, at)
	s.mu.Unlock()
}

// stepDown makes t a follower. It returns false if there is something else for t: nobody
// but t could lead, or there is what only a thread can do.
func (s *scheduler) stepDown(t *Thread) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != nil || s.exiting || len(s.garbage) > 0 {
		return false // the other has been and gone: it leads
	}
	s.follow(t)
	return true
}

// follow makes t a follower. The lock is held.
func (s *scheduler) follow(t *Thread) {
	atomic.StoreUint32(&t.Wake, 0)
	t.parked = true
	s.idle = append(s.idle, t)
}

// used reports whether t is one of those that may be awake.
func (s *scheduler) used(t *Thread) bool { return int64(t.index) < s.inUse.Load() }

// unpark takes the follower that slept last off the list, of those that may be awake; the
// caller wakes it. The lock is held.
func (s *scheduler) unpark() *Thread {
	for i := len(s.idle) - 1; i >= 0; i-- {
		if t := s.idle[i]; s.used(t) {
			s.idle = slices.Delete(s.idle, i, i+1)
			t.parked = false
			return t
		}
	}
	return nil
}

// spare reports whether a follower may be woken. The lock is held.
func (s *scheduler) spare() bool { return slices.ContainsFunc(s.idle, s.used) }

// use has n threads in use from now on. Those beyond go to sleep when they have done what
// they are at.
func (s *scheduler) use(n int) {
	s.mu.Lock()
	s.inUse.Store(int64(n))
	var who sleeper
	if s.work() {
		who = s.someone()
	}
	s.mu.Unlock()
	s.rouse(who)
}

// replace makes t, which is not in use any more, a follower, and has one that is go on with
// what there is. It returns false if there is something for t, as for any thread.
func (s *scheduler) replace(t *Thread) bool {
	s.mu.Lock()
	if s.used(t) || s.exiting || len(s.garbage) > 0 {
		s.mu.Unlock()
		return false
	}
	s.follow(t)
	var who sleeper
	if s.leader == nil || s.work() {
		who = s.someone()
	}
	s.mu.Unlock()
	s.rouse(who)
	return true
}

// parked reports whether t, which is not in use, has gone to sleep.
func (s *scheduler) parked(t *Thread) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.parked
}

// sleeper is who is to be woken when the lock has been let go: a follower, or the
// leader. The zero value is nobody.
type sleeper struct {
	follower *Thread
	leader   bool
}

// someone returns who is to look at the lanes: a follower if one sleeps, else the leader.
// Threads that are away will look when they come back. The lock is held.
func (s *scheduler) someone() sleeper {
	f := s.unpark()
	return sleeper{follower: f, leader: f == nil && s.leader != nil}
}

func (s *scheduler) rouse(who sleeper) {
	if who.follower != nil {
		who.follower.wake()
	} else if who.leader {
		s.set.poke()
	}
}

// wake makes some thread look at the lanes.
func (s *scheduler) wake() {
	s.mu.Lock()
	who := s.someone()
	s.mu.Unlock()
	s.rouse(who)
}

// promote wakes a follower to lead, if nobody leads and one is there.
func (s *scheduler) promote() {
	s.mu.Lock()
	var who sleeper
	if s.leader == nil {
		who.follower = s.unpark()
	}
	s.mu.Unlock()
	s.rouse(who)
}

// place is where in the ready lane a connection goes.
type place int

const (
	atEnd  place = iota // if there is room
	anyway              // at the end: it has its place from before
	atFront
)

// push puts an owned connection into the ready lane. It returns false if that is full.
func (s *scheduler) push(c *conn, where place) bool {
	s.mu.Lock()
	ok := s.enter(c, where)
	var who sleeper
	if ok {
		who = s.someone()
	}
	s.mu.Unlock()
	s.rouse(who)
	return ok
}

// enter is push without a word to anybody. The lock is held.
func (s *scheduler) enter(c *conn, where place) bool {
	switch {
	case where == atFront:
		s.ready.pushFront(c)
	case where == atEnd && s.ready.full():
		return false
	default:
		s.ready.push(c)
	}
	return true
}

// giveWay is push by a thread that goes on to what is next itself. The batch has its
// turn now; look says that the set is to be polled for it: nobody leads, or is going to
// while the ready lane has something.
func (s *scheduler) giveWay(c *conn, where place) (ok, look bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.enter(c, where) {
		return false, false
	}
	s.eventsNext = true
	return true, s.leader == nil && s.batch.empty()
}

// acquire takes a permit of a lane's for a request that is about to run.
func (s *scheduler) acquire(w *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.acquire()
}

// wait lets c wait for a permit of a lane's, or for a thread if there is a permit by now.
// It returns false if the lane is full; force: it never is.
func (s *scheduler) wait(w *lane, c *conn, force bool) bool {
	s.mu.Lock()
	if w.full() && !force {
		s.mu.Unlock()
		return false
	}
	var who sleeper
	if w.acquire() {
		who = s.permit(w, c)
	} else {
		w.push(c)
	}
	s.mu.Unlock()
	s.rouse(who)
	return true
}

// done gives a permit back, which goes to whoever has waited for it longest: so nobody
// can slip in before those that wait.
func (s *scheduler) done(w *lane) {
	s.mu.Lock()
	var who sleeper
	if c := w.release(); c != nil {
		who = s.permit(w, c)
	}
	s.mu.Unlock()
	s.rouse(who)
}

// permit lets a request that has waited run: it waits for any thread now, like others.
// The lock is held.
func (s *scheduler) permit(w *lane, c *conn) sleeper {
	c.in.pass = w
	s.ready.push(c)
	return s.someone()
}

// hold lets c wait until it is let go, which is for the deputy to see to. With no room for
// that it waits for any thread, and hold returns false.
func (s *scheduler) hold(c *conn) bool {
	s.mu.Lock()
	if s.held.full() {
		s.ready.push(c)
		who := s.someone()
		s.mu.Unlock()
		s.rouse(who)
		return false
	}
	s.held.push(c)
	wake := s.asleep // it slept on if a follower has got c, and no event
	s.asleep = false
	s.mu.Unlock()
	s.wakeDeputy(wake)
	return true
}

// letGo has those that are held, and for which ok says so, wait for any thread.
func (s *scheduler) letGo(ok func(*conn) bool) {
	n := 0
	s.mu.Lock()
	for c := s.held.take(ok); c != nil; c = s.held.take(ok) {
		s.ready.push(c)
		n++
	}
	s.mu.Unlock()
	for range n {
		s.wake()
	}
}

// steal takes the first connection out of a lane for which ok says so, or returns nil.
// The thief owns it.
func (s *scheduler) steal(w *lane, ok func(*conn) bool) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.take(ok)
}

// depth is how many wait in a lane.
func (s *scheduler) depth(w *lane) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.n
}

// starved says that requests, or connections that may bring some, wait while no thread
// is free; or that some wait for the permit that t has.
func (s *scheduler) starved(t *Thread) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.pass != nil && t.pass.n > 0 || s.leader == nil && !s.spare() && s.work()
}

// work says that there is something for a thread to do. The lock is held.
func (s *scheduler) work() bool {
	return s.ready.n > 0 || !s.batch.empty() || len(s.news)+len(s.sockets) > 0
}

// stir wakes somebody where no thread has moved for a while: a follower to lead, or for
// what there is to do. It returns true if there is nobody: every thread is away.
func (s *scheduler) stir() (away bool) {
	s.mu.Lock()
	away = s.leader == nil
	var who sleeper
	if s.work() {
		who = s.someone() // the leader knows nothing of what has been put there meanwhile
	} else if away {
		who.follower = s.unpark()
	}
	s.mu.Unlock()
	s.rouse(who)
	return away && who.follower == nil
}

// rest is asked by the deputy, once it has had little to do, whether it may sleep until
// it is woken. unsent says that there is something to send.
func (s *scheduler) rest(idle bool) (sleep, unsent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unsent = len(s.unsent) > 0
	s.asleep = idle && s.leader != nil && !s.work() && s.held.n == 0 && !unsent
	return s.asleep, unsent
}

func (s *scheduler) wakeDeputy(asleep bool) {
	if asleep {
		s.deputyWake.give()
	}
}

// sendLater has the deputy send what h has at its next tick.
func (s *scheduler) sendLater(h sender) {
	s.mu.Lock()
	s.unsent = append(s.unsent, h)
	wake := s.asleep
	s.asleep = false
	s.mu.Unlock()
	s.wakeDeputy(wake)
}

// sendUnsent sends what has waited for other answers until now.
func (s *scheduler) sendUnsent() {
	s.mu.Lock()
	all := s.unsent
	s.unsent = nil
	s.mu.Unlock()
	for _, h := range all {
		h.sendNow()
	}
}

// discard leaves a reference to be dropped by a Python thread.
func (s *scheduler) discard(ref uintptr) {
	s.mu.Lock()
	s.garbage = append(s.garbage, ref)
	who := s.someone()
	s.mu.Unlock()
	s.rouse(who)
}

// takeGarbage moves up to len(dst) of these references to dst.
func (s *scheduler) takeGarbage(dst []uintptr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := copy(dst, s.garbage)
	s.garbage = append(s.garbage[:0], s.garbage[n:]...)
	return n
}

// exit makes the threads leave when they have done what they are at.
func (s *scheduler) exit() {
	s.mu.Lock()
	s.exiting = true
	for _, f := range s.idle { // those that are not in use, too
		f.parked = false
		f.wake()
	}
	s.idle = nil
	who := s.someone()
	s.mu.Unlock()
	s.rouse(who)
}
