package worker

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// level wants every reference back exactly once, and no memory held.
func (r *rig) level() {
	r.t.Helper()
	eventually(r.t, "all references have come back", func() bool {
		n := 0
		r.garbage.Range(func(_, v any) bool {
			if v.(*atomic.Int64).Load() > 0 { // it is there a moment before it counts
				n++
			}
			return true
		})
		return n == int(r.refs.Load())
	})
	r.garbage.Range(func(k, v any) bool {
		if n := v.(*atomic.Int64).Load(); n != 1 {
			r.t.Errorf("reference %d came back %d times", k, n)
		}
		return true
	})
	eventually(r.t, "no output is accounted for", func() bool { return r.mem.outBytes.Load() == 0 })
}

// A slow client gets every byte in order; the application waits for it once the
// buffer is full, and not before.
func TestSlowReader(t *testing.T) {
	body := pattern(6 << 20)
	var written atomic.Int64
	cfg := testConfig()
	cfg.Threads = 2
	r := serve(t, cfg, func(c *call) {
		c.head("200 OK")
		for i, n := 0, 0; i < len(body); i += n {
			n = min(len(body)-i, []int{1, 100, copyLimit, copyLimit + 1, 100000, 1 << 20}[i%6])
			if rc := c.write([]byte(body[i:i+n]), false); rc != WriteOK {
				t.Errorf("a write gave %d", rc)
				return
			}
			written.Add(int64(n))
		}
	})
	c := r.dial()
	send(t, c, get+get)
	eventually(t, "the application waits", func() bool { return r.mem.outBytes.Load() > outLimit })
	time.Sleep(20 * time.Millisecond)
	if n := written.Load(); n > 4<<20 {
		t.Errorf("%d bytes taken for a client that reads nothing", n)
	}
	rd := responses(t, c)
	rd.want(200, body)
	rd.want(200, body)
	c.Close()
	r.level()
}

