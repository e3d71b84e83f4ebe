package e2e

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	spanpb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// collector decodes what it is sent by OTLP.
type collector struct {
	tracepb.UnimplementedTraceServiceServer
	metricpb.UnimplementedMetricsServiceServer
	url string

	mu      sync.Mutex
	spans   []gotSpan
	metrics map[string]float64 // by name: the sum of its points
	headers http.Header        // of the last request
	status  int                // what it answers; 0: 200
	hold    chan struct{}      // until it is closed nothing is answered; nil: all is
	asked   int
}

// gotSpan is a span, and whose it is.
type gotSpan struct {
	*spanpb.Span
	attr, resource map[string]string
	scope          string
}

func (s *gotSpan) id() string     { return hex.EncodeToString(s.SpanId) }
func (s *gotSpan) trace() string  { return hex.EncodeToString(s.TraceId) }
func (s *gotSpan) parent() string { return hex.EncodeToString(s.ParentSpanId) }

func attributes(all []*commonpb.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, kv := range all {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			m[kv.Key] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_DoubleValue:
			m[kv.Key] = fmt.Sprint(v.DoubleValue)
		default:
			m[kv.Key] = kv.Value.String()
		}
	}
	return m
}

// newCollector listens for OTLP over HTTP.
func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: make(map[string]float64)}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	c.url = "http://" + l.Addr().String()
	s := &http.Server{Handler: c}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return c
}

// newGRPCCollector listens for OTLP over gRPC.
func newGRPCCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: make(map[string]float64)}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	c.url = "http://" + l.Addr().String()
	s := grpc.NewServer()
	tracepb.RegisterTraceServiceServer(s, grpcTraces{c})
	metricpb.RegisterMetricsServiceServer(s, grpcMetrics{c})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return
	}
	c.mu.Lock()
	c.headers = r.Header.Clone()
	c.asked++
	status, hold := c.status, c.hold
	c.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	switch r.URL.Path {
	case "/v1/traces":
		q := new(tracepb.ExportTraceServiceRequest)
		if err := proto.Unmarshal(b, q); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.takeSpans(q)
	case "/v1/metrics":
		q := new(metricpb.ExportMetricsServiceRequest)
		if err := proto.Unmarshal(b, q); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.takeMetrics(q)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

type grpcTraces struct{ *collector }

func (c grpcTraces) Export(_ context.Context, q *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	c.takeSpans(q)
	return new(tracepb.ExportTraceServiceResponse), nil
}

type grpcMetrics struct{ *collector }

func (c grpcMetrics) Export(_ context.Context, q *metricpb.ExportMetricsServiceRequest) (*metricpb.ExportMetricsServiceResponse, error) {
	c.takeMetrics(q)
	return new(metricpb.ExportMetricsServiceResponse), nil
}

func (c *collector) takeSpans(q *tracepb.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range q.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				c.spans = append(c.spans, gotSpan{span, attributes(span.Attributes), attributes(r.Resource.Attributes), s.Scope.Name})
			}
		}
	}
}

func (c *collector) takeMetrics(q *metricpb.ExportMetricsServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range q.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				sum := 0.0
				for _, p := range m.GetSum().GetDataPoints() {
					sum += p.GetAsDouble() + float64(p.GetAsInt())
				}
				for _, p := range m.GetGauge().GetDataPoints() {
					sum += p.GetAsDouble() + float64(p.GetAsInt())
				}
				for _, p := range m.GetHistogram().GetDataPoints() {
					sum += float64(p.Count)
				}
				c.metrics[m.Name] = sum
			}
		}
	}
}

// set changes how it answers.
func (c *collector) set(status int, hold chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status, c.hold = status, hold
}

// all returns the spans that there are, those of a path alone if that is not "".
func (c *collector) all(path string) (spans []gotSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if path == "" || s.attr["url.path"] == path {
			spans = append(spans, s)
		}
	}
	return spans
}

// of waits until there are n spans of hostler's for a path, and returns them.
func (c *collector) of(t *testing.T, s *server, path string, n int) []gotSpan {
	t.Helper()
	var got []gotSpan
	s.eventually(fmt.Sprintf("%d spans of %s", n, path), func() bool {
		got = slices.DeleteFunc(c.all(path), func(g gotSpan) bool { return g.scope != "hostler" })
		return len(got) >= n
	})
	if len(got) != n {
		t.Errorf("%d spans of %s, not %d", len(got), path, n)
	}
	return got
}

