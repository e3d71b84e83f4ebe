package otlp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"hostler/internal/testlog"
	"hostler/protocol"
	"hostler/settings"
)

// sink is an exporter that keeps what it gets, or fails, or waits.
type sink struct {
	mu      sync.Mutex
	spans   []trace.ReadOnlySpan
	batches []int
	err     error
	hold    chan struct{}
	asked   chan struct{} // gets something for each batch
	closed  bool
}

func (s *sink) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	s.asked <- struct{}{}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.spans, s.batches = append(s.spans, spans...), append(s.batches, len(spans))
	return nil
}

func (s *sink) Shutdown(context.Context) error {
	s.closed = true
	return nil
}

func newSink() *sink { return &sink{asked: make(chan struct{}, 1000)} }

func (s *sink) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func newExporters() (*Exporters, *testlog.Buffer) {
	log := new(testlog.Buffer)
	return New("1", slog.New(slog.NewTextHandler(log, nil))), log
}

func line(n byte) []byte {
	s := protocol.Span{Trace: [16]byte{1}, ID: [8]byte{n + 1}, Flags: 1, End: 2e18, Duration: 5e6, Queue: 1e6, Status: 200, Minor: 1, Method: []byte("GET"), Path: []byte("/")}
	return s.Append(nil)
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return r, w
}

// TestBatches: a batch goes when it is full, or its time has come, and the rest at the end.
func TestBatches(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
	x, _ := newExporters()
	to := newSink()
	e := x.open(to, resource.Empty(), nil)
	r, w := pipe(t)
	e.Take(r, 3)
	for n := range byte(6) {
		_, _ = w.Write(line(n))
	}
	<-to.asked
	w.Close()
	e.Close()
	if len(to.batches) != 2 || to.batches[0] != 4 || to.batches[1] != 2 || !to.closed {
		t.Errorf("%v", to.batches)
	}
	if c := x.Counts(); c != (protocol.SpanCounts{Exported: 6}) {
		t.Errorf("%+v", c)
	}
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	e = x.open(to, resource.Empty(), nil)
	r, w = pipe(t)
	e.Take(r, 3)
	_, _ = w.Write(line(1))
	<-to.asked // nobody has closed anything
	w.Close()
	e.Close()
}

// TestCollectorFails: what it does not take is lost, counted, and said once.
func TestCollectorFails(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
	x, log := newExporters()
	to := newSink()
	to.fails(errors.New("is away"))
	e := x.open(to, resource.Empty(), nil)
	r, w := pipe(t)
	e.Take(r, 1)
	for n := range byte(3) {
		_, _ = w.Write(line(n))
		<-to.asked
	}
	for x.Counts().Collector < 3 {
		time.Sleep(time.Millisecond)
	}
	to.fails(nil)
	_, _ = w.Write(line(4))
	w.Close()
	e.Close()
	if c := x.Counts(); c != (protocol.SpanCounts{Exported: 1, Collector: 3}) {
		t.Errorf("%+v", c)
	}
	if s := log.String(); strings.Count(s, "spans are lost") != 1 || strings.Count(s, "again\" lost=3") != 1 || !strings.Contains(s, "is away") {
		t.Error(s)
	}
}

// TestCollectorSlow: nobody waits for a collector: what has no room is lost, and the end comes.
func TestCollectorSlow(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
	x, _ := newExporters()
	to := newSink()
	to.hold = make(chan struct{})
	e := x.open(to, resource.Empty(), nil)
	r, w := pipe(t)
	e.Take(r, 1)
	_, _ = w.Write(line(0))
	<-to.asked
	for n := range byte(10) {
		_, _ = w.Write(line(n))
	}
	for x.Counts().Queue < 8 {
		time.Sleep(time.Millisecond)
	}
	w.Close()
	e.Close() // within its time, or the test hangs
	if c := x.Counts(); c != (protocol.SpanCounts{Queue: 8, Collector: 3}) {
		t.Errorf("%+v", c)
	}
}

