package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hostler/settings"
)

var messages = []Message{
	{Kind: KindDescriptor, Number: FDHandOut},
	{Kind: KindDescriptor, Number: FDListeners + 3},
	{Kind: KindUnfit, Text: "it lost its listener"},
	{Kind: KindInterrupt, Thread: MaxThreads - 1, Start: 1<<62 + 5},
	{Kind: KindStack, Thread: 0, Start: 1},
	{Kind: KindSlow, Text: `[{}]`},
	{Kind: KindProfile, Text: `{"seconds":1}`},
	{Kind: KindProfiled, Text: "a;b 1\n"}, {Kind: KindProfiled},
	{Kind: KindDump}, {Kind: KindDump, Text: DumpTell}, {Kind: KindDumped, Text: "Thread 0x1"}, {Kind: KindDumped},
	{Kind: KindModules, Text: "/srv/a.py\x00/srv/b.py\x00"},
	{Kind: KindPage, Text: "Traceback"}, {Kind: KindPage},
	{Kind: KindTLS}, {Kind: KindTaken}, {Kind: KindCanary, Text: "0.05"}, {Kind: KindCanary},
	{Kind: KindReady}, {Kind: KindLeaving},
	{Kind: KindDrained},
	{Kind: KindDump},
	{Kind: KindReopen, Text: LogAccess},
	{Kind: KindLevel, Text: "debug"},
	{Kind: KindHooks, Text: "on_starting on_exit"},
	HookCall{Hook: "child_exit", Worker: &HookWorker{PID: 3, Number: 1, Generation: 2, Cause: "exit", Status: "exit:0"}}.Message(),
	{Kind: KindHookDone, Text: "the hook on_exit failed: KeyError"},
	{Kind: KindHookDone},
	{Kind: KindFork, Text: `{"slot":1}`},
	{Kind: KindForked}, {Kind: KindBorn}, {Kind: KindMetrics}, {Kind: KindCollect}, {Kind: KindCollect, Text: CollectAll}, {Kind: KindCollected}, {Kind: KindScrape, Text: MetricsOpen.String()}, {Kind: KindScraped, Text: MetricsGzip.String()},
	{Kind: KindForked, Text: "no memory left"},
	{Kind: KindBootFailed},
	{Kind: KindBootFailed, Text: "Traceback …\nModuleNotFoundError: No module named 'app'\n"},
	{Kind: KindDrain, Mode: DrainReplaced, Grace: 30 * time.Second},
	{Kind: KindDrain, Mode: DrainStop, Grace: 0},
	{Kind: KindDrain, Mode: DrainQuick, Grace: 1<<63 - 1},
}

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range messages {
		p := m.Append([]byte("before"))
		if !bytes.HasPrefix(p, []byte("before")) {
			t.Fatalf("Append of %+v changed what was there", m)
		}
		got, err := ParseMessage(p[len("before"):])
		if err != nil || got != m {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
	}
}

// TestEveryKind holds the encoder and the decoder against the table: the fields that a
// row's payload names travel, and no others.
func TestEveryKind(t *testing.T) {
	for _, row := range MessageKinds() {
		m := Message{Kind: row.Kind, Mode: DrainStop, Grace: time.Second, Text: "text", Thread: 3, Start: 5, Number: FDHandOut}
		got, err := ParseMessage(m.Append(nil))
		if err != nil {
			t.Errorf("kind %c: %v", row.Kind, err)
			continue
		}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(m)) {
			travels := !reflect.ValueOf(got).FieldByIndex(field.Index).IsZero()
			if field.Name != "Kind" && travels != slices.Contains(row.Payload.Fields(), field.Name) {
				t.Errorf("kind %c: %s travels: %t, and its payload is %q", row.Kind, field.Name, travels, row.Payload.Fields())
			}
		}
		if !slices.ContainsFunc(messages, func(m Message) bool { return m.Kind == row.Kind }) {
			t.Errorf("kind %c is not among the messages that these tests send", row.Kind)
		}
	}
}

