package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/settings"
	"hostler/worker/http1"
)

// rig is a Loop whose "Python threads" are goroutines.
type rig struct {
	*Loop
	t    testing.TB
	slot *protocol.Slot
	app  func(*call)
	gil  sync.Mutex
	want atomic.Int64 // threads that wait for gil in call.work
	wg   sync.WaitGroup
	once sync.Once

	garbage sync.Map // reference → *atomic.Int64, how often it came back
	refs    atomic.Uint64
	held    bool // go on with NextHeld after each request
}

// call is a request as an application of the tests sees it.
type call struct {
	r      *rig
	t      *Thread
	method string
	target string
	body   []byte
}

func testConfig() *protocol.WorkerConfig {
	return &protocol.WorkerConfig{
		Workers:   1,
		Listeners: []protocol.Listener{{Network: "tcp", Host: "a", Port: "80"}},
		Worker: settings.Worker{
			Threads: 1, WorkerConnections: 512, Queue: 256,
			KeepAlive: 20 * time.Second, HeaderTimeout: 20 * time.Second,
			BodyTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second,
			LimitRequestLine: 8190, LimitRequestFields: 100, LimitRequestFieldSize: 8190,
		},
	}
}

// newRig makes a Loop that nobody serves yet.
func newRig(t testing.TB, cfg *protocol.WorkerConfig, app func(*call)) *rig {
	t.Helper()
	return newRigIn(t, cfg, new(protocol.Slot), nil, app)
}

func newRigIn(t testing.TB, cfg *protocol.WorkerConfig, slot *protocol.Slot, x *Exchange, app func(*call)) *rig {
	t.Helper()
	l, err := New(Config{Settings: cfg, Slot: slot, Log: slog.New(slog.DiscardHandler), Exchange: x})
	if err != nil {
		t.Fatal(err)
	}
	// As in Open; the test itself has the Ps that there were.
	moreProcs(cfg.Threads + 2)
	t.Cleanup(func() { moreProcs(-cfg.Threads - 2) })
	return &rig{Loop: l, t: t, slot: slot, app: app}
}

var procs sync.Mutex // some tests run in parallel

func moreProcs(n int) {
	procs.Lock()
	defer procs.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// serve starts the threads, the deputy and the housekeeping.
func serve(t testing.TB, cfg *protocol.WorkerConfig, app func(*call)) *rig {
	t.Helper()
	r := newRig(t, cfg, app)
	r.start()
	return r
}

func (r *rig) start() {
	r.Start()
	for i := range r.cfg.Threads {
		r.wg.Go(func() { r.thread(r.Thread(i)) })
	}
	r.t.Cleanup(r.stopNow)
}

// accessTo has the access log written to f. The rig is not started yet.
func (r *rig) accessTo(f *os.File) {
	r.t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		r.t.Fatal(err)
	}
	r.access.to = logwriter.New(logwriter.Options{FD: fd})
	r.t.Cleanup(r.access.to.Close)
}

func (r *rig) stopNow() {
	r.once.Do(func() {
		r.Drain(protocol.DrainQuick, 0)
		r.wg.Wait()
		r.dropGarbage() // what came after the last thread had looked
		r.Stop()
	})
}

// thread does what worker/python/loop.c does.
func (r *rig) thread(t *Thread) {
	for {
		switch r.Next(t) {
		case Run:
			r.run(t)
			for r.held && r.NextHeld(t) == Run {
				r.run(t)
			}
		case Lead:
			n, _ := unix.EpollWait(int(t.Epoll), t.Events[:], -1)
			t.Polled = protocol.Monotonic()
			t.NEvents = int32(max(n, 0))
		case Follow:
			for atomic.LoadUint32(&t.Wake) == 0 {
				ts := unix.NsecToTimespec(int64(time.Second))
				_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&t.Task.Wake)), 128, 0,
					uintptr(unsafe.Pointer(&ts)), 0, 0)
			}
		case Yield:
			for end := time.Now().Add(5 * time.Millisecond); r.want.Load() > 0 && time.Now().Before(end); {
				time.Sleep(10 * time.Microsecond)
			}
		case Garbage:
			r.dropGarbage()
		case Exit:
			return
		}
	}
}

