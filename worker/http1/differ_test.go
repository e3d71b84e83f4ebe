package http1

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What we accept is held against two other parsers: net/http's, and llhttp, which
// Node uses. Each gets the bytes of one request after the other, and has to see
// the same request in them, which ends at the same byte. A parser that sits in a
// proxy before us, or behind one that copies requests, and does not agree, is how
// requests are smuggled.
//
// That one refuses what we accept does no harm of that kind; but each reason for
// it is listed below, so that a new one shows.

// llhttpRefuses lists the errors with which llhttp may refuse a request that we
// accept, and when that is so.
var llhttpRefuses = map[string]func(q *corpusRequest, raw string) bool{
	// Some of the methods that it knows it takes for RTSP's, or ICE's, only.
	"HPE_INVALID_METHOD":   otherMethod,
	"HPE_INVALID_CONSTANT": otherMethod,
	// It knows no tab behind these values, which is OWS like a blank (RFC 9110, 5.6.3).
	"HPE_INVALID_TRANSFER_ENCODING": func(q *corpusRequest, raw string) bool { return tabBehind(raw, "transfer-encoding") },
	"HPE_INVALID_CONTENT_LENGTH":    func(q *corpusRequest, raw string) bool { return tabBehind(raw, "content-length") },
	"HPE_STRICT":                    blankExtension,
	"HPE_INVALID_CHUNK_SIZE":        blankExtension,
	// With an Upgrade ahead, llhttp stops where something is wrong, or with the head
	// where it does not see the coding, and keeps the error to itself.
	"LEFT": func(q *corpusRequest, raw string) bool {
		return blankExtension(q, raw) || tabBehind(raw, "transfer-encoding") || tabBehind(raw, "content-length")
	},
}

// blankExtension: llhttp knows no blanks in chunk extensions (BWS in RFC 9112,
// 7.1.1), and no bytes beyond ASCII there (RFC 9110, 5.6.4).
func blankExtension(_ *corpusRequest, raw string) bool {
	return slices.ContainsFunc(extensions(raw), func(e string) bool {
		return strings.ContainsFunc(e, func(c rune) bool { return c == ' ' || c == '\t' || c >= 0x7f })
	})
}

// otherMethod: llhttp knows a list of methods. To us a method is any token in upper
// case (RFC 9110, 9.1), and the application reports whether it knows it.
func otherMethod(q *corpusRequest, _ string) bool {
	return !slices.Contains(KnownMethods[:], q.Method)
}

// headOf returns the lines of a request's head.
func headOf(raw string) []string {
	head, _, _ := strings.Cut(strings.TrimPrefix(raw, "\r\n"), "\r\n\r\n")
	return strings.Split(head, "\r\n")
}

func tabBehind(raw, name string) bool {
	return slices.ContainsFunc(headOf(raw), func(l string) bool {
		k, v, _ := strings.Cut(l, ":")
		return strings.EqualFold(k, name) && strings.Contains(strings.TrimLeft(v, blanks), "\t")
	})
}

// extensions returns the chunk extensions of an accepted chunked request.
func extensions(raw string) (all []string) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(raw, "\r\n"), "\r\n\r\n")
	for {
		line, more, _ := strings.Cut(rest, "\r\n")
		size := line[:len(line)-len(strings.TrimLeft(line, "0123456789abcdefABCDEF"))]
		all = append(all, line[len(size):])
		n, err := strconv.ParseUint(size, 16, 63)
		if err != nil || n == 0 || n+2 > uint64(len(more)) {
			return all
		}
		rest = more[n+2:]
	}
}

// oracle is Node with testdata/node/llhttp.js.
type oracle struct {
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Reader
	old bool // llhttp is older than 9.3, and does not get all chunk extensions right
}

// nodeAnswer is what llhttp made of the bytes of one request.
type nodeAnswer struct {
	Early int // messages that were complete before the last byte
	Error string
	Seen  []struct {
		Method, Target string
		Version        [2]int
		Fields         []string
		Body           []byte
		Upgrade        bool
		KeepAlive      bool
	}
}

func startOracle(t testing.TB) *oracle {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is missing, which has the parser to compare with: run make tools")
	}
	cmd := exec.Command(node, "--expose-internals", "testdata/node/llhttp.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	o := &oracle{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	hello, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("node says nothing: %v", err)
	}
	t.Logf("compared with %s", strings.TrimSpace(hello))
	var version struct{ Llhttp string }
	var major, minor int
	if err := json.Unmarshal([]byte(hello), &version); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(version.Llhttp, "%d.%d.", &major, &minor); err != nil {
		t.Fatalf("%s: %v", hello, err)
	}
	o.old = major < 9 || major == 9 && minor < 3
	return o
}

// ask returns what llhttp makes of requests that come one after the other.
func (o *oracle) ask(requests [][]byte) (answers []nodeAnswer) {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(requests)))
	for _, r := range requests {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r)))
	}
	if _, err := o.in.Write(append(b, bytes.Join(requests, nil)...)); err != nil {
		o.t.Fatalf("node is gone: %v", err)
	}
	line, err := o.out.ReadBytes('\n')
	if err != nil {
		o.t.Fatalf("node is gone: %v", err)
	}
	if err := json.Unmarshal(line, &answers); err != nil {
		o.t.Fatalf("%q: %v", line, err)
	}
	return answers
}