// TestHostileLines: a worker that says nonsense spoils no more than that.
func TestHostileLines(t *testing.T) {
	x, log := newExporters()
	to := newSink()
	e := x.open(to, resource.Empty(), nil)
	r, w := pipe(t)
	e.Take(r, 7)
	for _, b := range [][]byte{[]byte("nonsense\n"), []byte("\n"), line(1), bytes.Repeat([]byte("x"), 3*protocol.MaxSpan), []byte("\n"), line(2), line(3)[:40]} {
		_, _ = w.Write(b)
	}
	w.Close()
	e.Close()
	if c := x.Counts(); c != (protocol.SpanCounts{Exported: 2, Invalid: 4}) {
		t.Errorf("%+v", c)
	}
	if s := log.String(); strings.Count(s, "ignored") != 1 || !strings.Contains(s, "worker=7") {
		t.Error(s)
	}
}

// TestLost: a request that died with its worker has a span as any other, with the reason; one that
// cannot be, as a worker may have written anything, is counted.
func TestLost(t *testing.T) {
	x, _ := newExporters()
	to := newSink()
	e := x.open(to, resource.Empty(), nil)
	s := protocol.Span{Trace: [16]byte{1}, ID: [8]byte{2}, Parent: [8]byte{3}, Flags: 1, End: 2e18, Duration: 5e9, Queue: -1, Minor: 1,
		Method: []byte("GET"), Path: []byte("/\xff"), Scheme: []byte("http"), Error: []byte("worker_died")}
	e.Lost(s, 7, "signal:SIGKILL")
	for _, wrong := range []func(*protocol.Span){
		func(s *protocol.Span) { s.Trace = [16]byte{} }, func(s *protocol.Span) { s.ID = [8]byte{} },
		func(s *protocol.Span) { s.Minor = 3 }, func(s *protocol.Span) { s.Duration = 3e18 },
	} {
		w := s
		wrong(&w)
		e.Lost(w, 7, "exit:1")
	}
	e.Close()
	if c := x.Counts(); c != (protocol.SpanCounts{Exported: 1, Invalid: 4}) {
		t.Fatalf("%+v", c)
	}
	got := to.spans[0]
	has := make(map[string]string)
	for _, kv := range got.Attributes() {
		has[string(kv.Key)] = kv.Value.String()
	}
	if has["error.type"] != "worker_died" || has["hostler.cause"] != "signal:SIGKILL" || has["hostler.worker"] != "7" || has["url.path"] != "/\uFFFD" || has["http.response.status_code"] != "" ||
		got.Parent().SpanID() != s.Parent || got.EndTime().Sub(got.StartTime()) != 5*time.Second {
		t.Errorf("%v, %v", has, got)
	}
	if _, ok := has["hostler.queue_wait"]; ok {
		t.Errorf("nobody knows when its application was called: %v", has)
	}
}

// TestTakeEnds: a process that keeps the pipe of a worker that is gone holds nobody up.
func TestTakeEnds(t *testing.T) {
	x, _ := newExporters()
	to := newSink()
	e := x.open(to, resource.Empty(), nil)
	r, w := pipe(t)
	ended := e.Take(r, 1)
	_, _ = w.Write(line(1))
	ended()
	e.Close()
	if c := x.Counts(); c != (protocol.SpanCounts{Exported: 1}) {
		t.Errorf("%+v", c)
	}
}

func TestPaced(t *testing.T) {
	p := &paced{r: bytes.NewReader(make([]byte, mostBytes/4))}
	if n, err := io.Copy(io.Discard, p); n != mostBytes/4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if ahead := time.Until(p.quiet); ahead > time.Second/4 {
		t.Errorf("a quarter of what may be read in a second takes %v", ahead)
	}
}

