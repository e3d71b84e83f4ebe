package accesslog

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var moment = time.Date(2026, 11, 28, 14, 3, 5, 123456789, time.FixedZone("", 3600))

// fields are those of a request and a response, by name.
type fields struct {
	f        *Format
	request  map[string]string
	response map[string]string
}

func (f *fields) RequestField(n int) []byte { return value(f.request, f.f.RequestFields()[n]) }

func (f *fields) ResponseField(name string) []byte { return value(f.response, name) }

func value(of map[string]string, name string) []byte {
	if v, ok := of[name]; ok {
		return []byte(v)
	}
	return nil
}

func line(t *testing.T, format string, e *Entry, request, response map[string]string) string {
	t.Helper()
	f, err := Parse(format)
	if err != nil {
		t.Fatal(err)
	}
	e.At = moment
	if request != nil || response != nil {
		e.Fields = &fields{f, request, response}
	}
	return string(f.Append(nil, e, NewClock(moment)))
}

func entry() *Entry {
	return &Entry{Client: []byte("192.0.2.7"), Method: []byte("GET"), Target: []byte("/a%20b?q=1&r"), Protocol: "HTTP/1.1",
		Status: 200, Bytes: 12, Duration: 1234567 * time.Microsecond, Queue: 1500 * time.Microsecond, Worker: 3, PID: 4711}
}

func TestCombined(t *testing.T) {
	e := entry()
	const begin = `192.0.2.7 - - [28/Nov/2026:14:03:05 +0100] "GET /a%20b?q=1&r HTTP/1.1" 200 12 `
	if got, want := line(t, Combined, e, nil, nil), begin+`"-" "-"`+"\n"; got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	request := map[string]string{"referer": "http://x/", "user-agent": "curl/8"}
	if got, want := line(t, Combined, e, request, nil), begin+`"http://x/" "curl/8"`+"\n"; got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	if got, want := line(t, Timed, e, request, nil), begin+`"http://x/" "curl/8" 1234567`+"\n"; got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	e.Bytes = 0
	if got := line(t, Combined, e, nil, nil); !strings.Contains(got, `" 200 - "`) {
		t.Errorf("no bytes: %q", got)
	}
	refused := &Entry{Client: []byte("192.0.2.7"), Status: 400, Bytes: 9}
	if got, want := line(t, Combined, refused, nil, nil), `192.0.2.7 - - [28/Nov/2026:14:03:05 +0100] "-" 400 9 "-" "-"`+"\n"; got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	if got := line(t, Combined, &Entry{Method: []byte("GET"), Target: []byte("/"), Protocol: "HTTP/1.1", Cause: "signal:9"}, nil, nil); !strings.HasPrefix(got, "- - - [") || !strings.Contains(got, `" 000 - "`) {
		t.Errorf("lost: %q", got)
	}
}

// TestGunicornsAtoms has each atom of Gunicorn's documentation.
func TestGunicornsAtoms(t *testing.T) {
	request := map[string]string{"referer": "r", "user-agent": "a", "authorization": "Basic YWw6c2VjcmV0", "x-forwarded-for": "10.0.0.1"}
	response := map[string]string{"content-type": "text/plain"}
	for atom, want := range map[string]string{
		"h": "192.0.2.7", "l": "-", "u": "al", "t": "[28/Nov/2026:14:03:05 +0100]", "r": "GET /a%20b?q=1&r HTTP/1.1", "m": "GET",
		"U": "/a%20b", "q": "q=1&r", "H": "HTTP/1.1", "s": "200", "B": "12", "b": "12", "f": "r", "a": "a", "T": "1",
		"M": "1234", "D": "1234567", "L": "1.234567", "p": "<4711>",
		"{X-Forwarded-For}i": "10.0.0.1", "{nothing}i": "-", "{Content-Type}o": "text/plain", "{nothing}o": "-",
		"{HTTP_X_FORWARDED_FOR}e": "10.0.0.1", "{REMOTE_ADDR}e": "192.0.2.7", "{RAW_URI}e": "/a%20b?q=1&r",
		"queue": "0.001500", "worker": "3", "cause": "-",
	} {
		if got := line(t, "%("+atom+")s", entry(), request, response); got != want+"\n" {
			t.Errorf("%s: %q, not %q", atom, got, want)
		}
	}
	if got := line(t, "100%% %(s)s\nx", entry(), nil, nil); got != "100% 200 x\n" {
		t.Errorf("%q", got)
	}
}

func TestBadFormats(t *testing.T) {
	for _, format := range []string{"", "apache", "%h %l %u", "%(h)", "%(h)d", "%(zz)s", "%(h)s %", "%(h)s %s", "%({wsgi.input}e)s", "%({x}y)s", "%({}i)s"} {
		if _, err := Parse(format); err == nil {
			t.Errorf("%q is taken", format)
		}
	}
}