// visible are the fields that both parsers can be asked about: those that hold an
// underscore we drop.
func visible(fields [][2]string) [][2]string {
	var out [][2]string
	for _, f := range fields {
		if !strings.Contains(f[0], "_") {
			out = append(out, [2]string{strings.ToUpper(f[0]), f[1]})
		}
	}
	return out
}

// received leaves out the Host of a request with an absolute target, which its
// authority takes the place of with us; of the others that is the caller's to do.
func received(q *corpusRequest, fields [][2]string) [][2]string {
	if q.Flags&FlagAbsolute == 0 {
		return fields
	}
	return slices.DeleteFunc(fields, func(f [2]string) bool { return f[0] == "HOST" || f[0] == "" })
}

// host returns the value of the Host, if there is one.
func (q *corpusRequest) host() string {
	for _, f := range q.Fields {
		if f[0] == "HOST" || f[0] == "" {
			return f[1]
		}
	}
	return ""
}

// compare holds what we make of an input against the others. It returns the number
// of requests that we accepted, and of those that llhttp and net/http accepted, too.
func compare(o *oracle, data []byte) (ours, node, goes int, err error) {
	all, _ := serve(&pieces{data: data, next: func(b []byte) int { return len(b) }}, DefaultLimits())
	if len(all) == 0 {
		return 0, 0, 0, nil
	}
	var requests [][]byte
	from := 0
	for _, q := range all {
		requests = append(requests, data[from:q.End])
		from = q.End
	}
	for i, a := range o.ask(requests) {
		if err := compareNode(&all[i], string(requests[i]), &a, o.old); err != nil {
			return 0, 0, 0, fmt.Errorf("llhttp: %w: request %d of %q", err, i, data)
		}
		if a.Error == "" {
			node++
		}
	}
	for i, raw := range requests {
		accepted, err := compareGo(&all[i], raw)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("net/http: %w: request %d of %q", err, i, data)
		}
		if accepted {
			goes++
		}
	}
	return len(all), node, goes, nil
}

func compareNode(q *corpusRequest, raw string, a *nodeAnswer, old bool) error {
	if q.Flags&FlagAuthority != 0 && (a.Error == "" || a.Error == "LEFT") {
		// What follows the head of a CONNECT is no body to llhttp. We answer 405
		// and close.
		if len(a.Seen) != 1 || a.Seen[0].Method != "CONNECT" || a.Seen[0].Target != q.Target {
			return fmt.Errorf("%+v", a)
		}
		return nil
	}
	if a.Error != "" {
		allowed := llhttpRefuses[a.Error]
		if (allowed == nil || !allowed(q, raw)) && !(old && strings.Join(extensions(raw), "") != "") {
			return fmt.Errorf("%s", a.Error)
		}
		if len(a.Seen) > 0 && a.Error != "LEFT" {
			return fmt.Errorf("a whole request, and then %s", a.Error)
		}
		return nil
	}
	if a.Early != 0 || len(a.Seen) != 1 {
		return fmt.Errorf("it ends elsewhere: %+v", a)
	}
	s := &a.Seen[0]
	var fields [][2]string
	for i := 0; i+1 < len(s.Fields); i += 2 {
		fields = append(fields, [2]string{s.Fields[i], s.Fields[i+1]})
	}
	switch {
	case s.Method != q.Method || s.Target != q.Target || s.Version != q.Version:
		return fmt.Errorf("%s %s %v", s.Method, s.Target, s.Version)
	case !slices.Equal(received(q, visible(fields)), received(q, visible(q.Fields))):
		return fmt.Errorf("fields %q, ours %q", visible(fields), q.Fields)
	case !bytes.Equal(s.Body, q.Body):
		return fmt.Errorf("body %q, ours %q", s.Body, q.Body)
	case s.KeepAlive != (q.Flags&FlagKeepAlive != 0) && !tabBehind(raw, "connection") && !undecided(q) && !q.has("PROXY-CONNECTION"):
		// (It takes Proxy-Connection, which never was a standard, for Connection.)
		return fmt.Errorf("keep-alive %v", s.KeepAlive)
	}
	return nil
}

func (q *corpusRequest) has(name string) bool {
	return slices.ContainsFunc(q.Fields, func(f [2]string) bool { return f[0] == name })
}

// undecided says that a request of HTTP/1.0 asks for both ends. The others keep the
// connection, we close it.
func undecided(q *corpusRequest) bool {
	return q.Version[1] == 0 && q.Flags&FlagKeepAlive == 0
}

// goRefuses lists the errors with which net/http may refuse what we accept.
var goRefuses = []string{
	"invalid URL escape", // it decodes the path; we leave it to who reads it
	"invalid character",  // … in a host that is a name in RFC 3986 all the same
	"bad trailer key",    // which the field Trailer announces; what comes counts for us
}