func (r *rig) dropGarbage() {
	var refs [8]uintptr
	for n := len(refs); n == len(refs); {
		n = r.TakeGarbage(refs[:])
		for _, ref := range refs[:n] {
			r.back(ref)
		}
	}
}

// back notes that a reference has come back.
func (r *rig) back(ref uintptr) {
	v, _ := r.garbage.LoadOrStore(ref, new(atomic.Int64))
	v.(*atomic.Int64).Add(1)
}

func (r *rig) run(t *Thread) {
	t.Started = protocol.Monotonic()
	buf := t.head()
	c := &call{r: r, t: t, method: string(t.Req.Method.In(buf)), target: string(t.Req.Target.In(buf)),
		body: bytesAt(t.Body, int(t.BodyLen)*int(1-t.BodyFile))}
	r.app(c)
}

// work holds the GIL for d, and says afterwards whether another thread wants it.
func (c *call) work(d time.Duration) {
	c.r.want.Add(1)
	c.r.gil.Lock()
	c.r.want.Add(-1)
	time.Sleep(d)
	c.r.gil.Unlock()
	if c.r.want.Load() > 0 {
		c.t.Contended = 1
	}
}

func (c *call) head(status string, fields ...string) http1.HeadError {
	t := c.t
	n := copy(t.resp, status)
	t.StatusLen = uint32(n)
	for i := 0; i < len(fields); i += 2 {
		binary.NativeEndian.PutUint32(t.resp[n:], uint32(len(fields[i])))
		binary.NativeEndian.PutUint32(t.resp[n+4:], uint32(len(fields[i+1])))
		n += 8
		n += copy(t.resp[n:], fields[i])
		n += copy(t.resp[n:], fields[i+1])
	}
	t.FieldsLen = uint32(n) - t.StatusLen
	e, _ := t.SetHead()
	if e != 0 {
		t.StatusLen, t.FieldsLen = 0, 0
	}
	return e
}

// final answers with the whole body.
func (c *call) final(body []byte) {
	c.t.Out, c.t.OutLen = address(body), int64(len(body))
	c.t.Result |= ResultFinal
}

func (c *call) ok(body string) {
	c.head("200 OK", "Content-Type", "text/plain")
	c.final(offHeapCopy(body))
}

// write sends a piece as deliver in worker/python/response.c does.
func (c *call) write(data []byte, final bool) int {
	ref := uintptr(0)
	if len(data) > 0 {
		ref = uintptr(c.r.refs.Add(1))
	}
	rc := c.t.Write(data, ref, final)
	if c.t.OutKept == 0 && ref != 0 {
		c.r.back(ref)
	}
	for rc == WriteWait {
		p := []unix.PollFd{{Fd: c.t.FD, Events: unix.POLLOUT}}
		_, _ = unix.Poll(p, 50)
		rc = c.t.WaitRoom()
	}
	return rc
}

// all reads the rest of the body behind what is there already.
func (c *call) all() ([]byte, int) {
	b := bytes.Clone(c.body)
	dst := make([]byte, 50000)
	if c.t.BodyMore == 0 {
		for c.t.BodyFile != 0 && len(b) < int(c.t.BodyLen) {
			n := c.t.ReadAt(dst, int64(len(b)))
			if n <= 0 {
				return b, n
			}
			b = append(b, dst[:n]...)
		}
		return b, 0
	}
	for {
		switch n := c.t.Read(dst); {
		case n == ReadWait:
			p := []unix.PollFd{{Fd: c.t.FD, Events: unix.POLLIN}}
			_, _ = unix.Poll(p, 50)
		case n <= 0:
			return b, n
		default:
			b = append(b, dst[:n]...)
		}
	}
}

// texts keeps what address points to; the collector does not see Task.Out.
var texts sync.Map

func offHeapCopy(s string) []byte {
	v, _ := texts.LoadOrStore(s, []byte(s))
	return v.([]byte)
}

// dial gives the loop one end of a socket pair, and the test the other.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, fd := r.pair()
	r.addConn(fd, 0, netip.MustParseAddrPort("127.0.0.1:4711"))
	return c
}

