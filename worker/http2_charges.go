package worker

import "golang.org/x/net/http2"

// Frames that cost us more than the client are charged, whatever kind they are, known
// or not, of a stream that lives or not. What is not charged is bounded otherwise: heads
// of requests by http2Streams and by what an application makes of them, bytes of bodies
// by windows. And whatever a client sends, it is read in turns (see http2Turn).
//
//	HEADERS        0 for a request that is taken, 1 for all others
//	DATA           0; 1 if there is nothing in it, or its stream has been ended
//	WINDOW_UPDATE  1, if not earned
//	PRIORITY       1, if not earned
//	unknown        1, if not earned (PRIORITY_UPDATE of RFC 9218 is one)
//	SETTINGS       1, and 1 more for every four settings
//	RST_STREAM, PING, GOAWAY, an acknowledgement of nothing  1
//
// A client has cause for updates of windows, and for changes of priority, by each request
// and by each frame of a response, unless it is the client's window that has made it
// small: that is what it earns.
type charges struct {
	allowed float64
	at      int64 // when that was reckoned
}

const (
	// http2Burst and http2Rate are how many charged frames a client may send at once,
	// and how many per second.
	http2Burst = 1000
	http2Rate  = 200
	// http2Earned bounds what a client may save up, and http2Worth is what a frame has
	// to hold that is more than a sip.
	http2Earned = 4096
	http2Worth  = 256
)

// charge takes n for a frame, and fails where the client cannot pay: who sends a flood
// of them is after our CPU.
func (h *http2Conn) charge(n int) error {
	now, k := h.l.now(), &h.charges
	k.allowed = min(http2Burst, k.allowed+float64(now-k.at)*http2Rate/1e9) - float64(n)
	k.at = now
	if k.allowed < 0 {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// chargeUnlessEarned is charge for a frame that a client may have cause for.
func (h *http2Conn) chargeUnlessEarned() error {
	h.mu.Lock()
	earned := h.earned > 0
	if earned {
		h.earned--
	}
	h.mu.Unlock()
	if earned {
		return nil
	}
	return h.charge(1)
}

// earn notes a request, or a frame of a response. h.mu is held.
func (h *http2Conn) earn() { h.earned = min(h.earned+2, http2Earned) }