// TestMessageTable holds the table against the constants of the source.
func TestMessageTable(t *testing.T) {
	names := constants(t)
	seen := make(map[Kind]bool)
	for _, row := range MessageKinds() {
		if seen[row.Kind] {
			t.Errorf("two rows are about kind %c", row.Kind)
		}
		seen[row.Kind] = true
		if names[row.Kind] != "Kind"+row.Name {
			t.Errorf("the row %s is about the constant %q", row.Name, names[row.Kind])
		}
		if (row.From == PartyMaster) == (row.To == PartyMaster) || row.From == 0 || row.To == 0 || (row.From|row.To)>>numParties != 0 {
			t.Errorf("%s goes from %v to %v: one side has to be the master", row.Name, row.From, row.To)
		}
		if row.Meaning == "" {
			t.Errorf("%s has no meaning", row.Name)
		}
		for i := range numParties {
			if p := Party(1) << i; strings.IndexByte(Words(p), byte(row.Kind)) >= 0 != (row.From&p != 0) {
				t.Errorf("may a %v say %s? its words are %q", p, row.Name, Words(p))
			}
		}
	}
	for kind, name := range names {
		if !seen[kind] {
			t.Errorf("%s has no row", name)
		}
	}
}

// doc.go has the table: go generate puts it there.
func TestDocHasTheTable(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "// # Messages\n//\n"+MessageDoc()) {
		t.Errorf("doc.go does not list the messages as they are: run go generate ./protocol")
	}
	for _, row := range MessageKinds() {
		if !strings.Contains(string(text), " "+row.Name+" ") || !strings.Contains(string(text), row.Meaning) {
			t.Errorf("doc.go does not speak of %s", row.Name)
		}
	}
}

// constants returns the names of the constants in message.go.
func constants(t *testing.T) map[Kind]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "message.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[Kind]string)
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Kind" {
			c, _, _, err := strconv.UnquoteChar(strings.Trim(v.Values[0].(*ast.BasicLit).Value, "'"), '\'')
			if err != nil {
				t.Fatal(err)
			}
			found[Kind(c)] = v.Names[0].Name
		}
		return true
	})
	if len(found) < 20 {
		t.Fatalf("only %d kinds of message were found in the source", len(found))
	}
	return found
}

