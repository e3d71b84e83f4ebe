package protocol

import "time"

// Event is one line of the master's journal: something that happened to the
// server or to a worker, and why. Its JSON is what hostler ctl shows to scripts.
type Event struct {
	Time time.Time `json:"time"`
	// Kind says what happened: serving, worker_started, worker_ready,
	// worker_draining, worker_left, worker_killed (by the master), worker_died,
	// reload_started, reloaded, reload_failed, upgrade_started, upgraded,
	// upgrade_failed, scale, restart_started, restarted, restart_failed,
	// stopping.
	Kind       string `json:"kind"`
	Worker     int    `json:"worker,omitempty"` // its number; 0: the event is the server's
	PID        int    `json:"pid,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Cause      string `json:"cause,omitempty"` // as in the exits metric
	Text       string `json:"text,omitempty"`  // for people
}
