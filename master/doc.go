// Package master binds the listening sockets and supervises worker processes.
// It is pure Go; the application runs in the workers only.
//
// # Who owns what
//
// One goroutine, supervisor.loop, owns all state: phases, generations, workers,
// slots of the scoreboard. Signals, workers' messages and exits, the end of an
// upgrade and requests to reload are events that others post to it; after each
// event it reconciles what is with what should be, and publishes a Snapshot.
//
// # Nothing that can block runs in the state goroutine
//
// No lock that is held while its owner waits, no file, no name, no process that has
// to do its part: if any of these is away, workers are looked after as ever, and
// SIGTERM, then SIGQUIT, end the server in their time. What can block is done
// elsewhere and its result is an event:
//
//	processes are started    by the spawner's one goroutine, which may hang in fork or
//	                         exec; Start returns at once, and so do all methods of
//	                         spawn.Process: a message that finds no room is lost
//	a mold forks a worker    within forkTime, or it is killed
//	a generation is prepared (settings, directory, interpreter, user, certificates,
//	                         addresses) in a goroutine of its own, within prepareTime
//	certificates are read    in a goroutine of its own
//	listening sockets        are examined and mended in goroutines of their own: a worker
//	                         can hold one's lock
//	files are seen to        (pid file, sockets' files, the code that is watched) by a
//	                         clerk, one after the other
//	logs are opened          in goroutines of their own, and lines written by others
//
// What is left to the host's other methods is the kernel's own: polls, signals,
// closing, /proc and /sys, and a datagram that is sent or not.
//
// The operating system is behind three seams, which the unit tests replace:
// spawn.Starter and spawn.Process (processes and control sockets), host
// (listeners, settings, upgrades, pid file; host.go) and clock. Tests run the
// state machine with fake processes in fake time.
//
// # Phases
//
//	starting ──first generation ready──▶ serving ──TERM, INT, QUIT, upgraded──▶ stopping ──▶ done
//	    └──────── a boot fails, or a signal to stop ─────────────────────────────▲
//
// # A worker
//
//	          Ready                told to leave
//	booting ─────────▶ serving ─────────────────▶ draining
//	   │ told to leave,   │                          │ deadline passed,
//	   │ boot failed,     │                          │ or only stuck requests left
//	   │ boot timeout     │                          ▼
//	   ├───────▶ draining │                        killed
//	   ▼                  ▼                          │
//	 gone ◀─────────── exit seen ◀───────────────────┘
//
// A serving worker may be condemned: it ran into --timeout, has served its
// --max-requests, is too old or too large, or is to be restarted. It serves on
// until its replacement is ready, and drains then; if no replacement boots, it
// stays. Of those that are worn no more than --max-unavailable are condemned at a
// time. A worker never goes back to an earlier state, and a replacement has a slot
// of its own.
//
// How many there are is the settings' business, an operator's, or with --workers
// MIN:MAX that of decide (scale.go), which sees nothing but numbers.
//
// Boots that fail, and workers that die young, are followed by pauses; the log and
// the journal have the reason once (crashloop.go).
//
// # A reload
//
// SIGHUP is a transaction:
//
//	read the settings ─▶ bind new addresses ─▶ start all workers ─▶ all ready ─▶ commit: the old ones drain
//	        └──────────────────┴───────────────────┴── any failure ─▶ abandon: the new ones leave
//
// Until the commit the old generation is kept up as ever. A second SIGHUP during
// a reload is one more reload after it. The first generation is the same
// transaction with nothing to go back to: abandoning it ends the master.
//
// An address that the new settings do not name is shut down when the last
// worker that has it is gone; those are told to empty its queue first.
//
// With --hooks, a generation begins with a process that runs the hooks of the
// master's (hooks.go); its workers start when the first hook has been run. The
// master ends when these processes, too, are gone.
//
// # An upgrade
//
// SIGUSR2 starts the binary again (internal/upgrade) and hands on the
// listening sockets. The new master boots its own first generation on them and
// then says so; the old one drains and exits. If the new one fails, the old one
// serves on. Sockets in the file system and the pid file belong to the new
// master from then on. It says which sockets it has no use for: the old workers
// empty their queues, as those of a reload do, and with the last of them they close.
//
// # Worker processes
//
// All are started by one goroutine that is locked to its thread for ever,
// because the parent-death signal is the thread's (golang/go#27505).
// Descriptors are passed as numbers: os.File.Fd would switch the description
// that all processes share to blocking (golang/go#29277). Everything else is
// close-on-exec, the other workers' control sockets above all: end of file there
// is how a worker learns that the master is gone.
package master
