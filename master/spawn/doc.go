// Package spawn starts the processes of a server, says what becomes of them, and reaps
// them: workers, molds and what is forked from those, the process of the hooks.
//
// # Who waits
//
// Nobody who calls: a process is started by one goroutine, which may hang in fork or
// exec, and what it says and its end are reported from goroutines of their own. A
// Process can be sent messages and signals before it is there; it gets them when it is.
// A mold forks a worker within forkTime, or it is killed.
//
// # Who is believed
//
// No process: whose message one is is the kernel's word (SO_PASSCRED), what it may say
// is a table (protocol.Words), and how much of it is bounded (hearing). Which process a
// forked worker is is known when it has said so itself. Only a process that is a child
// of ours and has not been reaped is sent a signal, so that nobody who got its number
// later is hit.
//
// # Descriptors
//
// What a Spec names stays the caller's: it is copied by Start. A process gets these and
// those that package protocol names (FDControl and the rest), and no others.
package spawn
