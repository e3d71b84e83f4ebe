package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Kind tells messages on the control socket apart. The values are printable so
// that a trace of the socket can be read.
type Kind byte

// The kinds of message; the table kinds says what each of them is.
const (
	KindReady      Kind = 'R'
	KindBootFailed Kind = 'F'
	KindLeaving    Kind = 'h'
	KindDrained    Kind = 'E'
	KindDrain      Kind = 'D'
	KindDump       Kind = 'T'
	KindDumped     Kind = 'O'
	KindInterrupt  Kind = 'I'
	KindStack      Kind = 'B'
	KindSlow       Kind = 'Q'
	KindProfile    Kind = 'Y'
	KindProfiled   Kind = 'Z'
	KindDescriptor Kind = 'V'
	KindUnfit      Kind = 'X'
	KindReopen     Kind = 'U'
	KindLevel      Kind = 'L'
	KindModules    Kind = 'M'
	KindPage       Kind = 'G'
	KindTLS        Kind = 'S'
	KindTaken      Kind = 'C'
	KindFork       Kind = 'W'
	KindHooks      Kind = 'N'
	KindHook       Kind = 'H'
	KindHookDone   Kind = 'K'
	KindForked     Kind = 'P'
	KindBorn       Kind = 'J'
	KindMetrics    Kind = 'A'
	KindCollect    Kind = 'c'
	KindCollected  Kind = 'd'
	KindScrape     Kind = 'e'
	KindScraped    Kind = 'f'
	KindCanary     Kind = 'g'
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

// Message is one packet on the control socket. Which fields go with a kind says its
// Payload.
type Message struct {
	Kind  Kind
	Mode  DrainMode
	Grace time.Duration // after this the worker gives up on what is left
	Text  string

	Number int // one of FDHandOut, FDHandIn, FDListeners + i

	Thread int
	Start  int64 // as in the thread's record
}

// The logs that KindReopen is about.
const (
	LogAccess = "access"
	LogErrors = "errors"
	LogSpans  = "spans" // a pipe to the master; see Span
)

// MaxPage bounds the text of KindPage.
const MaxPage = 16 << 10

// MaxMessage bounds a packet; longer texts are cut by the sender.
const MaxMessage = 64 << 10

// ErrMessage reports a packet that is no message.
var ErrMessage = errors.New("malformed control message")

// Append encodes m at the end of dst.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, byte(m.Kind))
	if row := rows[m.Kind]; row != nil {
		dst = payloads[row.Payload].append(dst, &m)
	}
	return dst
}

// ParseMessage decodes one packet.
func ParseMessage(p []byte) (Message, error) {
	if len(p) == 0 {
		return Message{}, fmt.Errorf("empty packet: %w", ErrMessage)
	}
	row := rows[p[0]]
	if row == nil {
		return Message{}, fmt.Errorf("kind %q: %w", p[0], ErrMessage)
	}
	m := Message{Kind: row.Kind}
	if err := payloads[row.Payload].parse(p[1:], &m); err != nil {
		return Message{}, fmt.Errorf("%q with %w: %w", p[0], err, ErrMessage)
	}
	return m, nil
}
