// Command chaos torments a real server under load and holds it to its promises.
//
// A seed decides on a plan: which faults come in which order, whom they hit, how
// long they last. The same seed makes the same plan, so a failure can be
// repeated as far as the machine's own timing lets it:
//
//	make chaos CHAOS_SEED=7 CHAOS_MINUTES=10
//
// # What must hold
//
//   - No request fails but those in a process that was killed. Every request has
//     a number, which the answer repeats. One that fails must be in the server's
//     own post mortem ("request lost"), or its connection must have ended when a
//     worker was killed or died (see blame). A refused connection, a wrong
//     answer, a 503 or silence is never excused.
//   - No stream is cut before its end by a worker that leaves: one that listens is
//     told and can say its last word, one that does not is let finish.
//   - Every message on a WebSocket is answered, or the WebSocket is closed with a
//     code that says that the worker leaves.
//   - The workers are as many as there should be again, of the code that should
//     serve, soon after each handful of faults.
//   - Counters never go back: /metrics is scraped all along.
//   - At the end no process, no shared memory, no socket or pid file is left, and
//     before it the descriptors of master and workers are as many as at the start.
//   - The master's memory stays flat.
//
// The driver is a subreaper, so whatever a server leaves behind becomes its
// child, and it can tell.
package main
