package worker

import (
	"io"
	"strings"
	"testing"
	"time"

	"hostler/protocol"
)

// TestMinRate: who moves a byte now and then, always within the patience, is given
// up all the same.
func TestMinRate(t *testing.T) {
	cfg := testConfig()
	cfg.BodyTimeout, cfg.WriteTimeout = 400*time.Millisecond, 400*time.Millisecond
	cfg.MinRate = 1 << 20
	r := serve(t, cfg, func(c *call) {
		body, rc := c.all()
		switch {
		case rc != 0:
			c.t.Result |= ResultFailed
		case c.target == "/large":
			c.ok(strings.Repeat("x", 8<<20))
		default:
			c.ok(string(body[:1]))
		}
	})
	trickle := func(length string) string {
		c := r.dial()
		send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "+length+"\r\n\r\n")
		go func() {
			for {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	if got := trickle("100000"); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("%.80q", got)
	}
	count := func(k protocol.TimeoutKind) uint64 { return r.slot.Counters.Timeouts[k].Load() }
	if count(protocol.TimeoutBodyRate) != 1 || count(protocol.TimeoutBody) != 0 {
		t.Error("not counted as too slow a body")
	}
	slow := r.dial()
	send(t, slow, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
	n, b := 0, make([]byte, 1)
	var err error
	for err == nil {
		var m int
		m, err = slow.Read(b)
		n += m
		time.Sleep(20 * time.Millisecond)
		if n > 500 {
			t.Fatal("a client that takes 50 bytes a second is served on")
		}
		if count(protocol.TimeoutWriteRate)+count(protocol.TimeoutWrite) > 0 {
			break
		}
	}

	// Steady and fast enough: no limit ends it, however long it takes in all.
	c := r.dial()
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1500000\r\n\r\n")
	for range 15 {
		send(t, c, strings.Repeat("y", 100000))
		time.Sleep(60 * time.Millisecond)
	}
	responses(t, c).want(200, "y")
}

// TestMinRateOfMuch: 10 GB earn their time like any other bytes: nothing overflows.
func TestMinRateOfMuch(t *testing.T) {
	const much, rate = int64(10e9), 240
	cfg := testConfig()
	cfg.BodyTimeout, cfg.WriteTimeout = time.Minute, time.Minute
	cfg.MinRate = rate
	l := serve(t, cfg, echo).Loop
	began, hour := l.now(), int64(time.Hour)
	c := new(conn)
	if limit := c.slowestAfter(l, began+hour, began, much, time.Minute); limit != began+hour+int64(time.Minute) || c.tooSlow.Load() {
		t.Errorf("a body: %d s from its begin", (limit-began)/int64(time.Second))
	}
	if o := (&output{began: began, sent: much}); o.tooSlow(l, began+hour) {
		t.Error("a response: too slow")
	}
	th := &Thread{l: l}
	th.body = bodyReader{got: much, patience: hour, waited: began}
	if _, late := th.late(began + 1); late {
		t.Error("a body that is read as it comes: late")
	}
}
