package protocol

import "time"

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
	Exits                           map[string]uint64 // worker exits by cause
	RequestTimeouts                 uint64
	Upgrades                        map[string]uint64 // by result: "success", "failure"
	BootFailures                    int               // in a row; a boot is put off while it is not 0
	HookFailures                    uint64            // of the master's hooks
	NextBoot                        time.Time         // when the next try is due; zero: none is put off
	LogLost                         LogLost           // of the master's own lines
	Workers                         []WorkerStatus
	Certificates                    []CertificateStatus // in use; none without TLS
	CertificatesFailed              string              // why their files of today are not in use; "": they are
}

// LogLost counts lines of the logs that are lost.
type LogLost struct{ Access, Error uint64 }

// CertificateStatus is a certificate in use.
type CertificateStatus struct {
	Name     string // the first DNS name
	NotAfter time.Time
}

// WorkerStatus is one worker process as the master sees it.
type WorkerStatus struct {
	Slot, Number, PID, Generation int
	State                         SlotState
	Started, ReadySince           time.Time // ReadySince is zero until it is ready
	Pools                         []Pool    // of its generation's
}
