package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Kind tells messages on the control socket apart. The values are printable so
// that a trace of the socket can be read.
type Kind byte

// The kinds of message.
const (
	KindReady      Kind = 'R' // worker: the application is loaded, accepting now
	KindBootFailed Kind = 'F' // worker: Text holds why; the process exits next
	KindDrained    Kind = 'E' // worker: nothing is left to do; Python finalises next
	KindDrain      Kind = 'D' // master: Mode and Grace say how to leave
	KindDump       Kind = 'T' // master: write every thread's Python traceback to the error log
	KindInterrupt  Kind = 'I' // master: raise the timeout's exception in Thread, if it still runs the request that began at Start
	KindStack      Kind = 'B' // master: report the stack of Thread, if it still runs the request that began at Start
	KindSlow       Kind = 'Q' // worker: Text is a list of SlowRequests as JSON
	KindProfile    Kind = 'Y' // master: take a profile; Text is a ProfileRequest
	KindProfiled   Kind = 'Z' // worker: Text is the next part of what a profile has found, "" after the last; see WorkerProfile
	KindDescriptor Kind = 'V' // master: what comes beside it takes the place of the descriptor Number
	KindUnfit      Kind = 'X' // worker: it cannot go on, and Text says why; it is to be replaced
	KindReopen     Kind = 'U' // master: the log that Text names goes to the file whose descriptor travels beside it
	KindLevel      Kind = 'L' // master: Text is the log level from now on, as in WorkerConfig
	KindModules    Kind = 'M' // worker, with Development: Text is files that it has imported, each ended by a NUL
	KindPage       Kind = 'G' // master: answer every request with Text, which says what is wrong with the code
	KindTLS        Kind = 'S' // master: there is other TLS material, in the memory that comes beside it
	KindFork       Kind = 'W' // master to mold: fork a worker; Text is its settings; beside it its control socket and what is to be its FDSecrets
	KindHooks      Kind = 'N' // hooks' process: Text names the hooks that there are; it is ready
	KindHook       Kind = 'H' // master to it: run one; Text is a HookCall
	KindHookDone   Kind = 'K' // hooks' process: it has been run; Text is what went wrong, in one line
	KindForked     Kind = 'P' // mold: it has forked the worker, or Text says why not
	KindBorn       Kind = 'J' // worker: it has been forked; which process it is is the kernel's word, not its own
)

// DrainMode says what a draining worker still does.
type DrainMode byte

const (
	// DrainReplaced: others accept in this worker's place. Stop accepting at
	// once, finish what runs, announce the close on connections at rest.
	DrainReplaced DrainMode = 'r'
	// DrainStop: the server stops. First take what is already in the listen
	// queues, then as DrainReplaced, and close connections at rest.
	DrainStop DrainMode = 's'
	// DrainQuick: close everything now and exit.
	DrainQuick DrainMode = 'q'
)

// Message is one packet on the control socket.
type Message struct {
	Kind  Kind
	Mode  DrainMode     // KindDrain
	Grace time.Duration // KindDrain: after this the worker gives up on what is left
	Text  string        // KindBootFailed, KindLevel, KindReopen, KindModules, KindPage, KindFork, KindForked, KindHooks, KindHook, KindHookDone, KindSlow, KindProfile, KindProfiled

	Number int // KindDescriptor: one of FDHandOut, FDHandIn, FDListeners + i

	Thread int   // KindInterrupt, KindStack
	Start  int64 // KindInterrupt, KindStack: as in the thread's record
}

// The logs that KindReopen is about.
const (
	LogAccess = "access"
	LogErrors = "errors"
)

// maxListeners bounds what a descriptor's number can be.
const maxListeners = 1 << 16

// MaxPage bounds the text of KindPage.
const MaxPage = 16 << 10

// MaxMessage bounds a packet; longer texts are cut by the sender.
const MaxMessage = 64 << 10

// ErrMessage reports a packet that is no message.
var ErrMessage = errors.New("malformed control message")

// Append encodes m at the end of dst.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, byte(m.Kind))
	switch m.Kind {
	case KindDrain:
		dst = append(dst, byte(m.Mode))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Grace))
	case KindBootFailed:
		t := m.Text
		if len(t) > MaxMessage-1 {
			t = t[len(t)-(MaxMessage-1):] // the end of a traceback says most
		}
		dst = append(dst, t...)
	case KindInterrupt, KindStack:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(m.Thread))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Start))
	case KindLevel, KindReopen, KindModules, KindPage, KindFork, KindForked, KindSlow, KindHooks, KindHook, KindHookDone, KindProfile, KindProfiled, KindUnfit:
		dst = append(dst, m.Text...)
	case KindDescriptor:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(m.Number))
	}
	return dst
}

// ParseMessage decodes one packet.
func ParseMessage(p []byte) (Message, error) {
	if len(p) == 0 {
		return Message{}, fmt.Errorf("empty packet: %w", ErrMessage)
	}
	m, body := Message{Kind: Kind(p[0])}, p[1:]
	switch m.Kind {
	case KindReady, KindDrained, KindDump, KindTLS, KindBorn:
		if len(body) != 0 {
			return Message{}, fmt.Errorf("%q with a payload: %w", p[0], ErrMessage)
		}
	case KindBootFailed, KindLevel, KindReopen, KindModules, KindPage, KindFork, KindForked, KindHooks, KindHook, KindHookDone, KindSlow, KindProfile, KindProfiled, KindUnfit:
		m.Text = string(body)
	case KindInterrupt, KindStack:
		if len(body) != 12 {
			return Message{}, fmt.Errorf("%q with %d bytes: %w", p[0], len(body), ErrMessage)
		}
		m.Start = int64(binary.LittleEndian.Uint64(body[4:]))
		n := binary.LittleEndian.Uint32(body)
		if n >= MaxThreads || m.Start <= 0 {
			return Message{}, fmt.Errorf("%q for thread %d, start %d: %w", p[0], n, m.Start, ErrMessage)
		}
		m.Thread = int(n)
	case KindDescriptor:
		if len(body) != 4 {
			return Message{}, fmt.Errorf("a descriptor's number of %d bytes: %w", len(body), ErrMessage)
		}
		n := binary.LittleEndian.Uint32(body)
		if n != FDHandOut && n != FDHandIn && (n < FDListeners || n >= FDListeners+maxListeners) {
			return Message{}, fmt.Errorf("descriptor %d: %w", n, ErrMessage)
		}
		m.Number = int(n)
	case KindDrain:
		if len(body) != 9 {
			return Message{}, fmt.Errorf("drain of %d bytes: %w", len(body), ErrMessage)
		}
		m.Mode = DrainMode(body[0])
		if m.Mode != DrainReplaced && m.Mode != DrainStop && m.Mode != DrainQuick {
			return Message{}, fmt.Errorf("drain mode %q: %w", body[0], ErrMessage)
		}
		m.Grace = time.Duration(binary.LittleEndian.Uint64(body[1:]))
		if m.Grace < 0 {
			return Message{}, fmt.Errorf("negative grace: %w", ErrMessage)
		}
	default:
		return Message{}, fmt.Errorf("kind %q: %w", p[0], ErrMessage)
	}
	return m, nil
}
