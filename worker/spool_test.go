package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"hostler/internal/testlog"
	"hostler/protocol"
	"hostler/worker/http1"
)

// fakeDisk is a disk in memory that can be full, slow or broken.
type fakeDisk struct {
	mu      sync.Mutex
	free    int64         // room
	refuses error         // what create says
	breaks  int64         // from this offset on nothing can be written; 0: it can
	stands  chan struct{} // while it is open, writes take for ever; nil: they do not
	files   int           // open
	made    int
	stuck   int // writes that wait
}

type fakeFile struct {
	d *fakeDisk
	b []byte
}

func (d *fakeDisk) create() (spoolFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuses != nil {
		return nil, d.refuses
	}
	d.files++
	d.made++
	return &fakeFile{d: d}, nil
}

func (d *fakeDisk) room(spoolFile) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, nil
}

func (f *fakeFile) WriteAt(b []byte, off int64) (int, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if stands := d.stands; stands != nil {
		d.stuck++
		d.mu.Unlock()
		<-stands
		d.mu.Lock()
		d.stuck--
	}
	if d.breaks > 0 && off+int64(len(b)) > d.breaks {
		n := max(int(d.breaks-off), 0)
		f.b = append(f.b[:off], b[:n]...)
		return n, unix.ENOSPC
	}
	f.b = append(f.b[:off], b...)
	d.free -= int64(len(b))
	return len(b), nil
}

func (f *fakeFile) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(f.b).ReadAt(b, off)
}

func (f *fakeFile) Truncate(int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.b = nil
	return nil
}

func (f *fakeFile) Name() string { return "fake" }

func (f *fakeFile) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.files--
	return nil
}

func (d *fakeDisk) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files
}

func (d *fakeDisk) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stuck
}

// spoolRig is a loop whose bodies go to a fake disk. The application says how much of
// the body was in memory, of what kind it was, and whether it is the right one.
func spoolRig(t *testing.T, d *fakeDisk, change func(*protocol.WorkerConfig)) *rig {
	t.Helper()
	cfg := testConfig()
	cfg.SpoolLimit = 1 << 30
	cfg.HTTP2Cleartext = true
	if change != nil {
		change(cfg)
	}
	if d.free == 0 {
		d.free = 1 << 40
	}
	r := newRig(t, cfg, func(c *call) {
		kind := "held"
		switch {
		case c.t.BodyFile != 0 && c.t.BodyMore != 0:
			kind = "begun"
		case c.t.BodyFile != 0:
			kind = "spooled"
		case c.t.BodyMore != 0:
			kind = "streams"
		}
		b, rc := c.all()
		if rc != 0 {
			c.t.Result |= ResultFailed
			return
		}
		c.ok(fmt.Sprintf("%s %s %d %v", c.target, kind, len(b), string(b) == bodyOf(len(b))))
	})
	r.spools.disk = d
	r.start()
	return r
}

// bodyOf is a body of n bytes in which each place is another.
func bodyOf(n int) string { return longBody()[:n] }

var longBody = sync.OnceValue(func() string {
	var b []byte
	for i := int64(0); len(b) < 6<<20; i++ {
		b = append(strconv.AppendInt(b, i, 10), ' ')
	}
	return string(b)
})

