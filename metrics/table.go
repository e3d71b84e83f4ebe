package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"hostler/protocol"
)

//go:generate go run ./internal/gendocs ../docs/metrics.md

const namespace = "hostler"

// family is a row of the table of metrics: all that is known of one, and how it is read.
type family struct {
	name   string // without the namespace
	typ    metricType
	labels []string
	help   string
	read   func(*scrape, put)    // of a counter or gauge
	sum    func(*scrape, putSum) // of a histogram
}

// put gives a scrape one value, with a value for each label.
type put func(v float64, labels ...string)

// putSum gives it a histogram likewise.
type putSum func(h *histogram, labels ...string)

// metricType is what a name's values are.
type metricType int

const (
	counter metricType = iota
	gauge
	histo
)

func (t metricType) String() string { return [...]string{"counter", "gauge", "histogram"}[t] }

// desc describes the family to the library.
func (f *family) desc() *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", f.name), f.help, f.labels, nil)
}

// group is a part of the table, which has a heading in docs/metrics.md.
type group struct {
	heading  string
	families []family
}

// table is every metric that there is. Describe, Collect, docs/metrics.md and the tests
// walk it: a metric is added here.
var table = [...]group{
	{"Requests", requestFamilies},
	{"Requests by route", routeFamilies},
	{"Connections and threads", connectionFamilies},
	{"Workers", workerFamilies},
	{"The server", serverFamilies},
	{"About the application's own metrics", appFamilies},
}