func TestStub(t *testing.T) {
	full := protocol.Span{Trace: [16]byte{1}, ID: [8]byte{2}, Parent: [8]byte{3}, Flags: 1, End: 2e18, Duration: 5e6, Queue: 1e6, Status: 503, Minor: 2, Port: 4711,
		Method: []byte("GET"), Path: []byte("/\xff"), Scheme: []byte("https"), Host: []byte("[::1]:8443"), Client: []byte("10.0.0.1"), Peer: []byte("10.0.0.2"),
		Agent: []byte("x\xfe"), State: []byte("a=1"), Error: []byte("503"), Route: []byte("/<a>")}
	stub := (&told{full, 3, ""}).stub(resource.Empty(), instrumentation.Scope{})
	got := make(map[string]string)
	for _, kv := range stub.Attributes {
		got[string(kv.Key)] = kv.Value.String()
		if !utf8.ValidString(kv.Value.String()) {
			t.Errorf("%s is no text: %q", kv.Key, kv.Value.String())
		}
	}
	for k, want := range map[string]string{"http.request.method": "GET", "http.response.status_code": "503", "url.path": "/\uFFFD", "url.scheme": "https", "server.address": "::1", "server.port": "8443",
		"client.address": "10.0.0.1", "network.peer.address": "10.0.0.2", "network.peer.port": "4711", "network.protocol.version": "2", "user_agent.original": "x\uFFFD", "error.type": "503", "http.route": "/<a>",
		"hostler.worker": "3", "hostler.queue_wait": "0.001"} {
		if got[k] != want {
			t.Errorf("%s is %q, not %q", k, got[k], want)
		}
	}
	if stub.Name != "GET /<a>" {
		t.Error(stub.Name)
	}
	if stub.EndTime.Sub(stub.StartTime) != 5*time.Millisecond || !stub.Parent.IsRemote() || stub.Parent.SpanID() != [8]byte{3} || stub.SpanContext.TraceState().String() != "a=1" {
		t.Errorf("%+v", stub)
	}
	empty := (&told{protocol.Span{Trace: [16]byte{1}, ID: [8]byte{2}, End: 1, Queue: -1, Minor: 1, State: []byte("nonsense"), Method: []byte("get")}, 1, ""}).stub(resource.Empty(), instrumentation.Scope{})
	if empty.Name != "HTTP" || empty.Parent.IsValid() || empty.SpanContext.TraceState().Len() != 0 {
		t.Errorf("%+v", empty)
	}
	for host, want := range map[string]string{"a": "a", "a:1": "a", "[::1]": "::1", "[::1]:1": "::1", "a:x": "a", "a:99999": "a"} {
		if name, _ := (&told{protocol.Span{Host: []byte(host)}, 1, ""}).host(); name != want {
			t.Errorf("%s: %s", host, name)
		}
	}
}

func TestOpen(t *testing.T) {
	x, _ := newExporters()
	traced := settings.Worker{Tracing: new(settings.Tracing)}
	for protocol, ok := range map[string]bool{"": true, "http/protobuf": true, "grpc": true, "http/json": false} {
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
		for _, set := range []*settings.Master{{Worker: traced}, {Worker: traced, OTLPEndpoint: "http://127.0.0.1:1"}} {
			e, err := x.Open(t.Context(), set)
			if (err == nil) != ok {
				t.Errorf("%q: %v", protocol, err)
			}
			if err == nil {
				e.Close()
			}
		}
	}
	t.Setenv("OTEL_SERVICE_NAME", "theirs")
	r, err := describe(t.Context(), &settings.Master{Name: "ours"})
	if v, _ := r.Set().Value("service.name"); err != nil || v.AsString() != "theirs" {
		t.Errorf("%v, %v", r, err)
	}
}

// TestEndpoint: who says nothing of a collector has one on this machine, without TLS; what a
// variable says is the SDK's to read, and a flag comes first.
func TestEndpoint(t *testing.T) {
	for _, c := range []struct{ flag, all, one, want string }{
		{"", "", "", "http://localhost:4318/v1/traces"},
		{"", "http://a:1", "", ""},
		{"", "", "http://a:1/x", ""},
		{"https://b", "http://a:1", "http://a:1/x", "https://b/v1/traces"},
	} {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.all)
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.one)
		if got := endpoint(&settings.Master{OTLPEndpoint: c.flag}, "TRACES", httpAddress, "/v1/traces"); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// FuzzTake gives whatever it is to the exporter, as a worker could: what comes out can be sent.
func FuzzTake(f *testing.F) {
	f.Add(append(line(1), line(2)...))
	f.Add([]byte("x\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, _ := newExporters()
		e := &Exporter{log: x.log, counts: &x.counts, queue: make(chan told, 1000)}
		e.read(bytes.NewReader(b), 1)
		for len(e.queue) > 0 {
			s := <-e.queue
			for _, kv := range s.stub(resource.Empty(), instrumentation.Scope{}).Attributes {
				if !utf8.ValidString(kv.Value.String()) {
					t.Errorf("%q: %q", b, kv.Value.String())
				}
			}
		}
	})
}