func sized(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func inChunks(path, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
	for len(body) > 0 {
		n := min(len(body), 30001)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

var framings = map[string]func(path, body string) string{"sized": sized, "chunked": inChunks}

// post sends in the background what may not fit into the socket's buffers.
func post(c net.Conn, text string) {
	go func() { _, _ = io.WriteString(c, text) }()
}

// empty waits until no file is left of d, and nothing counts as one.
func (r *rig) empty(d *fakeDisk) {
	r.t.Helper()
	eventually(r.t, "the files to be gone", func() bool {
		g := &r.slot.Gauges
		return d.open() == 0 && g.SpoolFiles.Load() == 0 && g.SpoolBytes.Load() == 0
	})
}

// upload sends a part of a body, as the server lets it.
func (f *framer) upload(id uint32, body string, end bool) {
	f.t.Helper()
	for room := http2Window; len(body) > 0; {
		if room == 0 {
			f.want("a window", func(fr http2.Frame) bool {
				w, ok := fr.(*http2.WindowUpdateFrame)
				if ok && w.StreamID == id {
					room += int(w.Increment)
				}
				return ok && w.StreamID == id
			})
		}
		n := min(len(body), room, http2FrameSize)
		f.must(f.WriteData(id, end && n == len(body), []byte(body[:n])))
		body = body[n:]
		room -= n
	}
}

// body reads the body of an answer.
func (f *framer) body(id uint32) string {
	f.t.Helper()
	var b []byte
	f.want("the answer", func(fr http2.Frame) bool {
		d, ok := fr.(*http2.DataFrame)
		if ok && d.StreamID == id {
			b = append(b, d.Data()...)
		}
		return ok && d.StreamID == id && d.StreamEnded()
	})
	return string(b)
}

// TestSpool: a large body is whole, in a file, when the application is called; the
// connection goes on, also where the body is not read.
func TestSpool(t *testing.T) {
	d := new(fakeDisk)
	r := spoolRig(t, d, nil)
	for name, frame := range framings {
		t.Run(name, func(t *testing.T) {
			c := r.dialTCP()
			in := responses(t, c)
			for _, size := range []int{bodyBuffer, bodyBuffer + 1, 5_000_019} {
				want := fmt.Sprintf("/a spooled %d true", size)
				if size == bodyBuffer && name == "sized" {
					want = fmt.Sprintf("/a held %d true", size)
				}
				post(c, frame("/a", bodyOf(size))+sized("/b", "0 1"))
				if p := in.want(200, want); p.fields["connection"] != "" {
					t.Error("the connection ends")
				}
				in.want(200, "/b held 3 true")
			}
			r.empty(d)
		})
	}
	f := r.framer()
	body := bodyOf(3_000_000)
	for i, length := range [][]string{nil, {"content-length", "3000000"}} {
		id := uint32(2*i + 1)
		f.ask(id, false, length...)
		f.upload(id, body, true)
		if got, want := f.body(id), fmt.Sprintf("/%d spooled 3000000 true", id); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	r.empty(d)
	if n := r.slot.Counters.SpooledBytes.Load(); n < 15_000_000 {
		t.Errorf("%d bytes are counted", n)
	}
	eventually(t, "nothing is held any more", func() bool { return r.mem.inputs.lent.Load() == 0 })
	if n := r.slot.Counters.SpoolFailures.Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// TestSpoolUnread: a body that the application does not read does no harm to the
// connection.
func TestSpoolUnread(t *testing.T) {
	d := new(fakeDisk)
	cfg := testConfig()
	cfg.SpoolLimit = 1 << 30
	r := newRig(t, cfg, func(c *call) { c.ok(c.target) })
	d.free = 1 << 40
	r.spools.disk = d
	r.start()
	for _, frame := range framings {
		c := r.dialTCP()
		post(c, frame("/a", bodyOf(4<<20))+sized("/b", "x"))
		in := responses(t, c)
		in.want(200, "/a")
		in.want(200, "/b")
		r.empty(d)
	}
}

// TestSpoolHoldsNoThread: one thread serves others while many uploads are half way,
// and little of these is in memory.
func TestSpoolHoldsNoThread(t *testing.T) {
	d := new(fakeDisk)
	r := spoolRig(t, d, nil)
	body := bodyOf(2 << 20)
	var all []net.Conn
	for i := range 20 {
		frame := framings[[]string{"sized", "chunked"}[i%2]]
		c := r.dialTCP()
		text := frame("/slow", body)
		if _, err := io.WriteString(c, text[:3<<19]); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	eventually(t, "20 files", func() bool { return d.open() == 20 })
	c := r.dial()
	in := responses(t, c)
	for range 10 {
		send(t, c, sized("/quick", "0"))
		in.want(200, "/quick held 1 true")
	}
	eventually(t, "the buffers to be small", func() bool { return r.mem.inputs.lent.Load() <= 20*256<<10 })
	for i, c := range all {
		frame := framings[[]string{"sized", "chunked"}[i%2]]
		post(c, frame("/slow", body)[3<<19:])
		responses(t, c).want(200, "/slow spooled 2097152 true")
	}
	r.empty(d)
}

// TestSpoolBesideBusyThread: an upload that came together with a request that takes
// its time, on the same connection, gets to the disk meanwhile.
func TestSpoolBesideBusyThread(t *testing.T) {
	d := &fakeDisk{free: 1 << 40}
	cfg := cleartextConfig()
	cfg.SpoolLimit = 1 << 30
	held, free := make(chan bool), make(chan bool)
	r := newRig(t, cfg, func(c *call) {
		if c.target == "/1" {
			held <- true
			<-free
		}
		b, _ := c.all()
		c.ok(fmt.Sprint(len(b)))
	})
	r.spools.disk = d
	r.start()
	let := sync.OnceFunc(func() { close(free) })
	t.Cleanup(let)
	f := r.framer()
	var all bytes.Buffer
	w := http2.NewFramer(&all, nil)
	f.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true,
		BlockFragment: f.block(":method", "GET", ":scheme", "http", ":path", "/1", ":authority", "x")}))
	f.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true,
		BlockFragment: f.block(":method", "POST", ":scheme", "http", ":path", "/3", ":authority", "x", "content-length", "2000000")}))
	_, err := f.conn.Write(all.Bytes())
	f.must(err)
	<-held
	f.upload(3, bodyOf(2_000_000), true) // as windows are given back
	eventually(t, "all of it on the disk", func() bool { return r.slot.Gauges.SpoolBytes.Load() == 2_000_000 })
	let()
	f.wantStatus(1, "200")
	if got := f.body(3); got != "2000000" {
		t.Errorf("%q", got)
	}
	r.empty(d)
}