var requestFamilies = []family{
	{name: "requests_total", labels: []string{"code", "method"},
		help: "Requests that ended, by class of the response's status (none: no response was sent) and method.",
		read: readRequests},
	{name: "responses_total", labels: []string{"code"},
		help: "Responses that ended, by status; other stands for a status that is not in IANA's registry.",
		read: readResponses},
	{name: "request_duration_seconds", typ: histo, labels: []string{"code", "method"},
		help: "Time from the arrival of the whole request to the end of its response, by class of its status and method; pairs that have not occurred are left out, but for GET's 2xx.",
		sum:  readDurations},
	{name: "request_queue_wait_seconds", typ: histo,
		help: "Time from the arrival of the whole request to the start of the application for it.",
		sum:  total(func(c *protocol.Counters) *protocol.Histogram { return &c.QueueWait })},
	{name: "gil_wait_seconds_total",
		help: "Time that Python threads with a request in hand have waited for the interpreter's lock.",
		read: func(s *scrape, put put) {
			put(s.count(func(c *protocol.Counters) uint64 { return uint64(c.GILWait.Load()) }) / 1e9)
		}},
	{name: "received_bytes_total", help: "Bytes read from clients.",
		read: counted(func(c *protocol.Counters) uint64 { return c.ReceivedBytes.Load() })},
	{name: "sent_bytes_total", help: "Bytes written to clients.",
		read: counted(func(c *protocol.Counters) uint64 { return c.SentBytes.Load() })},
	{name: "app_exceptions_total", help: "Requests in which the application raised an exception.",
		read: counted(func(c *protocol.Counters) uint64 { return c.AppExceptions.Load() })},
	{name: "app_violations_total",
		help: "Breaches of PEP 3333 by the application, such as a body longer than its Content-Length.",
		read: counted(func(c *protocol.Counters) uint64 { return c.AppViolations.Load() })},
	{name: "rejected_requests_total", labels: []string{"reason"},
		help: "Requests refused before the application saw them, by reason.",
		read: func(s *scrape, put put) {
			for i, reason := range s.reasons {
				if i > 0 && reason != "" {
					put(s.count(func(c *protocol.Counters) uint64 { return c.Rejected[i].Load() }), reason)
				}
			}
		}},
	{name: "requests_held_total", help: "Requests to slow routes that waited for a second free thread.",
		read: counted(func(c *protocol.Counters) uint64 { return c.Held.Load() })},
	{name: "spooled_bodies_total", help: "Request bodies that were too large for memory and went to a file.",
		read: counted(func(c *protocol.Counters) uint64 { return c.SpooledBodies.Load() })},
	{name: "spooled_bytes_total", help: "Bytes written to these files.",
		read: counted(func(c *protocol.Counters) uint64 { return c.SpooledBytes.Load() })},
	{name: "spool_failures_total",
		help: "Request bodies that could not be spooled, or not to their end: the disk is full, too slow, or not to be written to.",
		read: counted(func(c *protocol.Counters) uint64 { return c.SpoolFailures.Load() })},
	{name: "spool_files", typ: gauge, help: "Request bodies that are in a file now.",
		read: now(func(g *protocol.Gauges) int64 { return g.SpoolFiles.Load() })},
	{name: "spool_bytes", typ: gauge, help: "How much of the disk they take.",
		read: now(func(g *protocol.Gauges) int64 { return g.SpoolBytes.Load() })},
	{name: "unavailable_total",
		help: "Requests answered with 503 and not run: the queue of their worker or pool was full, or they had waited for twice --queue-wait while all did.",
		read: counted(func(c *protocol.Counters) uint64 { return c.Unavailable.Load() })},
	{name: "request_timeouts_total", help: "Requests that held a Python thread for longer than --timeout.",
		read: func(s *scrape, put put) { put(float64(s.snap.RequestTimeouts)) }},
	{name: "access_log_errors_total",
		help: "Lines of the access log that are lost: they could not be written, or not fast enough.",
		read: func(s *scrape, put put) {
			put(float64(s.snap.LogLost.Access) + s.count(func(c *protocol.Counters) uint64 { return c.AccessLogErrors.Load() }))
		}},
	{name: "error_log_errors_total", help: "Lines of the error log that are lost, likewise.",
		read: func(s *scrape, put put) {
			put(float64(s.snap.LogLost.Error) + s.count(func(c *protocol.Counters) uint64 { return c.ErrorLogErrors.Load() }))
		}},
	{name: "spans_exported_total", help: "Spans of requests that a collector of OpenTelemetry's has taken (--otel).",
		read: func(s *scrape, put put) { put(float64(s.snap.Spans.Exported)) }},
	{name: "spans_lost_total", labels: []string{"reason"},
		help: "Spans that are lost: they did not get out of their worker, came faster than they could be sent (queue), were not taken by the collector, or made no sense (invalid).",
		read: func(s *scrape, put put) {
			put(s.count(func(c *protocol.Counters) uint64 { return c.SpansLost.Load() }), "worker")
			put(float64(s.snap.Spans.Queue), "queue")
			put(float64(s.snap.Spans.Collector), "collector")
			put(float64(s.snap.Spans.Invalid), "invalid")
		}},
	{name: "forwarded_untrusted_total",
		help: "Requests with X-Forwarded-… or Forwarded from peers that are not in --forwarded-allow-ips.",
		read: counted(func(c *protocol.Counters) uint64 { return c.ForwardedUntrusted.Load() })},
}

// routeFamilies have values with --metrics-routes alone.
var routeFamilies = []family{
	{name: "route_requests_total", labels: []string{"code", "method", "route"},
		help: "Requests that the application was called for (--metrics-routes), by class of the response's status, method and route; what has not occurred is left out.",
		read: readRoutes},
	{name: "route_request_duration_seconds", typ: histo, labels: []string{"method", "route"},
		help: "Time from their arrival to the end of the response, by method and route.",
		sum: func(s *scrape, put putSum) {
			for i := range s.routes {
				put(&histogram{s.routes[i].Duration}, s.routes[i].Method, s.routes[i].Name)
			}
		}},
}