// traced runs hostler with spans to a collector, which get there quickly.
func traced(t *testing.T, c *collector, args ...string) *server {
	t.Helper()
	return tracedWith(t, c, []string{"OTEL_BSP_SCHEDULE_DELAY=20"}, args...)
}

func tracedWith(t *testing.T, c *collector, env []string, args ...string) *server {
	t.Helper()
	addr, admin := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd := exec.Command("env", slices.Concat(env, []string{binary, "-b", addr, "--admin-bind", admin, "--python", venv, "--chdir", apps, "--otel", "--otlp-endpoint", c.url}, args)...)
	s := launchBy(t, cmd, "")
	s.addr, s.admin = addr, admin
	s.waitLog("msg=serving")
	return s
}

// askWith asks with fields, name and value by turns, on a connection of its own.
func (s *server) askWith(path string, fields ...string) (int, string) {
	s.t.Helper()
	q, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		q.Header.Add(fields[i], fields[i+1])
	}
	r, err := client.Do(q)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

const (
	someTrace  = "0af7651916cd43dd8448eb211c80319c"
	someSpan   = "b7ad6b7169203331"
	someParent = "00-" + someTrace + "-" + someSpan + "-01"
	hidden     = "00-" + someTrace + "-" + someSpan + "-00"
)

const tracedApp = `
import os, time
def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/raises':
        raise RuntimeError
    if path == '/dies':
        os._exit(3)
    if path == '/slow':
        while True:
            time.sleep(0.01)
    status = path.removeprefix('/status/') + ' Of Some Kind' if path.startswith('/status/') else '200 OK'
    start_response(status, [('Content-Type', 'text/plain')])
    return ['|'.join((environ.get('HTTP_TRACEPARENT', 'none'), environ.get('HTTP_TRACESTATE', 'none'))).encode()]
`