// TestSpoolFails: where the disk is full from the start, or becomes full, or does not
// let itself be written to, the application gets the whole body all the same.
func TestSpoolFails(t *testing.T) {
	for name, d := range map[string]*fakeDisk{
		"no directory": {refuses: errors.New("no such directory")},
		"full":         {free: 1},
		"fills up":     {free: 1_300_000},
		"write fails":  {breaks: 1_500_001},
		"first fails":  {breaks: 1},
	} {
		t.Run(name, func(t *testing.T) {
			log := new(testlog.Buffer)
			r := spoolRig(t, d, nil)
			r.log = slog.New(slog.NewTextHandler(log, nil))
			free := d.free
			for _, size := range []int{bodyBuffer + 1000, 1_500_010, 2_500_000} {
				for kind, frame := range framings {
					d.mu.Lock()
					d.free = free
					d.mu.Unlock()
					c := r.dialTCP()
					post(c, frame("/a", bodyOf(size))+sized("/b", "0"))
					in := responses(t, c)
					p, err := in.read(false)
					if err != nil || p.status != 200 || !strings.HasSuffix(p.body, fmt.Sprintf(" %d true", size)) {
						t.Errorf("%s, %d bytes: %d %q %v", kind, size, p.status, p.body, err)
					}
					in.want(200, "/b held 1 true")
					c.Close()
				}
			}
			f := r.framer()
			f.ask(1, false)
			f.upload(1, bodyOf(2<<20), true)
			if got := f.body(1); !strings.HasSuffix(got, " 2097152 true") {
				t.Errorf("HTTP/2: %q", got)
			}
			r.empty(d)
			if n := r.slot.Counters.SpoolFailures.Load(); n == 0 {
				t.Error("no failure is counted")
			} else if said := strings.Count(log.Take(), "cannot be spooled"); said == 0 || said > 2 {
				t.Errorf("%d failures, %d lines in the log", n, said)
			}
		})
	}
}

// TestSpoolStalls: a disk that stands still fails the uploads that need it, and is
// nothing to anybody else.
func TestSpoolStalls(t *testing.T) {
	d := &fakeDisk{stands: make(chan struct{})}
	r := spoolRig(t, d, func(cfg *protocol.WorkerConfig) { cfg.BodyTimeout = 200 * time.Millisecond })
	var stuck []*reader
	for _, frame := range framings {
		c := r.dialTCP()
		post(c, frame("/stuck", bodyOf(2<<20)))
		stuck = append(stuck, responses(t, c))
	}
	head := r.dialTCP()
	post(head, strings.Replace(sized("/stuck", bodyOf(2<<20)), "POST", "HEAD", 1))
	f := r.framer()
	f.ask(1, false, "content-length", "3000000")
	f.upload(1, bodyOf(250_000), false)
	eventually(t, "the writes to be stuck", func() bool { return d.waiting() == 4 })
	c := r.dial()
	in := responses(t, c)
	for range 20 {
		send(t, c, sized("/quick", "0"))
		in.want(200, "/quick held 1 true")
	}
	for _, s := range stuck {
		if p, err := s.read(false); p.status != 503 {
			t.Errorf("%d %v", p.status, err)
		}
	}
	f.wantStatus(1, "503")
	if answer := readAll(head); !strings.HasPrefix(answer, "HTTP/1.1 503 ") || !strings.HasSuffix(answer, "\r\n\r\n") {
		t.Errorf("HEAD: %q", answer)
	}
	if n := r.slot.Counters.Rejected[http1.ReasonSpoolStalled].Load(); n != 4 {
		t.Errorf("%d are counted", n)
	}
	close(d.stands)
	d.mu.Lock()
	d.stands = nil
	d.mu.Unlock()
	r.empty(d)
	eventually(t, "the buffers to be free", func() bool { return r.mem.inputs.lent.Load() == 0 })
	c = r.dialTCP()
	post(c, sized("/again", bodyOf(2<<20)))
	responses(t, c).want(200, "/again spooled 2097152 true")
}

