package worker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/origin"
)

// New makes a Loop with its threads, none of which runs yet.
func New(c Config) (*Loop, error) {
	s := c.Settings
	set, err := newPollSet()
	if err != nil {
		return nil, err
	}
	l := &Loop{
		cfg: s, slot: c.Slot, log: c.Log, exchange: c.Exchange,
		limits: headLimits(s),
		sched:  newScheduler(set, s.Queue, &c.Slot.Gauges),
		conns:  newConnTable(maxConnections(s.WorkerConnections, c.Log)),
	}
	l.keeper, l.deputy = newHousekeeper(l), &deputy{l: l}
	l.mem = newMemory(s.LimitBuffers, l.keeper.soon)
	l.leave.drained, l.leave.stop = make(chan struct{}), make(chan struct{})
	if l.origin, err = origin.NewPolicy(origin.Options{Trusted: s.ForwardedAllowIPs, Fields: s.ForwardedHeaders,
		Proxies: s.ProxyAllowIPs, ProxyProtocol: s.ProxyProtocol}); err != nil {
		return nil, err
	}
	l.access.to, l.access.worker = c.AccessLog, s.Number
	if err := l.access.setFormat(s.AccessLogFormat, s.AccessLogExclude); err != nil {
		return nil, err
	}
	l.spans = openSpans(s, c.Spans)
	l.rules.open(s.MetricsRoutes, c.Slot)
	l.pace.overload.target = int64(s.QueueWait)
	l.spare.off = !s.SpareThread
	l.sched.pools = newPools(s.Pools, s.Queue, c.Slot)
	l.spools = newSpools(s, c.Slot)
	if l.static, err = openStatic(s.Static); err != nil {
		return nil, err
	}
	l.keeper.tickDate(time.Now())
	for i := range s.Threads {
		t, err := newThread(l, i)
		if err != nil {
			return nil, fmt.Errorf("cannot allocate a thread's buffers: %w", err)
		}
		if s.HTTP2Cleartext || slices.ContainsFunc(s.Listeners, func(l protocol.Listener) bool { return l.TLS }) {
			if err := t.addBell(); err != nil {
				return nil, err
			}
		}
		l.threads = append(l.threads, t)
	}
	l.sched.use(len(l.threads))
	if s.ThreadsAuto {
		l.deputy.tuner = newTuner(l)
	}
	for _, t := range []**Thread{&l.deputy.t, &l.keeper.sweeper} {
		if *t, err = newThread(l, -1); err != nil {
			return nil, fmt.Errorf("cannot allocate the deputy's buffers: %w", err)
		}
	}
	l.keeper.exposition, err = newExposition(l)
	return l, err
}

// headLimits are the limits of a request's head. In the settings 0 means none: then
// the head as a whole is the limit.
func headLimits(s *protocol.WorkerConfig) http1.Limits {
	d := http1.DefaultLimits()
	m := http1.Limits{Line: s.LimitRequestLine, Field: s.LimitRequestFieldSize, Fields: s.LimitRequestFields, Head: inBufferSize - 1}
	if m.Line == 0 || m.Line > d.Line || m.Field == 0 || m.Field > d.Field || m.Fields == 0 || m.Fields > d.Fields {
		m.Head = maxHead
	}
	m.Line, m.Field, m.Fields = cmp.Or(m.Line, m.Head), cmp.Or(m.Field, m.Head), cmp.Or(m.Fields, http1.MaxFields)
	return m
}

// Start starts the deputy and the housekeeping.
func (l *Loop) Start() {
	l.slot.Gauges.Heartbeat.Store(l.now()) // the first; it is what the others are seen by
	go l.deputy.run()
	go l.keeper.run()
}

// Stop ends the deputy and the housekeeping, once the threads have left.
func (l *Loop) Stop() { close(l.leave.stop) }

// SetReporter tells the loop where reports for the master go. It is called before
// Start.
func (l *Loop) SetReporter(tell func(protocol.Message) bool) { l.slow.tell = tell }
