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
// End of file on the socket means that the other side is gone. For a worker
// that is an order: drain and exit.
//
// # Messages
//
// Who sends each of them to whom, which fields of a Message it carries, and what it
// means. Made from the table in kinds.go by go generate.
//
//	R Ready       worker, mold → master
//	              the application is loaded; a worker accepts now, a mold can be forked
//	F BootFailed  worker, mold, hooks → master (Text)
//	              why; the process exits next
//	h Leaving     worker → master
//	              told to leave by SIGTERM before it was ready, it ends in good order what the application has begun
//	E Drained     worker → master
//	              nothing is left to do; Python finalises next
//	Q Slow        worker → master (Text)
//	              a list of SlowRequests as JSON
//	Z Profiled    worker → master (Text)
//	              the next part of what a profile has found, "" after the last; see WorkerProfile
//	O Dumped      worker → master (Text)
//	              the next part of the tracebacks that were asked for with DumpTell, "" after the last
//	X Unfit       worker → master (Text)
//	              why it cannot go on; it is to be replaced
//	C Taken       worker → master
//	              it has seen to the TLS material that it was sent: handshakes to come are by that
//	M Modules     worker with Development, mold → master (Text)
//	              files that it has imported, each ended by a NUL
//	A Metrics     worker, mold → master (beside it memory whose size is sealed)
//	              what the application counts is there from now on; see internal/appmetrics
//	d Collected   worker → master
//	              it has looked up what was asked for with Collect
//	e Scrape      worker → master (Text)
//	              a client waits for the application's metrics, in this MetricsForm
//	P Forked      mold → master (Text)
//	              it has forked the worker, or why not
//	J Born        forked worker → master
//	              it has been forked; which process it is is the kernel's word, not its own
//	N Hooks       hooks → master (Text)
//	              the hooks that there are; it is ready
//	K HookDone    hooks → master (Text)
//	              the hook has been run; what went wrong, in one line
//	D Drain       master → worker, hooks (Mode, Grace)
//	              leave, in this way and this time
//	T Dump        master → worker (Text)
//	              write every thread's Python traceback to the error log; with DumpTell also to the master
//	I Interrupt   master → worker (Thread, Start)
//	              raise the timeout's exception in the thread, if it still runs that request
//	B Stack       master → worker (Thread, Start)
//	              report the stack of the thread, if it still runs that request
//	Y Profile     master → worker (Text)
//	              take a profile, a ProfileRequest
//	c Collect     master → worker (Text)
//	              look up those of the application's metrics that have to be asked for; with CollectAll also those that one worker has for all
//	f Scraped     master → worker (Text; beside it sealed memory)
//	              the application's metrics in a MetricsForm; nothing: there are none
//	L Level       master → worker (Text)
//	              the log level from now on, as in WorkerConfig
//	U Reopen      master → worker, mold, hooks (Text; beside it its file)
//	              the log of that name (LogAccess, LogErrors, LogSpans) goes elsewhere
//	G Page        master → worker with Development (Text)
//	              answer every request with this, which says what is wrong with the code
//	S TLS         master → worker (beside it sealed memory)
//	              there is other TLS material
//	V Descriptor  master → worker (Number; beside it what takes its place)
//	              a descriptor that was given at exec is replaced
//	g Canary      master → worker (Text; beside it an end of the canary's exchange)
//	              the share of the requests that a canary is to have, "" when it has ended: who has it gives (out) or takes what is left (in); a worker of the canary itself begins to take, or serves as all do
//	W Fork        master → mold (Text; beside it its control socket, its FDSecrets)
//	              fork a worker with these settings
//	H Hook        master → hooks (Text)
//	              run a hook, a HookCall
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