// TestSpoolGone: clients that leave, or stop, half way leave nothing behind.
func TestSpoolGone(t *testing.T) {
	d := new(fakeDisk)
	r := spoolRig(t, d, nil)
	half := func() []net.Conn {
		var all []net.Conn
		made := d.made
		for _, frame := range framings {
			c := r.dialTCP()
			if _, err := io.WriteString(c, frame("/half", bodyOf(4<<20))[:2<<20]); err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		eventually(t, "two files", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.made == made+2 })
		return all
	}
	for _, c := range half() {
		c.Close()
	}
	r.empty(d)
	for _, c := range half() {
		_ = c.(*net.TCPConn).CloseWrite()
		if p, err := responses(t, c).read(false); p.status != 400 {
			t.Errorf("%d %v", p.status, err)
		}
	}
	r.empty(d)
	f := r.framer()
	f.ask(1, false)
	f.upload(1, bodyOf(2<<20), false)
	eventually(t, "a file", func() bool { return d.open() == 1 })
	f.must(f.WriteRSTStream(1, 8))
	r.empty(d)
	f.ask(3, false)
	f.upload(3, bodyOf(2<<20), false)
	eventually(t, "a file", func() bool { return d.open() == 1 })
	f.conn.Close()
	r.empty(d)

	r = spoolRig(t, d, func(cfg *protocol.WorkerConfig) { cfg.BodyTimeout = 2 * time.Second })
	for _, c := range half() {
		if p, err := responses(t, c).read(false); p.status != 408 {
			t.Errorf("%d %v", p.status, err)
		}
	}
	r.empty(d)
	eventually(t, "the connections to be closed", func() bool { return r.conns.n.Load() == 0 && r.mem.inputs.lent.Load() == 0 })
}

