package protocol

import (
	"fmt"
	"strings"
)

//go:generate go run ./internal/gendoc doc.go

// Party is the part that a process plays on a control socket, or several of them.
type Party uint8

// The parts.
const (
	PartyMaster    Party = 1 << iota
	PartyWorker          // hosts the application
	PartyDeveloped       // a worker with Development, besides
	PartyNewborn         // a worker that has been forked, and has said nothing yet
	PartyMold            // has the application imported, and is forked
	PartyHooks           // runs the master's hooks
	numParties     = iota
)

var partyNames = [numParties]string{"master", "worker", "worker with Development", "forked worker", "mold", "hooks"}

func (p Party) String() string {
	var names []string
	for i, name := range partyNames {
		if p>>i&1 == 1 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// MessageKind is a row of the table of messages.
type MessageKind struct {
	Kind     Kind
	Name     string
	From, To Party // who may send it; who has to know what to do
	Payload  Payload
	Beside   string // descriptors that travel along
	Meaning  string
}

// kinds are all that can be said on a control socket. Codec, who may say what, the
// package's documentation and the tests of both ends walk it: a kind is added here.
var kinds = [...]MessageKind{
	{KindReady, "Ready", PartyWorker | PartyMold, PartyMaster, PayloadNone, "", "the application is loaded; a worker accepts now, a mold can be forked"},
	{KindBootFailed, "BootFailed", PartyWorker | PartyMold | PartyHooks, PartyMaster, PayloadEnd, "", "why; the process exits next"},
	{KindLeaving, "Leaving", PartyWorker, PartyMaster, PayloadNone, "", "told to leave by SIGTERM before it was ready, it ends in good order what the application has begun"},
	{KindDrained, "Drained", PartyWorker, PartyMaster, PayloadNone, "", "nothing is left to do; Python finalises next"},
	{KindSlow, "Slow", PartyWorker, PartyMaster, PayloadText, "", "a list of SlowRequests as JSON"},
	{KindProfiled, "Profiled", PartyWorker, PartyMaster, PayloadText, "", `the next part of what a profile has found, "" after the last; see WorkerProfile`},
	{KindDumped, "Dumped", PartyWorker, PartyMaster, PayloadText, "", `the next part of the tracebacks that were asked for with DumpTell, "" after the last`},
	{KindUnfit, "Unfit", PartyWorker, PartyMaster, PayloadText, "", "why it cannot go on; it is to be replaced"},
	{KindTaken, "Taken", PartyWorker, PartyMaster, PayloadNone, "", "it has seen to the TLS material that it was sent: handshakes to come are by that"},
	{KindModules, "Modules", PartyDeveloped | PartyMold, PartyMaster, PayloadText, "", "files that it has imported, each ended by a NUL"},
	{KindMetrics, "Metrics", PartyWorker | PartyMold, PartyMaster, PayloadNone, "memory whose size is sealed", "what the application counts is there from now on; see internal/appmetrics"},
	{KindCollected, "Collected", PartyWorker, PartyMaster, PayloadNone, "", "it has looked up what was asked for with Collect"},
	{KindScrape, "Scrape", PartyWorker, PartyMaster, PayloadText, "", "a client waits for the application's metrics, in this MetricsForm"},
	{KindForked, "Forked", PartyMold, PartyMaster, PayloadText, "", "it has forked the worker, or why not"},
	{KindBorn, "Born", PartyNewborn, PartyMaster, PayloadNone, "", "it has been forked; which process it is is the kernel's word, not its own"},
	{KindHooks, "Hooks", PartyHooks, PartyMaster, PayloadText, "", "the hooks that there are; it is ready"},
	{KindHookDone, "HookDone", PartyHooks, PartyMaster, PayloadText, "", "the hook has been run; what went wrong, in one line"},
	{KindDrain, "Drain", PartyMaster, PartyWorker | PartyHooks, PayloadDrain, "", "leave, in this way and this time"},
	{KindDump, "Dump", PartyMaster, PartyWorker, PayloadText, "", "write every thread's Python traceback to the error log; with DumpTell also to the master"},
	{KindInterrupt, "Interrupt", PartyMaster, PartyWorker, PayloadThread, "", "raise the timeout's exception in the thread, if it still runs that request"},
	{KindStack, "Stack", PartyMaster, PartyWorker, PayloadThread, "", "report the stack of the thread, if it still runs that request"},
	{KindProfile, "Profile", PartyMaster, PartyWorker, PayloadText, "", "take a profile, a ProfileRequest"},
	{KindCollect, "Collect", PartyMaster, PartyWorker, PayloadText, "", "look up those of the application's metrics that have to be asked for; with CollectAll also those that one worker has for all"},
	{KindScraped, "Scraped", PartyMaster, PartyWorker, PayloadText, "sealed memory", "the application's metrics in a MetricsForm; nothing: there are none"},
	{KindLevel, "Level", PartyMaster, PartyWorker, PayloadText, "", "the log level from now on, as in WorkerConfig"},
	{KindReopen, "Reopen", PartyMaster, PartyWorker | PartyMold | PartyHooks, PayloadText, "its file", "the log of that name (LogAccess, LogErrors, LogSpans) goes elsewhere"},
	{KindPage, "Page", PartyMaster, PartyDeveloped, PayloadText, "", "answer every request with this, which says what is wrong with the code"},
	{KindTLS, "TLS", PartyMaster, PartyWorker, PayloadNone, "sealed memory", "there is other TLS material"},
	{KindDescriptor, "Descriptor", PartyMaster, PartyWorker, PayloadDescriptor, "what takes its place", "a descriptor that was given at exec is replaced"},
	{KindCanary, "Canary", PartyMaster, PartyWorker, PayloadText, "an end of the canary's exchange", `the share of the requests that a canary is to have, "" when it has ended: who has it gives (out) or takes what is left (in); a worker of the canary itself begins to take, or serves as all do`},
	{KindFork, "Fork", PartyMaster, PartyMold, PayloadText, "its control socket, its FDSecrets", "fork a worker with these settings"},
	{KindHook, "Hook", PartyMaster, PartyHooks, PayloadText, "", "run a hook, a HookCall"},
}

// rows are the rows of kinds by their kind.
var rows = func() (by [256]*MessageKind) {
	for i := range kinds {
		by[kinds[i].Kind] = &kinds[i]
	}
	return by
}()

// MessageKinds returns the table of messages.
func MessageKinds() []MessageKind { return append([]MessageKind(nil), kinds[:]...) }

// Words returns the kinds of message that any of p may send, a byte each.
func Words(p Party) string {
	var words []byte
	for _, m := range kinds {
		if m.From&p != 0 {
			words = append(words, byte(m.Kind))
		}
	}
	return string(words)
}

// MessageDoc is the table as doc.go has it.
func MessageDoc() string {
	var b strings.Builder
	b.WriteString("// Who sends each of them to whom, which fields of a Message it carries, and what it\n" +
		"// means. Made from the table in kinds.go by go generate.\n//\n")
	for _, to := range [...]bool{true, false} {
		for _, m := range kinds {
			if (m.To == PartyMaster) != to {
				continue
			}
			way := m.From.String() + " → master"
			if !to {
				way = "master → " + m.To.String()
			}
			carries := strings.Join(m.Payload.Fields(), ", ")
			if m.Beside != "" {
				carries = strings.TrimPrefix(carries+"; beside it "+m.Beside, "; ")
			}
			if carries != "" {
				carries = " (" + carries + ")"
			}
			fmt.Fprintf(&b, "//\t%c %-10s  %s%s\n//\t              %s\n", m.Kind, m.Name, way, carries, m.Meaning)
		}
	}
	return b.String()
}