var connectionFamilies = []family{
	{name: "connections", typ: gauge, labels: []string{"state"},
		help: "Open connections: between requests (idle), receiving a request (reading), with the application or waiting for it (running), sending what is left of a response (writing).",
		read: func(s *scrape, put put) {
			put(s.now(func(g *protocol.Gauges) int64 { return g.ConnsIdle.Load() }), "idle")
			put(s.now(func(g *protocol.Gauges) int64 { return g.ConnsReading.Load() }), "reading")
			put(s.now(func(g *protocol.Gauges) int64 { return g.ConnsRunning.Load() }), "running")
			put(s.now(func(g *protocol.Gauges) int64 { return g.ConnsWriting.Load() }), "writing")
		}},
	{name: "websockets", typ: gauge, help: "WebSockets that are open. Over HTTP/1.1 they are in no state of connections; over HTTP/2 they share one.",
		read: now(func(g *protocol.Gauges) int64 { return g.Sockets.Load() })},
	{name: "websocket_messages_total", labels: []string{"direction"}, help: "Messages of WebSockets, from clients (in) and to them (out).",
		read: func(s *scrape, put put) {
			put(s.count(func(c *protocol.Counters) uint64 { return c.MessagesIn.Load() }), "in")
			put(s.count(func(c *protocol.Counters) uint64 { return c.MessagesOut.Load() }), "out")
		}},
	{name: "connections_accepted_total", help: "Connections accepted.",
		read: counted(func(c *protocol.Counters) uint64 { return c.Accepted.Load() })},
	{name: "listen_queue_depth", typ: gauge, labels: []string{"address"},
		help: "Connections that wait to be accepted, by address; of TCP sockets, as of the last second.",
		read: func(s *scrape, put put) {
			for _, q := range s.snap.ListenQueues {
				put(float64(q.Depth), q.Address)
			}
		}},
	{name: "listen_queue_limit", typ: gauge, labels: []string{"address"},
		help: "How many connections may wait there: the least of --backlog and net.core.somaxconn.",
		read: func(s *scrape, put put) {
			for _, q := range s.snap.ListenQueues {
				put(float64(q.Limit), q.Address)
			}
		}},
	{name: "listen_overflows_total",
		help: "Connections that the kernel turned away because a listen queue was full: of all TCP sockets in the network namespace, since it began.",
		read: func(s *scrape, put put) {
			if s.overflows >= 0 {
				put(s.overflows)
			}
		}},
	{name: "accept_errors_total",
		help: "Attempts to accept a connection that failed, for want of file descriptors for the most part.",
		read: counted(func(c *protocol.Counters) uint64 { return c.AcceptErrors.Load() })},
	{name: "connections_handed_over_total", labels: []string{"direction"},
		help: "Connections that workers gave to others (out) and took from them (in).",
		read: func(s *scrape, put put) {
			put(s.count(func(c *protocol.Counters) uint64 { return c.HandedOut.Load() }), "out")
			put(s.count(func(c *protocol.Counters) uint64 { return c.HandedIn.Load() }), "in")
		}},
	{name: "connection_timeouts_total", labels: []string{"phase"},
		help: "Connections ended by a time limit, by what they were in.",
		read: func(s *scrape, put put) {
			for i, phase := range protocol.TimeoutNames {
				put(s.count(func(c *protocol.Counters) uint64 { return c.Timeouts[i].Load() }), phase)
			}
		}},
	{name: "connections_evicted_total", labels: []string{"phase"},
		help: "Connections closed because their worker was full (of connections, buffers, or threads that wait for clients), by what they were in.",
		read: func(s *scrape, put put) {
			for i, phase := range protocol.EvictionNames {
				put(s.count(func(c *protocol.Counters) uint64 { return c.Evicted[i].Load() }), phase)
			}
		}},
	{name: "tls_handshakes_total", labels: []string{"result"}, help: "TLS handshakes, by result.",
		read: func(s *scrape, put put) {
			put(s.count(func(c *protocol.Counters) uint64 { return c.Handshakes.Load() }), "success")
			put(s.count(func(c *protocol.Counters) uint64 { return c.HandshakeFailures.Load() }), "failure")
		}},
	{name: "threads", typ: gauge, labels: []string{"state"},
		help: "Python threads of workers that have booted, by whether they run a request.",
		read: func(s *scrape, put put) {
			busy, all := s.threads()
			put(float64(busy), "busy")
			put(float64(all-busy), "idle")
		}},
	{name: "tasks", typ: gauge, help: "Requests that event loops run, of ASGI applications.",
		read: now(func(g *protocol.Gauges) int64 { return g.Tasks.Load() })},
	{name: "tasks_waiting", typ: gauge, help: "Requests that wait as their event loop runs --worker-concurrency of them.",
		read: now(func(g *protocol.Gauges) int64 { return g.TasksWaiting.Load() })},
	{name: "loop_lag_seconds", typ: histo,
		help: "How long an event loop was busy each time, before it looked again for what had come.",
		sum:  total(func(c *protocol.Counters) *protocol.Histogram { return &c.LoopLag })},
	{name: "loop_blocks_total", help: "How often that was for 100 milliseconds or more.",
		read: counted(func(c *protocol.Counters) uint64 { return c.LoopBlocks.Load() })},
	{name: "queue_depth", typ: gauge, help: "Whole requests that wait for a Python thread.",
		read: now(func(g *protocol.Gauges) int64 { return g.QueueDepth.Load() })},
	{name: "pool_threads", typ: gauge, labels: []string{"pool", "state"},
		help: "Python threads that requests of a pool (--pool) may run on, by whether one does.",
		read: func(s *scrape, put put) {
			for name, p := range s.pools() {
				put(float64(p.busy), name, "busy")
				put(float64(p.threads-p.busy), name, "idle")
			}
		}},
	{name: "pool_queue_depth", typ: gauge, labels: []string{"pool"},
		help: "Whole requests that wait for a thread of their pool.",
		read: func(s *scrape, put put) {
			for name, p := range s.pools() {
				put(float64(p.depth), name)
			}
		}},
	{name: "oldest_request_age_seconds", typ: gauge,
		help: "Age of the oldest request that waits for a Python thread or runs in one; 0 if there is none.",
		read: func(s *scrape, put put) { put(s.oldest()) }},
}

