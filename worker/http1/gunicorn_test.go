package http1

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// testdata/gunicorn is other people's idea of what is right and wrong; see
// convert.py there for how it came here.
type corpusCase struct {
	Name, Data string
	Bytes      []byte         `json:"-"`
	Knobs      map[string]any // Gunicorn's settings
	Requests   []corpusRequest
}

type corpusRequest struct {
	Method, Target string
	Version        [2]int
	Fields         [][2]string
	Body           []byte
	Flags          uint32 `json:"-"`
	End            int    `json:"-"` // where it ends in the input
}

// differs lists the cases that are not decided as Gunicorn does, and why.
var differs = map[string]string{
	"valid/005":                             "a fragment is no part of a request target (RFC 9112, 3.2)",
	"valid/025":                             "Transfer-Encoding: identity was taken out in RFC 7230; twice over, it is how smuggling begins",
	"valid/025_line":                        "as 025",
	"valid/028":                             "a space before the colon is 400 (RFC 9112, 5.1); there is no strip_header_spaces",
	"valid/029":                             "as 025",
	"valid/030":                             "as 025",
	"valid/031compat":                       "a method is a token as it stands (RFC 9110, 9.1); there is no casefold_http_method",
	"valid/031compat2":                      "there is no permit_unconventional_http_method",
	"valid/099":                             "the body is shorter than its Content-Length: incomplete (RFC 9112, 8)",
	"valid/compat_obs_fold":                 "obs-fold is 400 (RFC 9112, 5.2); there is no permit_obsolete_folding",
	"valid/compat_obs_fold_huge":            "as compat_obs_fold",
	"valid/rfc9112_smuggle_gzip_chunked_01": "a coding that we do not know is 501 (RFC 9112, 6.1)",
	"valid/rfc9112_smuggle_te_identity_chunked_01": "as 025",
	"valid/rfc9112_target_absolute_userinfo_01":    "user information in a target is an error (RFC 9110, 4.2.4)",
	"invalid/040":        "a name with an underscore is dropped, not refused: header_map is always \"drop\"",
	"invalid/chunked_07": "as 040",
}

