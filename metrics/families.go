package metrics

import "github.com/prometheus/client_golang/prometheus"

const namespace = "hostler"

// families are the descriptions of all metrics.
type families struct {
	all []*prometheus.Desc

	// requests
	requests, duration, queueWait, gilWait *prometheus.Desc
	bytesIn, bytesOut                      *prometheus.Desc
	exceptions, violations, rejected       *prometheus.Desc
	unavailable, held, requestTimeouts     *prometheus.Desc
	spooledBodies, spooledBytes            *prometheus.Desc
	spoolFailures, spoolFiles, spoolBytes  *prometheus.Desc
	accessLogErrors, errorLogErrors        *prometheus.Desc
	forwardedUntrusted                     *prometheus.Desc

	// connections and threads
	connections, accepted       *prometheus.Desc
	connTimeouts, connEvictions *prometheus.Desc
	acceptErrors                *prometheus.Desc
	handedOver                  *prometheus.Desc
	threads, queueDepth, oldest *prometheus.Desc
	poolThreads, poolQueue      *prometheus.Desc

	// workers
	up, started, memory, cpu, served                              *prometheus.Desc
	exits, workers, target, least, most, hooksFailed, bootsFailed *prometheus.Desc
	generation, reloads, reloadOK, reloadT                        *prometheus.Desc
	handshakes, certExpiry, certsOK                               *prometheus.Desc
	upgrades, build                                               *prometheus.Desc
}

func newFamilies() *families {
	f := new(families)
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
		f.all = append(f.all, d)
		return d
	}
	f.requests = desc("requests_total",
		"Requests that ended, by class of the response's status (none: no response was sent) and method.", "code", "method")
	f.duration = desc("request_duration_seconds",
		"Time from the arrival of the whole request to the end of its response.")
	f.queueWait = desc("request_queue_wait_seconds",
		"Time from the arrival of the whole request to the start of the application for it.")
	f.gilWait = desc("gil_wait_seconds_total",
		"Time that Python threads with a request in hand have waited for the interpreter's lock.")
	f.bytesIn = desc("received_bytes_total", "Bytes read from clients.")
	f.bytesOut = desc("sent_bytes_total", "Bytes written to clients.")
	f.exceptions = desc("app_exceptions_total", "Requests in which the application raised an exception.")
	f.violations = desc("app_violations_total",
		"Breaches of PEP 3333 by the application, such as a body longer than its Content-Length.")
	f.rejected = desc("rejected_requests_total", "Requests refused before the application saw them, by reason.", "reason")
	f.held = desc("requests_held_total", "Requests to slow routes that waited for a second free thread.")
	f.spooledBodies = desc("spooled_bodies_total", "Request bodies that were too large for memory and went to a file.")
	f.spooledBytes = desc("spooled_bytes_total", "Bytes written to these files.")
	f.spoolFailures = desc("spool_failures_total", "Request bodies that could not be spooled, or not to their end: the disk is full, too slow, or not to be written to.")
	f.spoolFiles = desc("spool_files", "Request bodies that are in a file now.")
	f.spoolBytes = desc("spool_bytes", "How much of the disk they take.")
	f.unavailable = desc("unavailable_total", "Requests answered with 503 because the queue of their worker was full.")
	f.requestTimeouts = desc("request_timeouts_total", "Requests that held a Python thread for longer than --timeout.")
	f.accessLogErrors = desc("access_log_errors_total", "Lines of the access log that are lost: they could not be written, or not fast enough.")
	f.errorLogErrors = desc("error_log_errors_total", "Lines of the error log that are lost, likewise.")
	f.forwardedUntrusted = desc("forwarded_untrusted_total", "Requests with X-Forwarded-… or Forwarded from peers that are not in --forwarded-allow-ips.")

	f.connections = desc("connections",
		"Open connections: between requests (idle), receiving a request (reading), with the application or waiting for it (running), sending what is left of a response (writing).", "state")
	f.accepted = desc("connections_accepted_total", "Connections accepted.")
	f.acceptErrors = desc("accept_errors_total", "Attempts to accept a connection that failed, for want of file descriptors for the most part.")
	f.handedOver = desc("connections_handed_over_total", "Connections that workers gave to others (out) and took from them (in).", "direction")
	f.connTimeouts = desc("connection_timeouts_total", "Connections ended by a time limit, by what they were in.", "phase")
	f.connEvictions = desc("connections_evicted_total", "Connections closed because their worker was full (of connections, buffers, or threads that wait for clients), by what they were in.", "phase")
	f.threads = desc("threads", "Python threads of workers that have booted, by whether they run a request.", "state")
	f.queueDepth = desc("queue_depth", "Whole requests that wait for a Python thread.")
	f.poolThreads = desc("pool_threads", "Python threads that requests of a pool (--pool) may run on, by whether one does.", "pool", "state")
	f.poolQueue = desc("pool_queue_depth", "Whole requests that wait for a thread of their pool.", "pool")
	f.oldest = desc("oldest_request_age_seconds",
		"Age of the oldest request that waits for a Python thread or runs in one; 0 if there is none.")

	f.up = desc("worker_up",
		"Whether a worker that is ready, and gives signs of life, holds this number. It stays 0 for numbers that a reload or fewer workers have left behind.", "worker")
	f.started = desc("worker_start_time_seconds", "Start of the worker process since the Unix epoch.", "worker")
	f.memory = desc("worker_resident_memory_bytes", "Resident memory of the worker process, shared pages included.", "worker")
	f.cpu = desc("worker_cpu_seconds_total", "User and system CPU time of the workers that have held this number.", "worker")
	f.served = desc("worker_requests_total", "Requests that ended in the workers that have held this number.", "worker")
	f.exits = desc("worker_exits_total", "Worker processes that have ended, by cause.", "cause")
	f.workers = desc("workers", "Worker processes by state; frozen ones should serve, and give no sign of life.", "state")
	f.target = desc("workers_target", "Worker processes that there should be.")
	f.least = desc("workers_min", "Fewest workers that --workers allows.")
	f.most = desc("workers_max", "Most workers that --workers allows; more than the fewest where the number goes by need.")
	f.bootsFailed = desc("consecutive_boot_failures", "Failed boots of workers in a row; 0 when all workers have booted.")
	f.hooksFailed = desc("hook_failures_total", "Hooks of the master's that have raised an exception.")
	f.generation = desc("generation", "Number of the generation that serves; each successful reload starts another.")
	f.reloads = desc("reloads_total", "Reloads that have ended, by result.", "result")
	f.reloadOK = desc("last_reload_successful", "Whether the last reload succeeded; 1 before the first.")
	f.handshakes = desc("tls_handshakes_total", "TLS handshakes, by result.", "result")
	f.certExpiry = desc("tls_certificate_expiry_timestamp_seconds", "When a certificate in use ends, since the Unix epoch.", "certificate")
	f.certsOK = desc("tls_certificates_current", "Whether the certificates in use are those in the files; 0 if these cannot be used.")
	f.reloadT = desc("last_reload_timestamp_seconds",
		"End of the last reload, successful or not, since the Unix epoch; 0 before the first.")
	f.upgrades = desc("upgrades_total", "Replacements of the running binary that were tried, by result.", "result")
	f.build = desc("build_info", "Always 1; the labels say what was built.", "version", "goversion")
	return f
}