var workerFamilies = []family{
	{name: "worker_up", typ: gauge, labels: []string{"worker"},
		help: "Whether a worker that is ready, and gives signs of life, holds this number. It stays 0 for numbers that a reload or fewer workers have left behind.",
		read: eachWorker(func(w *workerView, put func(float64)) {
			put(number(w.status != nil && !w.status.ReadySince.IsZero() && !w.status.Frozen))
		})},
	{name: "worker_start_time_seconds", typ: gauge, labels: []string{"worker"},
		help: "Start of the worker process since the Unix epoch.",
		read: eachWorker(func(w *workerView, put func(float64)) {
			if w.status != nil {
				put(timestamp(w.status.Started))
			}
		})},
	{name: "worker_resident_memory_bytes", typ: gauge, labels: []string{"worker"},
		help: "Resident memory of the worker process, shared pages included.",
		read: eachWorker(func(w *workerView, put func(float64)) {
			if w.process != nil {
				put(w.process.Memory)
			}
		})},
	{name: "worker_proportional_memory_bytes", typ: gauge, labels: []string{"worker"},
		help: "Memory of the worker process, with its share of what it has in common with others (PSS), as of the last 15 seconds, where the server may read it: what all of them take is the sum.",
		read: eachWorker(func(w *workerView, put func(float64)) {
			if w.pss > 0 {
				put(w.pss)
			}
		})},
	{name: "worker_cpu_seconds_total", labels: []string{"worker"},
		help: "User and system CPU time of the workers that have held this number.",
		read: eachWorker(func(w *workerView, put func(float64)) { put(w.cpu) })},
	{name: "worker_open_fds", typ: gauge, labels: []string{"worker"},
		help: "Open file descriptors of the worker process, where the server may count them.",
		read: eachWorker(func(w *workerView, put func(float64)) {
			if w.fds >= 0 {
				put(float64(w.fds))
			}
		})},
	{name: "worker_max_fds", typ: gauge, labels: []string{"worker"},
		help: "File descriptors that the worker process may have.",
		read: eachWorker(func(w *workerView, put func(float64)) {
			if w.maxFDs >= 0 {
				put(w.maxFDs)
			}
		})},
	{name: "worker_requests_total", labels: []string{"worker"},
		help: "Requests that ended in the workers that have held this number.",
		read: eachWorker(func(w *workerView, put func(float64)) { put(float64(ended(&w.slot.Counters))) })},
	{name: "worker_exits_total", labels: []string{"cause"}, help: "Worker processes that have ended, by cause.",
		read: func(s *scrape, put put) {
			for cause, n := range s.snap.Exits {
				put(float64(n), cause)
			}
		}},
	{name: "workers", typ: gauge, labels: []string{"state"},
		help: "Worker processes by state; frozen ones should serve, and give no sign of life.",
		read: readWorkers},
	{name: "workers_target", typ: gauge, help: "Worker processes that there should be.",
		read: func(s *scrape, put put) { put(float64(s.snap.TargetWorkers)) }},
	{name: "workers_min", typ: gauge, help: "Fewest workers that --workers allows.",
		read: func(s *scrape, put put) { put(float64(s.snap.MinWorkers)) }},
	{name: "workers_max", typ: gauge,
		help: "Most workers that --workers allows; more than the fewest where the number goes by need.",
		read: func(s *scrape, put put) { put(float64(s.snap.MaxWorkers)) }},
	{name: "consecutive_boot_failures", typ: gauge,
		help: "Failed boots of workers in a row; 0 when all workers have booted.",
		read: func(s *scrape, put put) { put(float64(s.snap.BootFailures)) }},
}