// TestOtelSpans: what a span says of a request, and what the application is told of it.
func TestOtelSpans(t *testing.T) {
	for _, kind := range []string{"http/protobuf", "grpc"} {
		c := newCollector(t)
		if kind == "grpc" {
			c = newGRPCCollector(t)
		}
		dir := write(t, t.TempDir(), map[string]string{"traced.py": tracedApp, "file.txt": "static"})
		s := tracedWith(t, c, []string{"OTEL_BSP_SCHEDULE_DELAY=20", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test,service.version=7"},
			"--otlp-protocol", kind, "--chdir", dir, "--name", "shop", "--static", "/files="+dir, "--timeout", "1", "traced:app")
		before := time.Now()
		_, body := s.askWith("/with", "traceparent", someParent, "tracestate", "a=1,b=2", "User-Agent", "curl/8.1 \xff")
		got := c.of(t, s, "/with", 1)[0]
		if want := "00-" + someTrace + "-" + got.id() + "-01|a=1,b=2"; body != want {
			t.Errorf("%s: the application has %s, not %s", kind, body, want)
		}
		if got.trace() != someTrace || got.parent() != someSpan || got.TraceState != "a=1,b=2" || got.Kind != spanpb.Span_SPAN_KIND_SERVER || got.Name != "GET" ||
			got.Status.GetCode() != spanpb.Status_STATUS_CODE_UNSET {
			t.Errorf("%s: %v", kind, got)
		}
		host, port, _ := net.SplitHostPort(s.addr)
		for k, want := range map[string]string{"http.request.method": "GET", "url.path": "/with", "url.scheme": "http", "server.address": host, "server.port": port,
			"http.response.status_code": "200", "user_agent.original": "curl/8.1 \uFFFD", "network.protocol.version": "1.1", "client.address": "127.0.0.1", "network.peer.address": "127.0.0.1",
			"error.type": "", "hostler.worker": "1"} {
			if got.attr[k] != want {
				t.Errorf("%s: %s is %q, not %q", kind, k, got.attr[k], want)
			}
		}
		if got.resource["service.name"] != "shop" || got.resource["service.version"] != "7" || got.resource["deployment.environment.name"] != "test" || got.resource["service.instance.id"] == "" || got.resource["telemetry.sdk.name"] != "opentelemetry" {
			t.Errorf("%s: %v", kind, got.resource)
		}
		from, to := time.Unix(0, int64(got.StartTimeUnixNano)), time.Unix(0, int64(got.EndTimeUnixNano))
		if from.Before(before.Add(-time.Second)) || to.Before(from) || to.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: from %v to %v", kind, from, to)
		}

		_, body = s.askWith("/alone?secret=1", "tracestate", "a=1")
		got = c.of(t, s, "/alone", 1)[0]
		if want := "00-" + got.trace() + "-" + got.id() + "-01|none"; body != want || len(got.ParentSpanId) != 0 || got.TraceState != "" {
			t.Errorf("%s, with no parent: %s, %v", kind, body, got)
		}
		for i, fields := range [][]string{{"traceparent", someParent[:54]}, {"traceparent", someParent, "traceparent", someParent}, {"traceparent", strings.ToUpper(someParent)}} {
			path := fmt.Sprintf("/wrong/%d", i)
			_, body := s.askWith(path, append(fields, "tracestate", "a=1")...)
			if got := c.of(t, s, path, 1)[0]; got.trace() == someTrace || len(got.ParentSpanId) != 0 || body != "00-"+got.trace()+"-"+got.id()+"-01|none" {
				t.Errorf("%s, %q: %s, %v", kind, fields, body, got)
			}
		}
		if _, body := s.askWith("/hidden", "traceparent", hidden, "tracestate", "a=1"); body != hidden+"|a=1" {
			t.Errorf("%s: of what is not recorded the application has %s", kind, body)
		}
		for _, k := range []struct {
			path, status, wrong string
		}{{"/status/404", "404", ""}, {"/status/503", "503", "503"}, {"/raises", "500", "exception"}, {"/slow", "504", "timeout"}, {"/files/file.txt", "200", ""}, {"/files/none", "404", ""}} {
			s.askWith(k.path)
			got := c.of(t, s, k.path, 1)[0]
			code := spanpb.Status_STATUS_CODE_UNSET
			if k.wrong != "" {
				code = spanpb.Status_STATUS_CODE_ERROR
			}
			if got.attr["http.response.status_code"] != k.status || got.attr["error.type"] != k.wrong || got.Status.GetCode() != code {
				t.Errorf("%s, %s: %v, %v", kind, k.path, got.attr, got.Status)
			}
		}
		s.raw("BREW /refused HTTP/1.1\r\nHost: x\r\nTraceparent: " + someParent + "\r\nContent-Length: x\r\n\r\n")
		if got := c.of(t, s, "/refused", 1)[0]; got.attr["http.request.method"] != "_OTHER" || got.attr["http.request.method_original"] != "BREW" || got.Name != "HTTP" ||
			got.attr["http.response.status_code"] != "400" || got.parent() != someSpan {
			t.Errorf("%s: %v", kind, got)
		}
		if len(c.all("/hidden")) > 0 {
			t.Errorf("%s: a span of what is not recorded", kind)
		}
		if n, lost := s.metric("hostler_spans_exported_total", ""), s.metric("hostler_spans_lost_total", ""); n < 12 || lost != 0 {
			t.Errorf("%s: %v spans, %v lost", kind, n, lost)
		}
		s.stop()
	}
}

// TestOtelReload: no span of a request that was answered is lost at a reload, or at the end.
func TestOtelReload(t *testing.T) {
	c := newCollector(t)
	dir := write(t, t.TempDir(), map[string]string{"traced.py": tracedApp})
	s := tracedWith(t, c, []string{"OTEL_BSP_SCHEDULE_DELAY=3600000"}, "-w", "2", "--threads", "2", "--chdir", dir, "traced:app") // nothing goes but for its number, and at the end
	stop := make(chan struct{})
	result := s.load(4, "/loaded", stop)
	for n := range 2 {
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", n+1)
	}
	close(stop)
	r := <-result
	r.check(t, 1)
	s.stop()
	got := c.all("/loaded")
	ids := make(map[string]bool)
	for _, g := range got {
		ids[g.id()] = true
	}
	if len(got) != r.ok || len(ids) != r.ok {
		t.Errorf("%d spans (%d differ) of %d requests", len(got), len(ids), r.ok)
	}
}

