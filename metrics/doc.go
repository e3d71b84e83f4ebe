// Package metrics shows the scoreboard and what the master knows as Prometheus
// metrics.
//
// Each metric is a row of one table (table.go): name, type, labels, help, and how it is
// read. docs/metrics.md is made of it by go generate.
//
// For the server's own metrics a scrape asks no worker anything. It reads shared memory,
// the master's last snapshot and, per worker, a few files in /proc; so it is answered when
// every worker hangs, and a worker that was killed leaves nothing uncounted but what
// it did not write down itself. Of the application's metrics some have to be asked for
// (Options.Collect): for half a second at most.
//
// # Labels
//
// All labels are bounded. The worker label is the number by which logs and
// process titles name a worker, one more than its slot in the scoreboard, never
// its pid: a slot is handed out again, so there are at most protocol.MaxSlots
// values. A slot that was once used stays: its counters are needed for the sums
// to be right, and worker_up is 0 for it while nobody holds it. What describes
// a process (start time, memory, descriptors) is there only while there is one. The
// code label of requests_total is the class of the status: 2xx; "none" stands for a
// request that got no answer. That of responses_total is a registered status, or
// "other". The method label is one of protocol.Methods.
//
// # Counters
//
// A counter starts with the master and never goes back. Those in the scoreboard
// go on when a slot's worker is replaced. What the kernel counts per process,
// CPU time, does not; the Collector remembers what it last saw of each worker
// and goes on from there for the next one in the slot. CPU time between the last
// scrape and a worker's end is therefore not counted.
//
// Everything that can be counted is there from the start, with 0, so that the
// first increment shows in rate(). The values of one scrape are read one after
// the other while workers go on; a histogram's count is the sum of its buckets,
// but two different metrics may differ by what happened in between.
//
// hostler_last_reload_successful is 1 before the first reload as well: the
// state in use is the one that was asked for.
package metrics