var serverFamilies = []family{
	{name: "hook_failures_total", help: "Hooks of the master's that have raised an exception.",
		read: func(s *scrape, put put) { put(float64(s.snap.HookFailures)) }},
	{name: "generation", typ: gauge,
		help: "Number of the generation that serves; each successful reload starts another.",
		read: func(s *scrape, put put) { put(float64(s.snap.Generation)) }},
	{name: "reloads_total", labels: []string{"result"}, help: "Reloads that have ended, by result.",
		read: func(s *scrape, put put) { byResult(s.snap.Reloads, put) }},
	{name: "last_reload_successful", typ: gauge, help: "Whether the last reload succeeded; 1 before the first.",
		read: func(s *scrape, put put) { put(number(s.snap.LastReload.IsZero() || s.snap.LastReloadSuccessful)) }},
	{name: "last_reload_timestamp_seconds", typ: gauge,
		help: "End of the last reload, successful or not, since the Unix epoch; 0 before the first.",
		read: func(s *scrape, put put) { put(timestamp(s.snap.LastReload)) }},
	{name: "canaries_total", labels: []string{"result"},
		help: "Canaries of reloads by result: carried on (success), gone back (failure), or ended by something else, as another reload.",
		read: func(s *scrape, put put) {
			for _, result := range [...]string{"success", "failure", "ended"} {
				put(float64(s.snap.Canaries[result]), result)
			}
		}},
	{name: "upgrades_total", labels: []string{"result"},
		help: "Replacements of the running binary that were tried, by result.",
		read: func(s *scrape, put put) { byResult(s.snap.Upgrades, put) }},
	{name: "tls_certificate_expiry_timestamp_seconds", typ: gauge, labels: []string{"certificate"},
		help: "When a certificate in use ends, since the Unix epoch.",
		read: readCertificates},
	{name: "tls_certificates_current", typ: gauge,
		help: "Whether the certificates in use are those in the files; 0 if these cannot be used.",
		read: func(s *scrape, put put) {
			if len(s.snap.Certificates) > 0 {
				put(number(s.snap.CertificatesFailed == ""))
			}
		}},
	{name: "acme_orders_total", labels: []string{"result"},
		help: "Certificates that were ordered by ACME, renewals included, by result.",
		read: func(s *scrape, put put) { byResult(s.snap.CertificateOrders, put) }},
	{name: "acme_certificates_missing", typ: gauge,
		help: "Certificates that are to be got by ACME and never were: clients that ask for their names get none.",
		read: func(s *scrape, put put) {
			if s.snap.CertificateOrders != nil {
				put(float64(s.snap.CertificatesMissing))
			}
		}},
	{name: "build_info", typ: gauge, labels: []string{"version", "goversion"},
		help: "Always 1; the labels say what was built.",
		read: func(s *scrape, put put) { put(1, s.snap.Version, runtime.Version()) }},
}
