package admin

import (
	"os"

	"hostler/internal/procstat"
)

// Detailed is Status with what the kernel counts for each worker, and what the last
// seconds were like.
type Detailed struct {
	Status
	Workers []DetailedWorker `json:"workers"`
	Traffic *Traffic         `json:"traffic,omitempty"` // absent: no second has passed
}

// DetailedWorker is one worker process.
type DetailedWorker struct {
	WorkerStatus
	Memory float64 `json:"resident_memory_bytes"` // shared pages included; 0: not known
	CPU    float64 `json:"cpu_seconds"`
	// Ended is how many workers that had the number have ended.
	Ended int `json:"ended"`
}

// CurrentDetailed returns that of now.
func CurrentDetailed(o Options) Detailed {
	return newServer(o).detailed()
}

func (s *server) detailed() Detailed {
	st, snap := s.status()
	d := Detailed{Status: st, Workers: []DetailedWorker{}}
	if s.o.History != nil {
		d.Traffic = s.o.History.Now()
	}
	proc := os.DirFS("/proc")
	for _, ws := range st.Workers {
		w := DetailedWorker{WorkerStatus: ws}
		// A worker may be gone before the master has heard of it.
		if p, err := procstat.Read(proc, ws.PID); err == nil {
			w.Memory, w.CPU = p.Memory, p.CPU
		}
		if ws.Slot < len(snap.Ended) {
			w.Ended = snap.Ended[ws.Slot]
		}
		d.Workers = append(d.Workers, w)
	}
	return d
}
