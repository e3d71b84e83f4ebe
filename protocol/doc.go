// Package protocol is all that master and workers agree on: the messages on a
// worker's control socket, the settings a worker is started with, and the
// layout of the scoreboard.
//
// # Control socket
//
// One SOCK_SEQPACKET pair per worker. A message is one packet: a kind byte and
// a payload that the kind defines (see Message). The Python side speaks it
// too (it must be able to say "boot failed" before any Go code runs in the
// worker), which is why the encoding is this plain.
//
//	worker → master: Ready, BootFailed (text), Drained
//	master → worker: Drain (how, how long), Dump, Reopen
//
// End of file on the socket means that the other side is gone. For a worker
// that is an order: drain and exit.
//
// # Scoreboard
//
// A memfd that the master creates and every worker maps shared. The master
// hands out slots; between being handed out and being freed a slot has exactly
// one writer process. Counters are never set back: a worker that takes over a
// slot goes on counting where its dead predecessor stopped, so a sum over all
// slots is monotonic without any folding. Gauges and thread records are cleared
// by the master when it hands the slot out again.
//
// All times in the scoreboard are CLOCK_MONOTONIC nanoseconds, which is one
// clock for all processes of a machine; see Monotonic.
package protocol
