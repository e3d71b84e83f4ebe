package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"hostler/protocol"
)

const (
	// maxListeners leaves most connections of the admin server's to others.
	maxListeners = 32
	// behind is how many frames may wait for a listener before it is let go.
	behind = 4
	// frameTimeout is how long a frame may take to be written.
	frameTimeout = 10 * time.Second
	// shownEvents is how many of the latest events the page has.
	shownEvents = 60
)

// hub hands a frame a second to whoever listens. It waits for nobody: a listener that
// does not keep up is let go, and may come again.
type hub struct {
	mu        sync.Mutex
	listeners map[chan []byte]bool
	frame     func() []byte
}

// next says what makes the frames.
func (h *hub) next(frame func() []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frame = frame
}

// join makes a listener; nil: there are too many.
func (h *hub) join() chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) >= maxListeners {
		return nil
	}
	if h.listeners == nil {
		h.listeners = make(map[chan []byte]bool)
	}
	l := make(chan []byte, behind)
	h.listeners[l] = true
	return l
}

func (h *hub) leave(l chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

// tick gives all of them the next frame. The channel of who is let go is closed.
func (h *hub) tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) == 0 {
		return
	}
	frame := h.frame()
	for l := range h.listeners {
		select {
		case l <- frame:
		default:
			delete(h.listeners, l)
			close(l)
		}
	}
}

// Frame is what the page is told each second.
type Frame struct {
	Detailed
	NotReady string   `json:"not_ready,omitempty"` // why; "": it is
	Samples  []Sample `json:"samples"`             // new ones; in the first frame all
	// Events are the latest, oldest first; null: those that were told of last.
	Events []protocol.Event `json:"events"`
}

// framer makes frames.
type framer struct {
	*server
	samples uint64 // that have been told of
	last    protocol.Event
}

// make returns a frame in the form of server-sent events: the first for a listener, or
// the next for all of them.
func (f *framer) make(first bool) []byte {
	d := f.detailed()
	frame := Frame{Detailed: d}
	snap := f.o.Snapshot()
	for _, c := range conditions(&snap) {
		if !c.met {
			frame.NotReady = c.why
			break
		}
	}
	events := f.o.Events()
	events = events[max(0, len(events)-shownEvents):]
	if first {
		frame.Samples, _ = f.o.History.Since(0)
		frame.Events = events
	} else {
		frame.Samples, f.samples = f.o.History.Since(f.samples)
		if n := len(events); n > 0 && events[n-1] != f.last {
			frame.Events, f.last = events, events[n-1]
		}
	}
	b, err := json.Marshal(frame)
	if err != nil {
		panic(err) // there is nothing in it that has no JSON
	}
	return append(append([]byte("data: "), b...), "\n\n"...)
}

// serveEvents is for a page that is open. It ends when the client goes, takes nothing, or
// the server stops.
func (s *server) serveEvents(w http.ResponseWriter, r *http.Request) {
	hub := &s.o.History.hub
	listener := hub.join()
	if listener == nil {
		w.Header().Set("Retry-After", "10")
		text(w, http.StatusServiceUnavailable, "too many pages are open\n")
		return
	}
	defer hub.leave(listener)
	c := http.NewResponseController(w)
	// The end of a limit for reading would end the request's context.
	_ = c.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	// nginx would collect frames before it passes them on.
	w.Header().Set("X-Accel-Buffering", "no")
	frame := append([]byte("retry: 1000\n"), (&framer{server: s}).make(true)...)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(frameTimeout))
		if _, err := w.Write(frame); err != nil {
			return
		}
		if c.Flush() != nil {
			return
		}
		var more bool
		select {
		case frame, more = <-listener:
			if !more {
				return
			}
		case <-r.Context().Done():
			return
		case <-stopping(r.Context()):
			return
		}
	}
}

// stoppingKey is under which the context of a request has a channel that is closed when
// the server begins to stop.
type stoppingKey struct{}

// stopping returns that channel; nil, which nobody closes, outside of Serve.
func stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}