func TestUser(t *testing.T) {
	long := strings.Repeat("QUFB", 100)
	for authorization, want := range map[string]string{
		"Basic YWw6c2VjcmV0": "al", "basic  YWw6": "al", "Basic YWw=": "-", "Basic %%%": "-", "Bearer YWw6c2VjcmV0": "-", "Basic " + long: "-", "Basic": "-",
		"Basic YSBiIiI6eA==": `a\x20b\"\"`, "Basic YWw6" + long: "al",
	} {
		if got := line(t, "%(u)s", entry(), map[string]string{"authorization": authorization}, nil); got != want+"\n" {
			t.Errorf("%q: %q, not %q", authorization, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	e := entry()
	got := line(t, JSON, e, map[string]string{"user-agent": "curl", "x-request-id": "id-1",
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, nil)
	want := `{"timestamp":"2026-11-28T14:03:05.123456+01:00","client.address":"192.0.2.7","http.request.method":"GET","url.path":"/a%20b","url.query":"q=1&r",` +
		`"network.protocol.version":"1.1","http.response.status_code":200,"http.response.body.size":12,"http.server.request.duration":1.234567,` +
		`"hostler.queue.duration":0.001500,"user_agent.original":"curl","http.request.header.x-request-id":"id-1",` +
		`"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","hostler.worker":3,"process.pid":4711}` + "\n"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	e.Route = []byte("/<b>")
	if got := line(t, JSON, e, nil, nil); !strings.Contains(got, `"url.query":"q=1&r","http.route":"/<b>","network.protocol`) {
		t.Error(got)
	}
	late := entry()
	f, _ := Parse(JSON)
	late.At = moment.Add(time.Second)
	if s := string(f.Append(nil, late, NewClock(moment))); !strings.Contains(s, "T14:03:06.123456+01:00") {
		t.Error(s)
	}
}

func TestTraces(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for v, is := range map[string]bool{
		"00-" + trace + "-" + span + "-01": true, "01-" + trace + "-" + span + "-01-more": true,
		"00-" + trace + "-" + span + "-01more": false, "00-" + strings.ToUpper(trace) + "-" + span + "-01": false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": false, "00": false, "": false,
		"00-" + trace + "-" + span: false,
	} {
		if got := len(appendTrace(nil, []byte(v))) > 0; got != is {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"/plain?a=b~":               "/plain?a=b~",
		"\" 200 1\n127.0.0.1 -":     `\" 200 1\n127.0.0.1 -`,
		`\x0a`:                      `\\x0a`,
		"\x00\x1b[2J\x7f\x80\xff\r": `\x00\x1b[2J\x7f\x80\xff\r`,
		"\b\t\v":                    `\b\t\v`,
	} {
		if got := string(appendEscaped(nil, []byte(in))); got != want {
			t.Errorf("%q became %s, want %s", in, got, want)
		}
	}
}

// TestNothingIsAllocated holds for lines of all formats.
func TestNothingIsAllocated(t *testing.T) {
	for _, format := range []string{Combined, Timed, JSON, "%(u)s %(L)s %({x}i)s %({x}o)s"} {
		f, err := Parse(format)
		if err != nil {
			t.Fatal(err)
		}
		e, now := entry(), NewClock(moment)
		e.At = moment
		e.Fields = constant{}
		b := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { b = f.Append(b[:0], e, now) }); n != 0 {
			t.Errorf("%s: %v allocations", format, n)
		}
	}
}

type constant struct{}

var basic = []byte("Basic YWw6c2VjcmV0")

func (constant) RequestField(int) []byte     { return basic }
func (constant) ResponseField(string) []byte { return basic }

var apache = regexp.MustCompile(`^\S+ \S+ \S+ \[[^\]]+\] "(?:[^"\\]|\\.)*" \d{3} (?:\d+|-) "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"\n$`)

// FuzzForgery: whatever a client sends, a line is one line of the form that it should
// have, and nothing in it that moves a cursor.
func FuzzForgery(f *testing.F) {
	for _, s := range []string{"/", "/\" 200 1", "\n", "\\", "\x1b[2J", "é\u2028\x85\xff", "a b", "Basic YSBiIiI6eA=="} {
		f.Add([]byte(s), []byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, client, target, agent []byte) {
		e := entry()
		e.Client, e.Target = client, target
		request := map[string]string{"user-agent": string(agent), "referer": string(target), "authorization": string(agent), "x-request-id": string(agent), "traceparent": string(agent)}
		if got := line(t, Combined, e, request, nil); !apache.MatchString(got) || !plain(got) {
			t.Errorf("%q", got)
		}
		got := line(t, JSON, e, request, nil)
		var all map[string]any
		if err := json.Unmarshal([]byte(got), &all); err != nil || !plain(got) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: %v", got, err)
		}
		if utf8.Valid(agent) && all["user_agent.original"] != string(agent) {
			t.Errorf("%q became %q", agent, all["user_agent.original"])
		}
	})
}

// plain reports whether s, without its last byte, has no controls.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s[:len(s)-1], func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' })
}

type browser struct{ names []string }

var agent = []byte("Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0")

func (b browser) RequestField(n int) []byte {
	if b.names[n] == "user-agent" {
		return agent
	}
	return nil
}

func (browser) ResponseField(string) []byte { return nil }

func BenchmarkAppend(b *testing.B) {
	for _, format := range []string{Combined, JSON} {
		b.Run(format, func(b *testing.B) {
			f, _ := Parse(format)
			e, now := entry(), NewClock(moment)
			e.At, e.Fields = moment, browser{f.RequestFields()}
			buf := make([]byte, 0, 4096)
			for b.Loop() {
				buf = f.Append(buf[:0], e, now)
			}
		})
	}
}