func compareGo(q *corpusRequest, raw []byte) (bool, error) {
	raw = bytes.TrimPrefix(raw, []byte("\r\n")) // which RFC 9112, 2.2 wants to be passed over
	const rest = "rest"
	br := bufio.NewReader(io.MultiReader(bytes.NewReader(raw), strings.NewReader(rest)))
	p, err := http.ReadRequest(br)
	refused := func(err error) (bool, error) {
		for _, s := range goRefuses {
			if strings.Contains(err.Error(), s) {
				return false, nil
			}
		}
		if strings.Contains(err.Error(), "invalid byte in chunk length") && blankExtension(q, string(raw)) {
			return false, nil // it takes no blank behind the size
		}
		return false, err
	}
	if err != nil {
		return refused(err)
	}
	body, err := io.ReadAll(p.Body)
	if err != nil {
		return refused(err)
	}
	left, _ := io.ReadAll(br)
	var fields [][2]string
	for _, f := range received(q, visible(q.Fields)) {
		switch f[0] {
		case "HOST", "TRANSFER-ENCODING", "TRAILER": // it takes these out
			continue
		}
		fields = append(fields, f)
	}
	got := map[string][]string{}
	for k, v := range p.Header {
		if !strings.Contains(k, "_") && k != "Trailer" {
			for _, s := range v {
				got[strings.ToUpper(k)] = append(got[strings.ToUpper(k)], latin1([]byte(s)))
			}
		}
	}
	want := map[string][]string{}
	for _, f := range fields {
		want[f[0]] = append(want[f[0]], f[1])
	}
	if v := got["CACHE-CONTROL"]; want["CACHE-CONTROL"] == nil && len(v) == 1 && v[0] == "no-cache" && want["PRAGMA"] != nil {
		delete(got, "CACHE-CONTROL") // it makes this up
	}
	same := len(got) == len(want)
	for k, v := range want {
		same = same && slices.Equal(got[k], v)
	}
	switch {
	case string(left) != rest:
		return false, fmt.Errorf("behind the request it has %q", left)
	case p.Method != q.Method || p.RequestURI != q.Target || p.ProtoMajor != 1 || p.ProtoMinor != q.Version[1]:
		return false, fmt.Errorf("%s %s %s", p.Method, p.RequestURI, p.Proto)
	case q.Flags&FlagAuthority == 0 && p.Host != q.host():
		return false, fmt.Errorf("host %q, ours %q", p.Host, q.host())
	case !same:
		return false, fmt.Errorf("fields %q, ours %q", got, want)
	case !bytes.Equal(body, q.Body):
		return false, fmt.Errorf("body %q, ours %q", body, q.Body)
	case p.Close != (q.Flags&FlagKeepAlive == 0) && !undecided(q):
		return false, fmt.Errorf("close %v", p.Close)
	}
	return true, nil
}

// differSeeds are the inputs of all the other tests.
func differSeeds(t testing.TB) (seeds [][]byte) {
	for _, c := range corpus(t) {
		seeds = append(seeds, c.Bytes)
	}
	for _, c := range llhttpCases(t) {
		seeds = append(seeds, c.Data)
	}
	for _, c := range headCases {
		seeds = append(seeds, []byte(c.head))
	}
	for _, c := range chunkCases {
		seeds = append(seeds, []byte(chunkedBody(c.body)))
	}
	for _, h := range hosts {
		seeds = append(seeds, []byte("GET / HTTP/1.1\r\nHost: "+h.host+"\r\n\r\n"))
	}
	for _, h := range peersHoles {
		for data := range h.cases {
			seeds = append(seeds, []byte(data))
		}
	}
	return slices.DeleteFunc(seeds, func(b []byte) bool { return len(b) > 20_000 })
}

// TestDiffer compares the seeds, and generated requests that are the same in each
// run.
func TestDiffer(t *testing.T) {
	o := startOracle(t)
	const generated = 3000
	inputs := differSeeds(t)
	for seed := range uint64(generated) {
		inputs = append(inputs, generate(seed))
	}
	ours, node, goes := 0, 0, 0
	for _, data := range inputs {
		a, b, c, err := compare(o, data)
		if err != nil {
			t.Error(err)
		}
		ours, node, goes = ours+a, node+b, goes+c
	}
	t.Logf("%d inputs, %d requests accepted, %d by llhttp, %d by net/http", len(inputs), ours, node, goes)
	if ours < generated || node < ours*2/3 || goes < ours*3/4 {
		t.Error("hardly anything is compared")
	}
}

// FuzzDiffer does so with inputs as they come. seed, if not 0, is one more for the
// generator, whose requests go before.
func FuzzDiffer(f *testing.F) {
	for _, s := range differSeeds(f) {
		f.Add(s, uint64(0))
	}
	for seed := range uint64(200) {
		f.Add([]byte(nil), seed)
		f.Add(generate(seed), uint64(0))
	}
	o := startOracle(f)
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		o.t = t
		if seed != 0 {
			data = append(generate(seed), data...)
		}
		if _, _, _, err := compare(o, data); err != nil {
			t.Fatal(err)
		}
	})
}