// The Python side (worker/bootstrap/_hostler/protocol.py) writes these bytes without any Go code.
func TestMessageBytes(t *testing.T) {
	for want, m := range map[string]Message{
		"R":      {Kind: KindReady},
		"Fboom":  {Kind: KindBootFailed, Text: "boom"},
		"Ds\x02": {Kind: KindDrain, Mode: DrainStop, Grace: 2},
	} {
		got := strings.TrimRight(string(m.Append(nil)), "\x00")
		if got != want {
			t.Errorf("%+v is %q, want %q", m, got, want)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	for name, p := range map[string]string{
		"empty":            "",
		"unknown kind":     "x",
		"text kind, lower": "rx",
		"zero kind":        "\x00",
		"ready payload":    "Rx",
		"drained payload":  "E\x00",
		"drain too short":  "Dr1234567",
		"drain too long":   "Dr123456789",
		"drain alone":      "D",
		"interrupt short":  "I\x01\x00\x00\x00\x01",
		"interrupt whom":   "I\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
		"interrupt what":   "I\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"drain mode":       "Dx\x00\x00\x00\x00\x00\x00\x00\x00",
		"drain back in t.": "Dr\x00\x00\x00\x00\x00\x00\x00\x80",
	} {
		if m, err := ParseMessage([]byte(p)); !errors.Is(err, ErrMessage) || m != (Message{}) {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
}

func TestLongBootFailureKeepsItsEnd(t *testing.T) {
	m := Message{Kind: KindBootFailed, Text: strings.Repeat("frame\n", MaxMessage) + "ImportError: last"}
	p := m.Append(nil)
	if len(p) != MaxMessage {
		t.Fatalf("packet of %d bytes, want %d", len(p), MaxMessage)
	}
	got, err := ParseMessage(p)
	if err != nil || !strings.HasSuffix(got.Text, "ImportError: last") {
		t.Fatalf("the end is missing (%v)", err)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, m := range messages {
		f.Add(m.Append(nil))
	}
	for _, s := range []string{"", "x", "Rx", "D", "Dr1234567", "Dx\x00\x00\x00\x00\x00\x00\x00\x00", "Dr\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := ParseMessage(p)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		// The encoding is canonical up to the cut of long texts.
		if q := m.Append(nil); len(p) <= MaxMessage && !bytes.Equal(p, q) {
			t.Fatalf("%q parses to %+v, which encodes to %q", p, m, q)
		}
	})
}

func fullConfig() *WorkerConfig {
	return &WorkerConfig{
		Slot: 3, Number: 4, Generation: 2, Name: "shop", Version: "1", Argv: []string{"hostler", "shop:app"}, Mold: true, Canary: true, HooksOnly: true, MasterPID: 7, Workers: 4,
		Listeners:   []Listener{{Network: "tcp", Host: "::1", Port: "8000", TLS: true, Redirect: "443"}, {Network: "unix", Host: "/run/shop.sock"}},
		MaxRequests: 1050, Check: true, Page: "broken", InternalEnv: []string{"GOGC"},
		Worker: fullSettings(),
	}
}

func fullSettings() settings.Worker {
	return settings.Worker{
		App: "pkg.mod:create_app(x=\"é\")", Paste: "production.ini#main", Chdir: "/srv/shop", Umask: "027",
		PythonPath: []string{"a", "b"}, Preload: true, Warmup: []string{"/"}, ReadyPath: "/up", ReadyHost: "x", ReadyTimeout: 15, Hooks: "hooks", Conf: "/srv/gunicorn.conf.py", Interface: "asgi", Loop: "uvloop", Lifespan: "on", Threads: 8, ThreadsAuto: true, WorkerConnections: 1000, Queue: 64,
		HTTP2Cleartext: true, MinRate: 8, WSPingInterval: 11, WSPingTimeout: 12, WSMaxSize: 13, WSPerMessageDeflate: true, QueueWait: 9, SpareThread: true, LimitBuffers: 10, HealthPaths: []string{"/up"},
		KeepAlive: 1, HeaderTimeout: 2, BodyTimeout: 3, WriteTimeout: 4, GracefulTimeout: 1<<63 - 1, DisconnectGrace: 7, WorkerConcurrency: 8, Timeout: 5, TotalTimeout: 6, Pools: []settings.Pool{{Name: "x", Pattern: "/x*", Threads: 2}}, Static: []settings.Static{{Prefix: "/static", Dir: "/srv"}},
		LimitRequestLine: 5, LimitRequestFields: 6, LimitRequestFieldSize: 7, LimitRequestBody: 1 << 40, SpoolDir: "/spool", SpoolLimit: 1 << 41, StreamUploads: []string{"/put/*"},
		ForwardedAllowIPs: []string{"127.0.0.1/32", "unix"}, ForwardedHeaders: []string{"for"}, ForwardedUntrusted: settings.ForwardedDrop,
		ProxyProtocol: "v2", ProxyAllowIPs: []string{"10.0.0.0/8"}, AccessLog: "-", AccessLogFormat: "json", AccessLogExclude: []string{"/up"}, RequestID: true, CaptureOutput: true, SlowRequest: 14, LogLevel: "debug", LogFormat: "json", Development: true, Debug: true, AppMetrics: true, MetricsPath: "/metrics", MetricsRoutes: true,
		Tracing: &settings.Tracing{Sampler: settings.SamplerParentRatio, Ratio: 0.5, Propagates: true},
	}
}

func TestWorkerConfigRoundTrip(t *testing.T) {
	full := fullConfig()
	v := reflect.ValueOf(*full)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if v.FieldByIndex(f.Index).IsZero() {
			t.Errorf("the test leaves %s out", f.Name)
		}
	}
	for _, c := range []*WorkerConfig{full, {}} {
		s, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(s, 0) {
			t.Error("a NUL cannot be in an argument of a command line")
		}
		got, err := DecodeWorkerConfig(s)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v became %+v, %v", c, got, err)
		}
	}
}

// TestWorkerConfigEncoding: the bootstrap reads these names, and times as nanoseconds.
func TestWorkerConfigEncoding(t *testing.T) {
	const want = `{"slot":3,"worker":4,"generation":2,"app":"pkg.mod:create_app(x=\"é\")","name":"shop","version":"1","argv":["hostler","shop:app"],
		"chdir":"/srv/shop","umask":"027","pythonpath":["a","b"],"preload":true,"mold":true,"canary":true,
		"warmup":["/"],"ready_path":"/up","ready_host":"x","ready_timeout":15,"paste":"production.ini#main","hooks":"hooks","conf":"/srv/gunicorn.conf.py","interface":"asgi","loop":"uvloop","lifespan":"on","hooks_only":true,"master_pid":7,"workers":4,
		"threads":8,"threads_auto":true,"spare_thread":true,"pools":[{"name":"x","pattern":"/x*",
		"threads":2}],"static":[{"prefix":"/static","dir":"/srv"}],
		"worker_connections":1000,"queue":64,"worker_concurrency":8,
		"listeners":[{"network":"tcp","host":"::1","port":"8000","tls":true,"redirect":"443"},{"network":"unix","host":"/run/shop.sock","port":""}],
		"max_requests":1050,"min_rate":8,"queue_wait":9,"health_paths":["/up"],"http2_cleartext":true,
		"timeout":5,"total_timeout":6,"slow_request":14,"disconnect_grace":7,"keep_alive":1,"header_timeout":2,"body_timeout":3,"write_timeout":4,"ws_ping_interval":11,"ws_ping_timeout":12,"ws_max_size":13,"ws_per_message_deflate":true,"graceful_timeout":9223372036854775807,
		"limit_request_line":5,"limit_request_fields":6,"limit_request_field_size":7,"limit_request_body":1099511627776,
		"spool_dir":"/spool","spool_limit":2199023255552,"stream_uploads":["/put/*"],"limit_buffers":10,
		"forwarded_allow_ips":["127.0.0.1/32","unix"],"forwarded_headers":["for"],"forwarded_untrusted":"drop",
		"proxy_protocol":"v2","proxy_allow_ips":["10.0.0.0/8"],"access_log":"-","access_format":"json","access_exclude":["/up"],"request_id":true,"log_level":"debug","log_format":"json","capture_output":true,"app_metrics":true,"metrics_path":"/metrics","metrics_routes":true,"tracing":{"sampler":"parentbased_traceidratio","ratio":0.5,"propagates":true},"development":true,"debug":true,"page":"broken","check":true,"internal_env":["GOGC"]}`
	s, err := fullConfig().Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted map[string]any
	if err := errors.Join(json.Unmarshal([]byte(s), &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, wanted) {
		t.Errorf("the settings are encoded as\n%s\nnot as\n%s", s, want)
	}
}

func TestDecodeWorkerConfigRefuses(t *testing.T) {
	for _, s := range []string{"", "{", "[]", `{"slot":"x"}`, `{"slot":1} {`} {
		if c, err := DecodeWorkerConfig(s); err == nil || c != nil || !strings.HasPrefix(err.Error(), "cannot read the worker's settings") {
			t.Errorf("%q gave %+v, %v", s, c, err)
		}
	}
}