// The kernel may keep more for a client that takes what there is quickly, until it does not.
func TestQuickReader(t *testing.T) {
	body := pattern(16 << 20)
	limits := make(chan int, 3)
	r := serve(t, testConfig(), func(c *call) {
		n, err := unix.GetsockoptInt(int(c.t.FD), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		if err != nil {
			t.Error(err)
		}
		limits <- n
		c.ok(body)
	})
	c := r.dialTCP()
	rd := responses(t, c)
	send(t, c, get)
	o := &r.conns.at(0).out
	began := func(ago time.Duration) {
		eventually(t, "some of it waits", o.pending.Load)
		o.mu.Lock()
		o.began = r.now() - int64(ago)
		o.mu.Unlock()
	}
	began(-time.Hour) // whatever holds up this test, its client is quick
	rd.want(200, body)
	send(t, c, get)
	began(time.Hour)
	rd.want(200, body)
	send(t, c, get)
	rd.want(200, body)
	for i, want := range []int{notSentMost, notSentQuick, notSentMost} {
		if got := <-limits; got != want {
			t.Errorf("at request %d the kernel may keep %d", i+1, got)
		}
	}
}

// Many small pieces for a slow client make neither many items nor many sends.
func TestSmallPiecesAreMerged(t *testing.T) {
	piece, n := "piece of a stream\n", 100000
	r := serve(t, testConfig(), func(c *call) {
		c.head("200 OK")
		for range n {
			if c.write([]byte(piece), false) != WriteOK {
				t.Error("not written")
				return
			}
		}
	})
	c := r.dial()
	send(t, c, get)
	eventually(t, "the application waits", func() bool { return r.mem.outBytes.Load() > outLimit })
	o := &r.conns.at(0).out
	o.mu.Lock()
	items := len(o.items)
	o.mu.Unlock()
	if items > 3*outLimit/mergeLimit {
		t.Errorf("%d items for %d bytes", items, outLimit)
	}
	responses(t, c).want(200, strings.Repeat(piece, n))
	c.Close()
	r.level()
}

// The last piece of a response does not keep the thread, whatever its size.
func TestLastPieceFreesTheThread(t *testing.T) {
	body := pattern(5 << 20)
	r := serve(t, testConfig(), func(c *call) {
		if c.target == "/big" {
			c.head("200 OK")
			c.write([]byte(body), true)
			return
		}
		echo(c)
	})
	slow, quick := r.dial(), r.dial()
	send(t, slow, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n"+get+"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
	rq := responses(t, quick)
	for range 20 {
		send(t, quick, get)
		rq.want(200, "GET /a ")
	}
	rs := responses(t, slow)
	rs.want(200, body)
	rs.want(200, "GET /a ")
	send(t, slow, "b")
	rs.want(200, "POST /p ab")
	gone := r.dial() // and one that goes away with all of it unread
	send(t, gone, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "it is being written", func() bool { return r.phases()[phaseWriting] == 1 })
	gone.Close()
	slow.Close()
	eventually(t, "it is closed", func() bool { return r.conns.n.Load() == 1 })
	r.level()
}

func TestWriteTimeoutInTheApplication(t *testing.T) {
	cfg := testConfig()
	cfg.WriteTimeout = 100 * time.Millisecond
	result := make(chan int, 1)
	r := serve(t, cfg, func(c *call) {
		c.head("200 OK")
		rc := WriteOK
		for rc == WriteOK {
			rc = c.write(make([]byte, 300000), false)
		}
		result <- rc
	})
	c := r.dial()
	send(t, c, get)
	if rc := <-result; rc != WriteGone {
		t.Errorf("the application got %d", rc)
	}
	eventually(t, "it is closed", func() bool { return r.conns.n.Load() == 0 })
	r.level()
}

func TestSendFile(t *testing.T) {
	data := pattern(7 << 20)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	r := serve(t, testConfig(), func(c *call) {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		switch c.target {
		case "/all":
			c.head("200 OK")
		case "/part":
			c.head("200 OK", "Content-Length", "1000")
		case "/long":
			c.head("200 OK", "Content-Length", "8000000")
		case "/chunked":
			c.head("200 OK")
			c.write([]byte("x"), false)
		}
		off := int64(0)
		if c.target == "/part" {
			off = 5000
		}
		if done := c.t.SendFile(fd, off); !done {
			unix.Close(fd)
			t.Errorf("%s was not sent", c.target)
		}
	})
	base := openFiles(t)
	c := r.dial()
	rd := responses(t, c)
	req := func(m, s string) { send(t, c, m+" "+s+" HTTP/1.1\r\nHost: x\r\n\r\n") }
	for range 3 {
		req("GET", "/part")
		rd.want(200, data[5000:6000])
		req("GET", "/all")
		req("GET", "/part") // waits behind the file
		rd.want(200, data)
		rd.want(200, data[5000:6000])
		req("HEAD", "/all")
		if p, err := rd.read(true); err != nil || p.fields["content-length"] != "7340032" {
			t.Fatal(p, err)
		}
		req("GET", "/chunked")
		rd.want(200, "x"+data)
	}
	req("GET", "/long")
	if p, err := rd.read(false); err == nil {
		t.Errorf("a file shorter than promised passed as whole: %d bytes", len(p.body))
	}
	c.Close()
	c = r.dial() // goes away in the middle
	req("GET", "/all")
	eventually(t, "it is being written", func() bool { return r.phases()[phaseWriting] == 1 })
	c.Close()
	eventually(t, "it is closed", func() bool { return r.conns.n.Load() == 0 })
	eventually(t, "no descriptor is left", func() bool { return openFiles(t) <= base })
}

func openFiles(t *testing.T) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestContentLengthIsKept(t *testing.T) {
	r := serve(t, testConfig(), func(c *call) {
		c.head("200 OK", "Content-Length", "5")
		switch c.target {
		case "/more":
			c.final(offHeapCopy("1234567"))
		case "/writes":
			if c.write([]byte("1234"), false) != WriteOK || c.write([]byte("567"), false) != WriteCut || c.write([]byte("8"), false) != WriteCut {
				t.Error("the bytes too many were not cut")
			}
		case "/less":
			c.final(offHeapCopy("123"))
		case "/lessWrites":
			c.write([]byte("123"), false)
		}
	})
	for _, s := range []string{"/more", "/writes"} {
		c := r.dial()
		rd := responses(t, c)
		for range 2 {
			send(t, c, "GET "+s+" HTTP/1.1\r\nHost: x\r\n\r\n")
			rd.want(200, "12345")
		}
	}
	for _, s := range []string{"/less", "/lessWrites"} {
		c := r.dial()
		send(t, c, "GET "+s+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if p, err := responses(t, c).read(false); err != io.ErrUnexpectedEOF || p.body != "123" {
			t.Errorf("%s: %q, %v", s, p.body, err)
		}
	}
	if n := r.slot.Counters.AppViolations.Load(); n != 6 {
		t.Errorf("%d violations counted", n)
	}
}

func TestFailures(t *testing.T) {
	r := serve(t, testConfig(), func(c *call) {
		switch c.target {
		case "/early":
			c.t.Result |= ResultFailed
		case "/head":
			c.head("200 OK")
			c.t.Result |= ResultFailed
		case "/none":
			if c.write([]byte("x"), false) != WriteNoHead {
				t.Error("a body without a head")
			}
		case "/replaced":
			c.head("200 OK")
			if c.head("503 Sorry") != 0 {
				t.Error("a second head before the first was sent")
			}
			c.final(offHeapCopy("sorry"))
		case "/bad":
			c.head("200 OK")
			if c.head("200 OK", "X", "a\r\nb") == 0 {
				t.Error("a header was injected")
			}
			if c.write([]byte("x"), false) != WriteNoHead {
				t.Error("a body with a broken head")
			}
		case "/middle":
			c.head("200 OK")
			c.write([]byte("begin"), false)
			c.t.Result |= ResultFailed
		case "/hints":
			n := copy(c.t.resp, "\x04\x00\x00\x00\x03\x00\x00\x00Link</a")
			if e := c.t.EarlyHints(c.t.resp[:n]); e != 0 {
				t.Error(http1.HeadError(e))
			}
			c.ok("hinted")
		}
	})
	for _, s := range []struct {
		target string
		status int
	}{{"/early", 500}, {"/head", 500}, {"/none", 500}, {"/bad", 500}, {"/replaced", 503}} {
		c := r.dial()
		rd := responses(t, c)
		for range 2 {
			send(t, c, "GET "+s.target+" HTTP/1.1\r\nHost: x\r\n\r\n")
			rd.want(s.status, "*")
		}
	}
	c := r.dial()
	send(t, c, "GET /middle HTTP/1.1\r\nHost: x\r\n\r\n")
	if p, err := responses(t, c).read(false); err == nil {
		t.Errorf("a response cut short passed as whole: %q", p.body)
	}
	c = r.dial()
	rd := responses(t, c)
	send(t, c, "GET /hints HTTP/1.1\r\nHost: x\r\n\r\n")
	if p := rd.want(103, ""); p.fields["link"] != "</a" {
		t.Error(p.fields)
	}
	rd.want(200, "hinted")
}

// An early answer to an upload reaches the client whole, however large it is.
func TestLargeAnswerToAnUnreadUpload(t *testing.T) {
	body := pattern(4 << 20)
	r := serve(t, testConfig(), func(c *call) {
		c.head("413 No")
		c.write([]byte(body), true)
	})
	c := r.dialTCP()
	send(t, c, "POST /u HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
	go func() { _, _ = io.WriteString(c, strings.Repeat("u", 3000000)) }()
	rd := responses(t, c)
	time.Sleep(100 * time.Millisecond)
	rd.want(413, body)
	rd.wantEnd()
}