// TestOtelCollectorAway: requests are answered as ever while there is no collector, or it
// refuses, or does not answer; what is lost is counted, and said once.
func TestOtelCollectorAway(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"traced.py": tracedApp})
	c := newCollector(t)
	s := tracedWith(t, c, []string{"OTEL_BSP_SCHEDULE_DELAY=20", "OTEL_BSP_EXPORT_TIMEOUT=100", "OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4", "OTEL_EXPORTER_OTLP_HEADERS=authorization=secret"},
		"--chdir", dir, "traced:app")
	hold := make(chan struct{})
	for i, k := range []struct {
		status int
		hold   chan struct{}
	}{{http.StatusForbidden, nil}, {http.StatusServiceUnavailable, nil}, {0, hold}} {
		c.set(k.status, k.hold)
		before := s.metric("hostler_spans_lost_total", "collector")
		for range 30 {
			if status, _ := s.askWith("/away"); status != 200 {
				t.Errorf("%d", status)
			}
		}
		s.eventually("spans that are lost", func() bool { return s.metric("hostler_spans_lost_total", "collector") > before })
		s.waitLog("spans are lost")
		c.set(0, nil)
		if k.hold != nil {
			close(k.hold)
		}
		path := fmt.Sprintf("/back/%d", i)
		s.eventually("spans after that", func() bool {
			s.askWith(path)
			return len(c.all(path)) > 0
		})
		s.waitLog("spans are sent to the collector again", i+1)
	}
	c.mu.Lock()
	if got := c.headers.Get("Authorization"); got != "secret" {
		t.Errorf("Authorization: %q", got)
	}
	c.mu.Unlock()
	if strings.Contains(s.log.String(), "secret") {
		t.Error("a header is in the log")
	}
	dead := &collector{url: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
	for _, kind := range []string{"http/protobuf", "grpc"} {
		s := traced(t, dead, "--otlp-protocol", kind, "--chdir", dir, "traced:app")
		for range 5 {
			if status, _ := s.askWith("/away"); status != 200 {
				t.Errorf("%d", status)
			}
		}
		s.stop()
		if log := s.log.String(); !strings.Contains(log, "spans are lost") {
			t.Errorf("%s: nothing is said", kind)
		}
	}
}

const countedApp = `
from prometheus_client import Counter, Histogram
orders = Counter('shop_orders', 'Orders.')
sizes = Histogram('shop_sizes', 'Sizes.')
def app(environ, start_response):
    orders.inc(2)
    sizes.observe(1)
    start_response('200 OK', [])
    return [b'']
`

// TestOtelMetrics: the server's metrics get to the collector, and the application's, of all
// workers; after a reload, too, and at the end.
func TestOtelMetrics(t *testing.T) {
	for _, kind := range []string{"http/protobuf", "grpc"} {
		c := newCollector(t)
		if kind == "grpc" {
			c = newGRPCCollector(t)
		}
		dir := write(t, t.TempDir(), map[string]string{"sold.py": countedApp})
		s := tracedWith(t, c, []string{"OTEL_METRIC_EXPORT_INTERVAL=200"}, "--otlp-protocol", kind, "-w", "2", "--chdir", dir, "sold:app")
		want := func(name string, v float64) {
			t.Helper()
			s.eventually(fmt.Sprintf("%s: %s = %v", kind, name, v), func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.metrics[name] == v
			})
		}
		for range 5 {
			s.get("/")
		}
		want("hostler_requests_total", 5)
		want("shop_orders_total", 10)
		want("shop_sizes", 5)
		want("hostler_generation", 1)
		s.signal(syscall.SIGHUP)
		want("hostler_generation", 2)
		s.get("/")
		want("shop_orders_total", 12)
		s.stop()
	}
	c := newCollector(t)
	dir := write(t, t.TempDir(), map[string]string{"sold.py": countedApp})
	s := tracedWith(t, c, []string{"OTEL_METRIC_EXPORT_INTERVAL=3600000", "OTEL_TRACES_EXPORTER=none"}, "--chdir", dir, "sold:app")
	s.get("/")
	s.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metrics["hostler_requests_total"] != 1 || len(c.spans) > 0 {
		t.Errorf("at the end: %v, %d spans", c.metrics, len(c.spans))
	}
}

