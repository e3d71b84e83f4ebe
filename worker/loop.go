package worker

import (
	"log/slog"
	"sync/atomic"
	"time"

	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/origin"
	"hostler/worker/static"
)

// Config is what a Loop needs to know. Times are nanoseconds.
type Config struct {
	Settings *protocol.WorkerConfig
	Slot     *protocol.Slot
	Log      *slog.Logger
	// Exchange is where connections move from and to other workers; nil: nowhere.
	Exchange *Exchange
	// AccessLog is where access-log lines go; nil: nowhere.
	AccessLog *logwriter.Writer
	// Spans is where spans go; nil: nowhere.
	Spans *logwriter.Writer
}

// Loop is a worker's engine: its connections, its threads and its queue.
type Loop struct {
	cfg      *protocol.WorkerConfig
	slot     *protocol.Slot
	log      *slog.Logger
	limits   http1.Limits
	exchange *Exchange
	own      own
	leave    leave
	mem      *memory
	pace     pace
	origin   origin.Policy // who may say who a client is
	sched    *scheduler
	tls      atomic.Pointer[secrets] // nil: there is no TLS
	conns    *connTable
	spools   *spools
	records

	threads []*Thread
	doors   doors

	gil    gilWatch
	static static.Roots // nil: no files are served
	spare  spareThread

	deputy *deputy
	keeper *housekeeper
}

// records are what is told of requests that have ended.
type records struct {
	access   accessLog
	spans    spans
	slow     slowLog
	waiters  waiters
	rules    rules
	refusals refusals
}

// Thread returns the i-th thread. Each belongs to one Python thread.
func (l *Loop) Thread(i int) *Thread { return l.threads[i] }

// now returns CLOCK_MONOTONIC in nanoseconds, cheaply: time.Since reads that
// clock alone.
func (l *Loop) now() int64 { return monotonicBase + int64(time.Since(monotonicStart)) }

// TakeGarbage moves up to len(dst) objects whose reference is to be dropped to
// dst. The caller holds the GIL and drops them.
func (l *Loop) TakeGarbage(dst []uintptr) int { return l.sched.takeGarbage(dst) }