// TestSpoolLimits: bodies beyond --spool-limit stream, those beyond
// --limit-request-body are refused, and so are malformed ones.
func TestSpoolLimits(t *testing.T) {
	d := new(fakeDisk)
	r := spoolRig(t, d, func(cfg *protocol.WorkerConfig) { cfg.SpoolLimit, cfg.LimitRequestBody = 3<<20, 5<<20 })
	ask := func(text string) response {
		c := r.dialTCP()
		post(c, text)
		p, err := responses(t, c).read(false)
		if err != nil {
			t.Error(err)
		}
		r.empty(d)
		return p
	}
	want := func(p response, status int, body string) {
		t.Helper()
		if p.status != status || body != "" && p.body != body {
			t.Errorf("%d %q, not %d %q", p.status, p.body, status, body)
		}
	}
	want(ask(sized("/", bodyOf(3<<20))), 200, "/ spooled 3145728 true")
	want(ask(sized("/", bodyOf(3<<20+1))), 200, "/ streams 3145729 true")
	want(ask(inChunks("/", bodyOf(5<<20))), 200, "/ begun 5242880 true")
	want(ask(inChunks("/", bodyOf(6<<20))), 500, "") // found out while it is read
	r = spoolRig(t, d, func(cfg *protocol.WorkerConfig) { cfg.LimitRequestBody = 4 << 20 })
	want(ask(sized("/", bodyOf(5<<20))), 413, "")
	want(ask(inChunks("/", bodyOf(5<<20))), 413, "")
	want(ask(strings.Replace(inChunks("/", bodyOf(4<<20)), "7531\r\n"+bodyOf(90003)[60002:], "zz\r\n", 1)), 400, "")
	r = spoolRig(t, d, func(cfg *protocol.WorkerConfig) { cfg.SpoolLimit = 0 })
	want(ask(sized("/", bodyOf(5<<20))), 200, "/ streams 5242880 true")
	want(ask(inChunks("/", bodyOf(5<<20))), 200, "/ streams 5242880 true")
	r = spoolRig(t, d, nil)
	r.spools.most = 1
	c := r.dialTCP()
	if _, err := io.WriteString(c, sized("/", bodyOf(2<<20))[:1<<20]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a file", func() bool { return d.open() == 1 })
	c2 := r.dialTCP()
	post(c2, sized("/", bodyOf(2<<20)))
	responses(t, c2).want(200, "/ streams 2097152 true")
}

// TestStreamUploads: for the paths that say so the application is called with the
// head, and a client that asks whether to send the body is told so by its reading it.
func TestStreamUploads(t *testing.T) {
	d := new(fakeDisk)
	cfg := testConfig()
	cfg.SpoolLimit, cfg.StreamUploads, cfg.HTTP2Cleartext = 1<<30, []string{"/s/*", "/1"}, true
	called := make(chan int64, 1)
	r := newRig(t, cfg, func(c *call) {
		called <- c.t.BodyLen
		if c.target == "/s/refuses" {
			c.head("403 Forbidden")
			c.final(nil)
			return
		}
		b, rc := c.all()
		c.ok(fmt.Sprint(len(b), string(b) == bodyOf(len(b)), rc))
	})
	r.spools.disk = d
	r.start()
	body := bodyOf(3 << 20)
	for _, frame := range framings {
		for _, have := range []int{0, 1, 5000, 100_000} {
			text := frame("/s/%61", body)
			head := strings.Index(text, "\r\n\r\n") + 4
			c := r.dialTCP()
			if _, err := io.WriteString(c, text[:head+have]); err != nil {
				t.Fatal(err)
			}
			if n := <-called; n > int64(have) {
				t.Errorf("called with %d bytes of %d", n, have)
			}
			post(c, text[head+have:]+sized("/s/b", "0"))
			in := responses(t, c)
			in.want(200, "3145728 true 0")
			<-called
			in.want(200, "1 true 0")
		}
		text := strings.Replace(frame("/s/a", body), "\r\n", "\r\nExpect: 100-continue\r\n", 1)
		head := strings.Index(text, "\r\n\r\n") + 4
		c := r.dialTCP()
		send(t, c, text[:head])
		in := responses(t, c)
		in.want(100, "")
		<-called
		post(c, text[head:])
		in.want(200, "3145728 true 0")
		c = r.dialTCP()
		send(t, c, strings.Replace(text[:head], "/s/a", "/s/refuses", 1))
		in = responses(t, c)
		<-called
		in.want(403, "")
		in.wantEnd()
	}
	if d.made != 0 {
		t.Errorf("%d files were made", d.made)
	}
	f := r.framer()
	f.ask(1, false)
	f.upload(1, "0 1", true)
	if got := f.body(1); got != "3 true 0" {
		t.Errorf("HTTP/2: %q", got)
	}
	if n := <-called; n != 0 && n != 3 {
		t.Error(n)
	}
}

// TestSpoolDrain: a worker that is to be replaced keeps an upload that is half way
// until it has answered it.
func TestSpoolDrain(t *testing.T) {
	d := new(fakeDisk)
	r := spoolRig(t, d, nil)
	text := sized("/a", bodyOf(4<<20))
	c := r.dialTCP()
	if _, err := io.WriteString(c, text[:2<<20]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a file", func() bool { return d.open() == 1 })
	r.Drain(protocol.DrainReplaced, time.Minute)
	select {
	case <-r.Drained():
		t.Fatal("it has left")
	case <-time.After(300 * time.Millisecond):
	}
	post(c, text[2<<20:])
	responses(t, c).want(200, "/a spooled 4194304 true")
	<-r.Drained()
	r.empty(d)
}

// TestSpoolDir tries real directories.
func TestSpoolDir(t *testing.T) {
	d := spoolDir(t.TempDir())
	f, err := d.create()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if room, err := d.room(f); err != nil || room <= 0 {
		t.Errorf("room for %d bytes, %v", room, err)
	}
	if _, err := f.WriteAt([]byte("abc"), 0); err != nil {
		t.Error(err)
	}
	var b [3]byte
	if n, err := f.ReadAt(b[:], 0); n != 3 || string(b[:]) != "abc" {
		t.Errorf("%q %v", b[:n], err)
	}
	if names, err := unix.Open(string(d), unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
		buf := make([]byte, 4096)
		n, _ := unix.ReadDirent(names, buf)
		if _, count, _ := unix.ParseDirent(buf[:max(n, 0)], -1, nil); count != 0 {
			t.Errorf("the file has a name, or %d", count)
		}
		unix.Close(names)
	}
	if _, err := spoolDir("/nowhere/at/all").create(); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Error(err)
	}
	t.Setenv("TMPDIR", "/dev/shm") // in memory
	dirs, err := spoolDir("").dirs()
	for _, dir := range dirs {
		if dir != "/var/tmp" {
			t.Errorf("%s would do", dir)
		}
	}
	if len(dirs) == 0 && err == nil {
		t.Error("no directory, and no error")
	}
}
