package worker

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// burst sends requests for streams in one write.
func (f *framer) burst(ids ...uint32) {
	f.t.Helper()
	var all bytes.Buffer
	w := http2.NewFramer(&all, nil)
	for _, id := range ids {
		path := "/quick"
		if id == ids[len(ids)-1] {
			path = "/last"
		}
		b := f.block(":method", "GET", ":scheme", "http", ":path", path, ":authority", "x")
		f.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndStream: true, EndHeaders: true}))
	}
	_, err := f.conn.Write(all.Bytes())
	f.must(err)
}

// TestHTTP2AnswersLeaveTogether: quick answers to requests that came in one read
// leave in one send.
func TestHTTP2AnswersLeaveTogether(t *testing.T) {
	r := serve(t, cleartextConfig(), func(c *call) {
		c.t.Started = 0 // however slow the machine, these are quick
		c.ok("hello")
	})
	conn := r.dialTCP()
	f := newFramer(t, conn)
	send(t, conn, http2.ClientPreface)
	f.must(f.WriteSettings())
	segments := func() (n uint32) {
		raw, err := conn.SyscallConn()
		f.must(err)
		f.must(raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			f.must(err)
			n = info.Data_segs_in
		}))
		return n
	}
	const size = 8
	least := uint32(size)
	for i := range uint32(50) { // the deputy's tick may divide some
		var ids []uint32
		for k := range uint32(size) {
			ids = append(ids, 2*(size*i+k)+1)
		}
		before := segments()
		f.burst(ids...)
		for _, id := range ids {
			f.wantStatus(id, "200")
		}
		least = min(least, segments()-before)
	}
	if least > 2 {
		t.Errorf("the answers to %d requests took %d sends at best", size, least)
	}
}

// TestHTTP2AnswersWaitForNobody: an answer that might leave with others does not wait
// for them when they take their time.
func TestHTTP2AnswersWaitForNobody(t *testing.T) {
	release := make(chan struct{})
	r := serve(t, cleartextConfig(), func(c *call) {
		c.t.Started = 0
		if c.target == "/last" {
			<-release
		}
		c.ok("hello")
	})
	f := r.framer()
	for i := range uint32(20) {
		f.burst(8*i+1, 8*i+3, 8*i+5, 8*i+7)
		for k := range uint32(3) {
			f.wantStatus(8*i+2*k+1, "200")
		}
		release <- struct{}{}
		f.wantStatus(8*i+7, "200")
	}
}
