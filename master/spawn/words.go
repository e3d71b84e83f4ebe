package spawn

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"hostler/protocol"
)

// wordsOf returns the kinds of message that a process which is started with c may send.
// It runs the application and may be another user's: who says something else has gone
// wrong, or means ill.
func wordsOf(c *protocol.WorkerConfig) string {
	switch {
	case c.HooksOnly:
		return protocol.Words(protocol.PartyHooks)
	case c.Mold:
		return protocol.Words(protocol.PartyMold)
	case c.Development:
		return protocol.Words(protocol.PartyWorker | protocol.PartyDeveloped)
	}
	return protocol.Words(protocol.PartyWorker)
}

var errNotItsWord = errors.New("it is not for this process to say that")

const (
	// talkBurst is how many messages a process may send at once: the parts of the
	// longest profile are some eighty.
	talkBurst = 256
	// talkEvery is how often one may follow, for ever. Whoever sends more waits for
	// us, not we for it.
	talkEvery = 10 * time.Millisecond
)

// hearing takes what one process sends. It belongs to the goroutine that reads its
// control socket.
type hearing struct {
	log   *slog.Logger
	pid   int // 0: it has not said yet who it is
	words string

	quiet time.Time // up to when, at talkEvery, messages have used up their time
	odd   int       // packets that were none of its messages
}

// pause waits while the process talks too much.
func (h *hearing) pause() {
	now := time.Now()
	if h.quiet.Before(now) {
		h.quiet = now
	}
	h.quiet = h.quiet.Add(talkEvery)
	if ahead := h.quiet.Sub(now) - talkBurst*talkEvery; ahead > 0 {
		time.Sleep(ahead)
	}
}

// parse returns the message in a packet from the process of that pid, or false. The
// first packet that is none is logged, and at the end how many there were.
func (h *hearing) parse(packet []byte, from int) (protocol.Message, bool) {
	m, err := protocol.ParseMessage(packet)
	switch {
	case err != nil:
	case from != h.pid: // a child of its, or whoever else got hold of its socket
		err = fmt.Errorf("process %d speaks in its name", from)
	case strings.IndexByte(h.words, byte(m.Kind)) < 0:
		err = errNotItsWord
	default:
		return m, true
	}
	if h.odd++; h.odd == 1 {
		h.log.Error("a process of this server sent a packet that is not one of its messages; such packets are ignored", "pid", h.pid, "kind", oddKind(packet), "error", err)
	}
	return m, false
}

// end says what came after the first odd packet.
func (h *hearing) end() {
	if h.odd > 1 {
		h.log.Error("a process of this server sent packets that are not its messages", "pid", h.pid, "packets", h.odd)
	}
}

func oddKind(packet []byte) string {
	return string(packet[:min(len(packet), 1)])
}