func (r *rig) pair() (net.Conn, int) {
	r.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "client")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r.t.Cleanup(func() { c.Close() })
	return c, fds[1]
}

// dialTCP is dial over a real TCP connection.
func (r *rig) dialTCP() *net.TCPConn {
	r.t.Helper()
	ln := listenTCP(r.t)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := s.(*net.TCPConn).File()
	s.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	f.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	_ = unix.SetNonblock(fd, true)
	setOptions(fd)
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r.t.Cleanup(func() { c.Close() })
	r.addConn(fd, 0, c.LocalAddr().(*net.TCPAddr).AddrPort())
	return c.(*net.TCPConn)
}

// listenTCP listens on a port below the ephemeral range. It wants plain TCP: a
// receive timeout on a socket of Multipath TCP does not reach accept(2).
func listenTCP(t testing.TB) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	for port := 21000 + os.Getpid()%5000; port < 32000; port++ {
		ln, err := lc.Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return ln.(*net.TCPListener)
		}
	}
	t.Fatal("no free port")
	return nil
}

// reader reads responses off a client's connection.
type reader struct {
	t  testing.TB
	br *bufio.Reader
}

func responses(t testing.TB, c net.Conn) *reader { return &reader{t, bufio.NewReaderSize(c, 64<<10)} }

type response struct {
	status int
	fields map[string]string
	body   string
}

// next reads a response; head says that it answers a HEAD request.
func (r *reader) read(head bool) (response, error) {
	line, err := r.br.ReadString('\n')
	if err != nil {
		return response{}, err
	}
	p := response{fields: map[string]string{}}
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &p.status); err != nil {
		return p, fmt.Errorf("%q is no status line: %w", line, err)
	}
	for {
		line, err := r.br.ReadString('\n')
		if err != nil {
			return p, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		k, v, _ := strings.Cut(line, ":")
		p.fields[strings.ToLower(k)] = strings.TrimSpace(v)
	}
	switch {
	case head || p.status/100 == 1 || p.status == 204 || p.status == 304:
		return p, nil
	case p.fields["transfer-encoding"] == "chunked":
		var b strings.Builder
		for {
			var n int64
			line, err := r.br.ReadString('\n')
			if err != nil {
				return p, err
			}
			if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
				return p, err
			}
			if _, err := io.CopyN(&b, r.br, n); err != nil {
				return p, err
			}
			if _, err := r.br.Discard(2); err != nil {
				return p, err
			}
			if n == 0 {
				p.body = b.String()
				return p, nil
			}
		}
	case p.fields["content-length"] != "":
		var n int
		fmt.Sscan(p.fields["content-length"], &n)
		b := make([]byte, n)
		m, err := io.ReadFull(r.br, b)
		p.body = string(b[:m])
		return p, err
	}
	b, err := io.ReadAll(r.br)
	p.body = string(b)
	return p, err
}

func (r *reader) want(status int, body string) response {
	r.t.Helper()
	p, err := r.read(false)
	if err != nil {
		r.t.Fatalf("no response: %v (got %d %.60q)", err, p.status, p.body)
	}
	if p.status != status || body != "*" && p.body != body {
		r.t.Fatalf("got %d %.80q, want %d %.80q", p.status, p.body, status, body)
	}
	return p
}

// wantEnd wants the server to have closed the connection.
func (r *reader) wantEnd() {
	r.t.Helper()
	if b, err := r.br.ReadByte(); err != io.EOF && (err == nil || !strings.Contains(err.Error(), "reset")) {
		r.t.Fatalf("the connection is not closed: %q, %v", b, err)
	}
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that others bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// echo answers with the method, the target and the body.
func echo(c *call) {
	body, rc := c.all()
	if rc != 0 {
		c.t.Result |= ResultFailed
		return
	}
	c.head("200 OK")
	c.write([]byte(c.method+" "+c.target+" "+string(body)), true)
}

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

// addTest gives the loop a connected socket.
func (r *rig) addTest(fd int) {
	r.addConn(fd, 0, netip.MustParseAddrPort("127.0.0.1:4711"))
}

func setBuffers(fd, n int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n)
}

func dupFD(f *os.File) (int, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, false)
}