// TestOtelBelow: spans of Flask's and FastAPI's own instrumentation hang below the server's, over
// HTTP/1.1 and, with TLS, HTTP/2.
func TestOtelBelow(t *testing.T) {
	c := newCollector(t)
	dir := t.TempDir()
	args := append(newPair(t, dir, "localhost", 1).args(), "--python", asgiPython(t), "--chdir", filepath.Join(apps, "asgi"))
	for _, k := range []struct {
		name string
		args []string
	}{
		{"flask", []string{"otelapp:flaskapp"}},
		{"preloaded", []string{"--preload", "--threads", "2", "otelapp:flaskapp"}},
		{"green", []string{"--loop", "gevent", "-e", "PYTHONPATH=" + greenPackages(t, versionOf(t, asgiPython(t))), "otelapp:flaskapp"}},
		{"fastapi", []string{"otelapp:fastapp"}},
		{"uvloop", []string{"--loop", "uvloop", "--preload", "otelapp:fastapp"}},
	} {
		s := traced(t, c, append(args, k.args...)...)
		for _, h2 := range []bool{false, true} {
			tr := &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			if !h2 {
				tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			for _, parent := range []string{"", someParent, hidden} {
				path := fmt.Sprintf("/%s-%v-%s", k.name, h2, strings.TrimPrefix(parent, "00-"+someTrace+"-"+someSpan))
				q, err := http.NewRequest("GET", "https://"+s.addr+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if parent != "" {
					q.Header.Set("traceparent", parent)
				}
				r, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Do(q)
				if err != nil {
					t.Fatal(err)
				}
				var app struct {
					Trace, Parent string
					Recorded      bool
				}
				err = json.NewDecoder(r.Body).Decode(&app)
				r.Body.Close()
				if err != nil || r.ProtoMajor != map[bool]int{false: 1, true: 2}[h2] {
					t.Fatalf("%s: %v, %s", path, err, r.Proto)
				}
				if parent == hidden {
					if app.Trace != someTrace || app.Recorded {
						t.Errorf("%s: %+v", path, app)
					}
					continue
				}
				got := c.of(t, s, path, 1)[0]
				if !app.Recorded || app.Trace != got.trace() || app.Parent != got.id() || parent != "" && (got.trace() != someTrace || got.parent() != someSpan) {
					t.Errorf("%s: the application is at %+v, the span at %s %s below %s", path, app, got.trace(), got.id(), got.parent())
				}
				if version := map[bool]string{false: "1.1", true: "2"}[h2]; got.attr["network.protocol.version"] != version || got.attr["url.scheme"] != "https" {
					t.Errorf("%s: %v", path, got.attr)
				}
			}
			tr.CloseIdleConnections()
		}
		s.stop()
	}
}

// TestOtelSocket: a WebSocket is one span, from its handshake to its end; so is one that a
// stop has ended.
func TestOtelSocket(t *testing.T) {
	c := newCollector(t)
	s := traced(t, c, "--python", asgiPython(t), "--chdir", filepath.Join(apps, "asgi"), "otelapp:fastapp")
	first := s.dialSocket(t, "/socket", false, "Traceparent: "+someParent)
	_, said := first.frame()
	second := s.dialSocket(t, "/socket?second", false)
	second.frame()
	if got := c.all("/socket"); len(got) > 0 {
		t.Errorf("a span of what is not over: %v", got)
	}
	first.send(frameText, "x")
	got := c.of(t, s, "/socket", 1)[0]
	if got.attr["http.response.status_code"] != "101" || got.parent() != someSpan || got.Name != "GET" || said != `["00-`+someTrace+`-`+got.id()+`-01"]` {
		t.Errorf("%v; the application has %s", got, said)
	}
	s.stop()
	if got := c.all("/socket"); len(got) != 2 {
		t.Errorf("%d spans", len(got))
	}
}

// TestOtelUpgrade: the old binary's spans get to the collector, too.
func TestOtelUpgrade(t *testing.T) {
	c := newCollector(t)
	dir := write(t, t.TempDir(), map[string]string{"traced.py": tracedApp})
	pid := filepath.Join(dir, "pid")
	s := tracedWith(t, c, []string{"OTEL_BSP_SCHEDULE_DELAY=3600000"}, "-p", pid, "--chdir", dir, "traced:app")
	s.eventually("the pid file", func() bool { return readPid(pid) != 0 })
	old := readPid(pid)
	for range 5 {
		s.askWith("/old")
	}
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.eventually("another binary", func() bool { p := readPid(pid); return p != 0 && p != old })
	<-s.exited
	if got := c.all("/old"); len(got) != 5 {
		t.Errorf("%d spans of the old binary", len(got))
	}
	for range 3 {
		s.askWith("/new")
	}
	if err := syscall.Kill(readPid(pid), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); len(c.all("/new")) < 3 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if got := c.all("/new"); len(got) != 3 {
		t.Errorf("%d spans of the new one", len(got))
	}
}
