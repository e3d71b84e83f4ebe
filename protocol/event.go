package protocol

import "time"

// Event is one line of the master's journal: something that happened to the
// server or to a worker, and why. Its JSON is what hostler ctl shows to scripts.
type Event struct {
	Time time.Time `json:"time"`
	// Kind says what happened. To the server: serving, reload_started, reloaded,
	// reload_failed, canary_started, canary_passed, upgrade_started, upgraded, upgrade_failed, scale, scale_held,
	// restart_started, restarted, restart_failed, boot_failed, boots_again, crash_loop,
	// hook_failed, certificates_changed, certificates_failed, certificate_issued,
	// certificate_not_issued, exchange_mended, listener_mended, stopping. To a worker: worker_started, worker_ready,
	// worker_draining, worker_left, worker_killed (by the master), worker_died,
	// worker_frozen, worker_thawed, gil_deadlock.
	Kind       string `json:"kind"`
	Worker     int    `json:"worker,omitempty"` // its number; 0: the event is the server's
	PID        int    `json:"pid,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Cause      string `json:"cause,omitempty"` // as in the exits metric
	Text       string `json:"text,omitempty"`  // for people
}
