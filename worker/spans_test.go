package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/settings"
	"hostler/worker/http1"
	"hostler/worker/tracecontext"
)

const someParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// tracedRig is a rig whose spans can be read.
func tracedRig(t *testing.T, cfg *protocol.WorkerConfig, app func(*call)) (r *rig, told func() []protocol.Span) {
	t.Helper()
	cfg.Tracing = &settings.Tracing{Sampler: settings.SamplerParentOn, Propagates: true}
	path := filepath.Join(t.TempDir(), "spans")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	r = newRig(t, cfg, app)
	to := logwriter.New(logwriter.Options{FD: fd})
	t.Cleanup(to.Close)
	r.spans = openSpans(cfg, to)
	return r, func() (all []protocol.Span) {
		t.Helper()
		if !to.Flush(time.Minute) {
			t.Fatal("the spans are not written")
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
			if len(line) == 0 {
				continue
			}
			s, err := protocol.ParseSpan(line)
			if err != nil {
				t.Errorf("%q: %v", line, err)
			}
			all = append(all, s)
		}
		return all
	}
}

// variables are those that the server gives t's request beside its fields.
func (t *Thread) variables() string { return string(bytesAt(t.TLS, int(t.TLSLen))) }

func TestSpans(t *testing.T) {
	seen := make(chan string, 1)
	r, told := tracedRig(t, testConfig(), func(c *call) {
		has := c.t.variables()
		for i := range c.t.Req.NFields {
			has += "|" + string(c.t.Req.Fields[i].Name.In(c.t.head()))
		}
		seen <- has
		if strings.HasPrefix(c.target, "/fails") {
			c.t.Result = ResultFailed
			return
		}
		c.ok("x")
	})
	r.start()
	c := r.dial()
	rd := responses(t, c)
	for _, k := range []struct {
		head, fields, path, wrong string
		status                    int64
		parent                    bool
	}{
		{"GET /a?b HTTP/1.1\r\nHost: h:1\r\nTraceparent: " + someParent + "\r\nTracestate: a=1\r\nTRACESTATE: b=2\r\n", "|Host|Tracestate|TRACESTATE", "/a", "", 200, true},
		{"GET /b HTTP/1.1\r\nHost: h\r\nTraceparent: " + someParent + "\r\ntraceparent: " + someParent + "\r\nTracestate: a=1\r\n", "|Host", "/b", "", 200, false},
		{"GET http://other/c HTTP/1.1\r\nHost: h\r\nTracestate: a=1\r\n", "|Host", "/c", "", 200, false},
		{"GET /fails HTTP/1.1\r\nHost: h\r\nTraceparent: " + someParent + "\r\n", "|Host", "/fails", "exception", 500, true},
	} {
		before := len(told())
		send(t, c, k.head+"User-Agent: u\r\n\r\n")
		if p, err := rd.read(false); err != nil || int64(p.status) != k.status {
			t.Fatalf("%s: %v, %v", k.path, p, err)
		}
		var all []protocol.Span
		for len(all) <= before {
			all = told()
		}
		s := all[before]
		own := tracecontext.Context{Trace: s.Trace, Span: s.ID, Flags: s.Flags}
		if got, want := <-seen, "HTTP_TRACEPARENT\x00"+string(own.Append(nil))+"\x00"+k.fields+"|User-Agent"; got != want {
			t.Errorf("%s: the application has %q, want %q", k.path, got, want)
		}
		if string(s.Path) != k.path || s.Status != k.status || string(s.Error) != k.wrong || s.Parent != [8]byte{} != k.parent || string(s.Agent) != "u" || string(s.Method) != "GET" || s.Queue < 0 || string(s.Scheme) != "http" {
			t.Errorf("%s: %+v", k.path, s)
		}
	}
	all := told()
	if string(all[0].Host) != "h:1" || string(all[0].State) != "a=1,b=2" || string(all[2].Host) != "other" || len(all[1].State)+len(all[2].State) > 0 {
		t.Errorf("%+v", all)
	}
	hidden := strings.TrimSuffix(someParent, "1") + "0"
	send(t, c, "GET /hidden HTTP/1.1\r\nHost: h\r\nTraceparent: "+hidden+"\r\n\r\n")
	_, err := rd.read(false)
	if got := <-seen; err != nil || got != "|Host|Traceparent" || len(told()) != len(all) {
		t.Errorf("what is not recorded: %v, %q, %d spans", err, got, len(told()))
	}
}

