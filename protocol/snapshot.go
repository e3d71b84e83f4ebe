package protocol

import (
	"slices"
	"time"

	"hostler/settings"
)

// Snapshot is what the master says about itself and its workers at one moment.
// It is immutable once published. It is not for workers: it stands here so that
// whoever renders it depends on the protocol alone.
type Snapshot struct {
	Version, App, Name              string
	Started                         time.Time
	Generation                      int
	Ready, Stopping                 bool
	TargetWorkers, ThreadsPerWorker int
	MinWorkers, MaxWorkers          int               // of --workers; the same where the number does not go by need
	Pinned                          bool              // an operator has set it, while it could go by need
	Reloads                         map[string]uint64 // by result: "success", "failure"
	LastReloadSuccessful            bool
	LastReload                      time.Time         // zero: never
	LastReloadError                 string            // why it failed; "": it did not
	Canaries                        map[string]uint64 // by result: "success", "failure", "ended"
	Exits                           map[string]uint64 // worker exits by cause
	RequestTimeouts                 uint64
	Upgrades                        map[string]uint64 // by result: "success", "failure"
	BootFailures                    int               // in a row; a boot is put off while it is not 0
	HookFailures                    uint64            // of the master's hooks
	NextBoot                        time.Time         // when the next try is due; zero: none is put off
	LogLost                         LogLost           // of the master's own lines
	Workers                         []WorkerStatus
	GoneCPU                         []float64           // seconds that workers which are gone have used, by slot; may be shorter
	Ended                           []int               // how many workers have ended, by slot; likewise
	ListenQueues                    []ListenQueue       // of TCP sockets, as of the last second
	DeadListeners                   []string            // addresses that not everybody can connect to: a worker has shut down the socket, or set options on it
	Certificates                    []CertificateStatus // in use; none without TLS
	CertificatesFailed              string              // why their files of today are not in use; "": they are
	CertificatesMissing             int                 // that are to be got by ACME, and never were
	CertificateOrders               map[string]uint64   // by result: "success", "failure"; nil without ACME
	Spans                           SpanCounts
}

// HasGeneration reports whether a generation serves, or has workers still or already.
func (s *Snapshot) HasGeneration(number int) bool {
	return number == s.Generation || slices.ContainsFunc(s.Workers, func(w WorkerStatus) bool { return w.Generation == number })
}

// LogLost counts lines of the logs that are lost.
type LogLost struct{ Access, Error uint64 }

// SpanCounts says what has become of spans, beside those that workers have lost.
type SpanCounts struct {
	Exported  uint64 // the collector has taken them
	Queue     uint64 // lost: they came faster than they could be sent
	Collector uint64 // lost: the collector has not taken them
	Invalid   uint64 // lines that were no span's
}

// ListenQueue is how many connections wait to be accepted from a socket, and how many
// may.
type ListenQueue struct {
	Address      string
	Depth, Limit int
}

// CertificateStatus is a certificate in use.
type CertificateStatus struct {
	Name     string // the first DNS name
	NotAfter time.Time
}

// Serves reports whether the worker serves, as far as the master can see.
func (w *WorkerStatus) Serves() bool { return w.State == SlotServing && !w.Frozen }

// StateName is what people call the worker's state.
func (w *WorkerStatus) StateName() string {
	if w.State == SlotServing && w.Frozen {
		return StateFrozen
	}
	return w.State.String()
}

// StateFrozen is the state of a worker that should serve, and gives no sign of life.
const StateFrozen = "frozen"

// WorkerStatus is one worker process as the master sees it.
type WorkerStatus struct {
	Slot, Number, PID, Generation int
	State                         SlotState
	Frozen                        bool            // it gives no sign of life, and serves nobody
	Started, ReadySince           time.Time       // ReadySince is zero until it is ready
	Pools                         []settings.Pool // of its generation's
}
