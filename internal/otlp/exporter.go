package otlp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/grpclog"

	"hostler/protocol"
	"hostler/settings"
)

// What bounds the queue and the batches where OTEL_BSP_… does not. The queue is that of all
// workers, so it is longer than an SDK's in one process.
const (
	queueSize     = 8192
	batchSize     = 512
	batchDelay    = 5 * time.Second
	exportTimeout = 30 * time.Second
	// closeTime is how long what is left may take at the end.
	closeTime = 1500 * time.Millisecond
)

// counts are protocol.SpanCounts that are being counted.
type counts struct{ exported, queue, collector, invalid atomic.Uint64 }

// Exporters makes exporters, one after the other as settings change, and counts for all.
type Exporters struct {
	version string
	log     *slog.Logger
	from    prometheus.Gatherer // of metrics; nil: none are sent
	counts  counts

	mu      sync.Mutex
	current *metrics // whose time it is to send them; nil: nobody's
}

// New returns Exporters of a server of that version.
func New(version string, log *slog.Logger) *Exporters {
	otel.SetErrorHandler(&remarks{log: log})
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) // what goes wrong is an error to us
	return &Exporters{version: version, log: log}
}

// remarks are what the SDK has to say besides errors that it returns: that the collector has not
// taken a part of what it was sent, for one. There is one in a minute at most.
type remarks struct {
	log  *slog.Logger
	last atomic.Int64 // Unix seconds
}

// Handle implements otel.ErrorHandler.
func (r *remarks) Handle(err error) {
	now, last := time.Now().Unix(), r.last.Load()
	if now-last >= 60 && r.last.CompareAndSwap(last, now) {
		r.log.Warn("of exporting to the collector", "error", err)
	}
}

// Gather has metrics sent that are gathered there. It is called before Open.
func (x *Exporters) Gather(from prometheus.Gatherer) { x.from = from }

// Counts says what has become of spans that workers have told of.
func (x *Exporters) Counts() protocol.SpanCounts {
	c := &x.counts
	return protocol.SpanCounts{Exported: c.exported.Load(), Queue: c.queue.Load(), Collector: c.collector.Load(), Invalid: c.invalid.Load()}
}

// Open returns an exporter of what set asks for, which does not connect yet.
func (x *Exporters) Open(ctx context.Context, set *settings.Master) (*Exporter, error) {
	of, err := describe(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("cannot say whose spans and metrics these are: %w", err)
	}
	var m *metrics
	if x.from != nil && !none("METRICS") {
		if m, err = x.openMetrics(ctx, set, of); err != nil {
			return nil, err
		}
	}
	var to trace.SpanExporter = nothing{}
	if set.Tracing != nil {
		if to, err = traceExporter(ctx, set); err != nil {
			return nil, fmt.Errorf("cannot export spans: %w", err)
		}
	}
	return x.open(to, of, m), nil
}

// nothing exports no spans.
type nothing struct{}

func (nothing) ExportSpans(context.Context, []trace.ReadOnlySpan) error { return nil }
func (nothing) Shutdown(context.Context) error                          { return nil }

func (x *Exporters) open(to trace.SpanExporter, of *resource.Resource, m *metrics) *Exporter {
	e := &Exporter{
		all: x, metrics: m, log: x.log, counts: &x.counts, to: to, resource: of, scope: instrumentation.Scope{Name: "hostler", Version: x.version},
		batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", batchSize), delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", batchDelay),
		timeout: milliseconds("OTEL_BSP_EXPORT_TIMEOUT", exportTimeout),
		queue:   make(chan told, number("OTEL_BSP_MAX_QUEUE_SIZE", queueSize)), closing: make(chan struct{}), done: make(chan struct{}),
	}
	e.life, e.die = context.WithCancel(context.Background())
	go e.run()
	return e
}

// Exporter sends spans, and when it is its time, metrics.
type Exporter struct {
	all      *Exporters
	metrics  *metrics // nil: none
	log      *slog.Logger
	counts   *counts
	to       trace.SpanExporter
	resource *resource.Resource
	scope    instrumentation.Scope

	batch          int
	delay, timeout time.Duration

	queue   chan told
	readers sync.WaitGroup
	closing chan struct{}
	life    context.Context // ends when closing has to be over
	die     context.CancelFunc
	done    chan struct{}

	failing bool   // run's: the last batch was lost
	lost    uint64 // … and how many spans since the last that was not
}

// put queues a span, or counts it as lost.
func (e *Exporter) put(s told) {
	select {
	case e.queue <- s:
	default:
		e.counts.queue.Add(1)
	}
}

// Serve says that these settings are those of the server now: metrics are sent by them, and no
// more by those before. It does not wait for that.
func (e *Exporter) Serve() {
	e.readers.Go(func() {
		e.all.mu.Lock()
		defer e.all.mu.Unlock()
		e.all.endMetrics(e.life)
		if e.metrics != nil {
			e.all.current = e.metrics
			e.metrics.begin(e.all.from)
		}
	})
}

// endMetrics ends those that are being sent. x.mu is held.
func (x *Exporters) endMetrics(ctx context.Context) {
	if x.current != nil {
		ctx, cancel := context.WithTimeout(ctx, closeTime/2)
		defer cancel()
		x.current.end(ctx)
		x.current = nil
	}
}

// Close sends what is left, waits for that for a moment at most, and ends. No process may
// have a pipe of Take's any more, or its spans are lost.
func (e *Exporter) Close() {
	defer time.AfterFunc(closeTime, e.die).Stop()
	e.readers.Wait()
	e.all.mu.Lock()
	if e.metrics != nil && e.all.current == e.metrics {
		e.all.endMetrics(e.life)
	}
	e.all.mu.Unlock()
	close(e.closing)
	<-e.done
}

func (e *Exporter) run() {
	defer close(e.done)
	batch := make(tracetest.SpanStubs, 0, e.batch)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	add := func(s told) {
		if len(batch) == 0 {
			timer.Reset(e.delay)
		}
		if batch = append(batch, s.stub(e.resource, e.scope)); len(batch) == e.batch {
			timer.Stop()
			e.export(batch)
			batch = batch[:0]
		}
	}
	for {
		select {
		case s := <-e.queue:
			add(s)
		case <-timer.C:
			e.export(batch)
			batch = batch[:0]
		case <-e.closing:
			for len(e.queue) > 0 {
				add(<-e.queue)
			}
			e.export(batch)
			_ = e.to.Shutdown(e.life) // it has nothing that could be lost
			e.die()
			return
		}
	}
}

// export sends a batch. The SDK's exporter tries again, within the time, where that makes
// sense.
func (e *Exporter) export(batch tracetest.SpanStubs) {
	n := uint64(len(batch))
	if n == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(e.life, e.timeout)
	defer cancel()
	if err := e.to.ExportSpans(ctx, batch.Snapshots()); err != nil {
		e.counts.collector.Add(n)
		if e.lost += n; !e.failing {
			e.failing = true
			e.log.Warn("spans are lost: they cannot be sent to the collector; it is said when they can again", "error", err)
		}
		return
	}
	e.counts.exported.Add(n)
	if e.failing {
		e.log.Info("spans are sent to the collector again", "lost", e.lost)
		e.failing, e.lost = false, 0
	}
}