// elsewhere lists the cases about what is decided above the parser.
var elsewhere = map[string]string{
	"pp_":         "the PROXY protocol comes before the first request: worker/origin",
	"invalid/019": "which forwarded fields count is worker/origin's business",
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	text, err := os.ReadFile("testdata/gunicorn/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name     string
		Data     []byte
		Knobs    map[string]any
		Requests []corpusRequest
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	var cases []corpusCase
	for _, c := range all {
		cases = append(cases, corpusCase{Name: c.Name, Bytes: c.Data, Knobs: c.Knobs, Requests: c.Requests})
	}
	if len(cases) != 143 {
		t.Fatalf("%d cases", len(cases))
	}
	return cases
}

// pieces is a connection that gives its bytes piece by piece.
type pieces struct {
	data []byte
	next func(rest []byte) int
}

func (p *pieces) read() []byte {
	n := min(max(p.next(p.data), 1), len(p.data))
	b := p.data[:n]
	p.data = p.data[n:]
	return b
}

// serve reads requests as the engine does, to the end of the input.
func serve(p *pieces, lim Limits) (all []corpusRequest, reason Reason) {
	var buf []byte
	size := len(p.data)
	for len(buf) > 0 || len(p.data) > 0 {
		r := roomy()
		scanned := 0
		for {
			whole, reason := Parse(buf, scanned, &lim, &r)
			if reason != ReasonNone {
				return all, reason
			}
			if whole {
				break
			}
			scanned = len(buf)
			if len(p.data) == 0 {
				if len(all) > 0 && string(buf) == "\r\n" {
					return all, ReasonNone // an empty line too many, and no request
				}
				return all, ReasonTruncatedHead
			}
			buf = append(buf, p.read()...)
		}
		q := corpusRequest{Method: string(r.Method.In(buf)), Target: string(r.Target.In(buf)), Version: [2]int{1, int(r.Minor)}, Flags: r.Flags}
		for _, f := range r.Fields[:r.NFields] {
			q.Fields = append(q.Fields, [2]string{strings.ToUpper(string(f.Name.In(buf))), latin1(f.Value.In(buf))})
		}
		buf = buf[r.HeadLen:]
		if r.Flags&FlagChunked != 0 {
			var dec Chunked
			dst := make([]byte, 1<<16)
			for done := false; !done; {
				n, m, end, reason := dec.Decode(dst, buf)
				if reason != ReasonNone {
					return all, reason
				}
				q.Body = append(q.Body, dst[:n]...)
				buf, done = buf[m:], end
				if !done && m == 0 {
					if len(p.data) == 0 {
						return all, ReasonTruncatedBody
					}
					buf = append(bytes.Clone(buf), p.read()...)
				}
			}
		} else {
			for int64(len(buf)) < r.ContentLength {
				if len(p.data) == 0 {
					return all, ReasonTruncatedBody
				}
				buf = append(bytes.Clone(buf), p.read()...)
			}
			n := max(r.ContentLength, 0)
			q.Body, buf = buf[:n:n], buf[n:]
		}
		q.End = size - len(p.data) - len(buf)
		all = append(all, q)
		if r.Flags&FlagKeepAlive == 0 {
			return all, ReasonNone // the engine closes
		}
	}
	return all, ReasonNone
}

// latin1 is how Python shows bytes of a field.
func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

func (c *corpusCase) limits(t *testing.T) Limits {
	lim := Limits{Line: 4094, Field: 8190 - 2, Fields: 100, Head: 1 << 20} // Gunicorn's; it counts the CRLF of a field
	for name, v := range c.Knobs {
		n, _ := v.(float64)
		switch name {
		case "limit_request_line":
			lim.Line = int(n)
		case "limit_request_fields":
			lim.Fields = int(n)
		case "limit_request_field_size":
			if n > 0 {
				lim.Field = int(n) - 2
			}
		case "permit_obsolete_folding", "strip_header_spaces", "permit_unconventional_http_method", "casefold_http_method",
			"header_map", "forwarded_allow_ips", "proxy_protocol": // we have none of these: differs and elsewhere say what that means
		default:
			t.Errorf("%s: a knob that is new: %s", c.Name, name)
		}
	}
	return lim
}

// ways are how an input is cut into pieces.
func ways() map[string]func([]byte) int {
	rnd := rand.New(rand.NewPCG(7, 7))
	return map[string]func([]byte) int{
		"whole":    func(b []byte) int { return len(b) },
		"by line":  func(b []byte) int { return bytes.IndexByte(b, '\n') + 1 },
		"by byte":  func([]byte) int { return 1 },
		"random 1": func(b []byte) int { return rnd.IntN(len(b)) },
		"random 2": func([]byte) int { return rnd.IntN(9) },
	}
}

func TestGunicornCorpus(t *testing.T) {
	rejected, accepted := 0, 0
	for _, c := range corpus(t) {
		skip := ""
		for part, why := range elsewhere {
			if strings.Contains(c.Name, part) {
				skip = why
			}
		}
		if skip != "" {
			continue
		}
		valid := strings.HasPrefix(c.Name, "valid/")
		for way, next := range ways() {
			got, reason := serve(&pieces{data: c.Bytes, next: next}, c.limits(t))
			ok := reason == ReasonNone && (!valid || sameRequests(got, c.Requests))
			want := valid && differs[c.Name] == "" || !valid && differs[c.Name] != ""
			switch {
			case ok != want:
				t.Errorf("%s, %s: %v, %v", c.Name, way, reason, got)
			case !ok && reason.Status() < 400:
				t.Errorf("%s, %s: rejected with %d", c.Name, way, reason.Status())
			}
		}
		if valid {
			accepted++
		} else {
			rejected++
		}
	}
	t.Logf("%d valid cases, %d invalid ones, %d differ", accepted, rejected, len(differs))
}

// sameRequests compares what both have. Gunicorn leaves out fields with an
// underscore or not as its settings say, and adds those of a trailer.
func sameRequests(got, want []corpusRequest) bool {
	if len(got) != len(want) {
		return false
	}
	for i, g := range got {
		w := want[i]
		if g.Method != w.Method || g.Target != w.Target || g.Version != w.Version || !bytes.Equal(g.Body, w.Body) {
			return false
		}
		have := map[[2]string]int{}
		for _, f := range g.Fields {
			have[f]++
		}
		for _, f := range w.Fields {
			if have[f]--; have[f] < 0 && !strings.Contains(f[0], "_") {
				return false
			}
		}
	}
	return true
}