// TestSpansRefused: what the application never sees has a span, below its parent.
func TestSpansRefused(t *testing.T) {
	cfg := testConfig()
	cfg.LimitRequestBody = 10
	r, told := tracedRig(t, cfg, func(c *call) { c.ok("x") })
	r.start()
	for i, k := range []struct {
		request, method, path string
		status                int
		parent                bool
	}{
		{"GET /1 HTTP/1.1\r\nHost: h\r\ntraceparent:" + someParent + " \r\nContent-Length: x\r\n\r\n", "GET", "/1", 400, true},
		{"POST /2?q HTTP/1.1\r\nHost: h\r\ntraceparent: " + someParent + "\r\nContent-Length: 11\r\n\r\n", "POST", "/2", 413, true},
		{"GET /3 HTTP/1.1\r\nHost: h\r\ntraceparent: " + someParent + "\r\nTraceparent: " + someParent + "\r\nContent-Length: x\r\n\r\n", "GET", "/3", 400, false},
		{"GET http://h/4 HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\nx\r\ntraceparent: " + someParent + "\r\n", "GET", "/4", 400, false},
		{"\x00\x01\r\n\r\n", "", "", 400, false},
	} {
		c := r.dial()
		send(t, c, k.request)
		if p, err := responses(t, c).read(false); err != nil || p.status != k.status {
			t.Fatalf("%q: %v, %v", k.request, p, err)
		}
		var all []protocol.Span
		for len(all) <= i {
			all = told()
		}
		if s := all[i]; string(s.Method) != k.method || string(s.Path) != k.path || s.Status != int64(k.status) || (s.Parent != [8]byte{}) != k.parent || s.Queue != -1 || len(s.Error) > 0 {
			t.Errorf("%q: %+v", k.request, s)
		}
	}
}

// TestSpansCost: a span is made without a piece of Go's heap, and without --otel there is none.
func TestSpansCost(t *testing.T) {
	r, told := tracedRig(t, testConfig(), nil)
	th := r.Thread(0)
	var c conn
	c.reset(-1, 0, c.peer)
	head := "GET /a HTTP/1.1\r\nHost: h:1\r\nUser-Agent: u\r\nTraceparent: " + someParent + "\r\nTracestate: a=1\r\n\r\n"
	n := testing.AllocsPerRun(100, func() {
		b := th.buf[:copy(th.buf, head)]
		if ok, reason := http1.Parse(b, 0, &r.limits, &th.Req); !ok {
			t.Fatal(reason)
		}
		th.Buf, th.conn, th.TLSLen = address(b), &c, 0
		r.spans.begin(th, b)
		th.reply = reply{arrived: r.now(), status: 200, counted: true}
		r.spans.request(th, r.now())
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if all := told(); len(all) != 101 || all[0].Parent == [8]byte{} {
		t.Errorf("%d spans", len(all))
	}
	off := newRig(t, testConfig(), nil)
	if off.spans.on() || off.Thread(0).span.sampled() {
		t.Error("there are spans nobody has asked for")
	}
}

// TestSpansOnBoard: while a request that is recorded runs, its record says where it is, so that
// the master can tell of it; that of another says nothing.
func TestSpansOnBoard(t *testing.T) {
	type seen struct {
		place     protocol.Place
		on        bool
		variables string
	}
	at := make(chan seen, 1)
	var r *rig
	r, told := tracedRig(t, testConfig(), func(c *call) {
		rec := &r.slot.ThreadRecs[0]
		s := seen{variables: c.t.variables()}
		s.place, s.on = rec.Place(rec.Started())
		at <- s
		c.ok("x")
	})
	r.start()
	c := r.dial()
	rd := responses(t, c)
	ask := func(fields string) seen {
		t.Helper()
		send(t, c, "GET /a HTTP/1.1\r\nHost: h\r\n"+fields+"\r\n")
		if _, err := rd.read(false); err != nil {
			t.Fatal(err)
		}
		return <-at
	}
	got := ask("Traceparent: " + someParent + "\r\n")
	own := tracecontext.Context{Trace: got.place.Trace, Span: got.place.ID, Flags: got.place.Flags}
	if want := "HTTP_TRACEPARENT\x00" + string(own.Append(nil)) + "\x00"; !got.on || got.variables != want || got.place.Parent == [8]byte{} || got.place.Arrived == 0 || got.place.Security != 0 {
		t.Errorf("%+v, and the application has %q", got, want)
	}
	if got := ask("Traceparent: " + strings.TrimSuffix(someParent, "1") + "0\r\n"); got.on {
		t.Errorf("what nobody wants to see: %+v", got)
	}
	if got := ask(""); !got.on || got.place.Parent != [8]byte{} || got.place.Trace == own.Trace {
		t.Errorf("with no parent: %+v", got)
	}
	if n := len(told()); n != 2 {
		t.Errorf("%d spans", n)
	}
	rec := &r.slot.ThreadRecs[0]
	for rec.Started() != 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestSpanToldOnce: when the span of a WebSocket has been told, the record of its request, which may
// be busy for longer, says so.
func TestSpanToldOnce(t *testing.T) {
	r, told := tracedRig(t, testConfig(), nil)
	var rec protocol.Thread
	rec.Begin(5, []byte("GET"), []byte("/"), nil)
	rec.Trace(5, protocol.Place{Trace: [16]byte{1}, ID: [8]byte{2}, Flags: tracecontext.Sampled})
	k := &lastingLine{log: &r.access, spans: &r.spans, rec: &rec, start: 5, span: &protocol.Span{Trace: [16]byte{1}, ID: [8]byte{2}, Queue: -1}}
	r.access.lasting.all = map[*lastingLine]struct{}{k: {}}
	k.opens(101)
	if _, on := rec.Place(5); !on {
		t.Error("its place is gone before its end")
	}
	k.end(7)
	if _, on := rec.Place(5); on || len(told()) != 1 {
		t.Errorf("told %d times, and the master would again: %v", len(told()), on)
	}
}
