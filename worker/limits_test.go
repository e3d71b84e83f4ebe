package worker

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"hostler/worker/http1"
)

// TestWithoutLimits sends heads that are larger than a thread's buffer where the
// settings have no limits, whole and in pieces, with what may come behind them.
func TestWithoutLimits(t *testing.T) {
	cfg := testConfig()
	cfg.LimitRequestLine, cfg.LimitRequestFields, cfg.LimitRequestFieldSize = 0, 0, 0
	r := serve(t, cfg, func(c *call) {
		sum := 0
		for _, f := range c.t.Req.Fields[:c.t.Req.NFields] {
			sum += int(f.Value.Len)
		}
		c.head("200 OK")
		c.write(fmt.Appendf(nil, "%d fields of %d, path of %d, body of %d", c.t.Req.NFields, sum, c.t.PathLen, len(c.body)), true)
	})
	long := strings.Repeat("x", 900_000)
	for _, k := range []struct{ name, request, want string }{
		{"200 fields", get[:len(get)-2] + strings.Repeat("A: b\r\n", 200) + "\r\n", "201 fields of 201, path of 2, body of 0"},
		{"most fields", get[:len(get)-2] + strings.Repeat("A: b\r\n", http1.MaxFields-1) + "\r\n", "32768 fields of 32768, path of 2, body of 0"},
		{"a long field", get[:len(get)-2] + "A: " + long + "\r\n\r\n", "2 fields of 900001, path of 2, body of 0"},
		{"a long path", "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", "1 fields of 1, path of 900001, body of 0"},
		{"a long path of escapes", "GET /" + strings.Repeat("%20", 200_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "1 fields of 1, path of 200001, body of 0"},
		{"a body behind", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 800000\r\nA: " + long + "\r\n\r\n" + long[:800_000], "3 fields of 900007, path of 1, body of 800000"},
		{"a large body behind", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\nA: " + long + "\r\n\r\n" + strings.Repeat("y", 1<<20), "3 fields of 900008, path of 1, body of 1048576"},
		{"chunks behind", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nA: " + long + "\r\n\r\nc3500\r\n" + long[:800_000] + "\r\n0\r\n\r\n", "*"},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := r.dial()
			rd := responses(t, c)
			for _, step := range []int{len(k.request), 65_536, 33_000} {
				for b := k.request; b != ""; b = b[min(len(b), step):] {
					send(t, c, b[:min(len(b), step)])
				}
				p := rd.want(200, k.want)
				if k.want == "*" && !strings.HasSuffix(p.body, "body of 800000") {
					t.Error(p.body)
				}
			}
			// Pipelined, so that one begins anywhere in what is read beyond another.
			go func() { _, _ = io.WriteString(c, k.request+strings.Repeat(get, 3000)+k.request+get) }()
			rd.want(200, k.want)
			for range 3000 {
				rd.want(200, "1 fields of 1, path of 2, body of 0")
			}
			rd.want(200, k.want)
			rd.want(200, "1 fields of 1, path of 2, body of 0")
		})
	}
	for name, k := range map[string]struct {
		request string
		status  int
	}{
		"a field too many": {get[:len(get)-2] + strings.Repeat("A: b\r\n", http1.MaxFields) + "\r\n", 431},
		"a head too large": {get[:len(get)-2] + "A: " + long + long + "\r\n\r\n", 431},
		"a line too long":  {"GET /" + long + long, 431},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.dial()
			go func() { _, _ = c.Write([]byte(k.request)) }()
			responses(t, c).want(k.status, "*")
		})
	}
}

// TestRoomBehindHead: wherever the end of a head lies in its buffer, there is room to read
// a body in chunks that is larger than what is held of it.
func TestRoomBehindHead(t *testing.T) {
	for name, d := range map[string]*fakeDisk{"no spool": nil, "full disk": {free: 1}} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.LimitRequestFieldSize, cfg.LimitRequestLine = 0, 0
			r := newRig(t, cfg, func(c *call) {
				b, rc := c.all()
				c.ok(fmt.Sprintf("%d %v %v", len(b), rc, string(b) == bodyOf(len(b))))
			})
			if d != nil {
				r.spools.limit, r.spools.disk = 1<<30, d
			}
			r.start()
			for _, class := range inputClasses[:len(inputClasses)-1] {
				for _, near := range []int{-1, 0, 1} {
					request := inChunks("/", bodyOf(bodyBuffer+100_000))
					end := strings.Index(request, "\r\n\r\n") + 2
					size := (class + near) % bodyBuffer // of the head: it may be with the body in a buffer
					pad := size - end - len("A: \r\n\r\n")
					request = request[:end] + "A: " + strings.Repeat("x", pad) + request[end-2:]
					c := r.dialTCP()
					post(c, request)
					responses(t, c).want(200, fmt.Sprintf("%d 0 true", bodyBuffer+100_000))
				}
			}
		})
	}
}

// With limits as they are by default a head is no larger than a buffer; with any that
// is higher it may be.
func TestHeadLimit(t *testing.T) {
	for _, k := range []struct{ line, fields, field, head int }{
		{8192, 100, 8192, inBufferSize - 1},
		{128, 1, 128, inBufferSize - 1},
		{8193, 100, 8192, maxHead},
		{8192, 101, 8192, maxHead},
		{8192, 100, 8193, maxHead},
		{0, 100, 8192, maxHead},
		{8192, 0, 8192, maxHead},
		{8192, 100, 0, maxHead},
	} {
		cfg := testConfig()
		cfg.LimitRequestLine, cfg.LimitRequestFields, cfg.LimitRequestFieldSize = k.line, k.fields, k.field
		if m := headLimits(cfg); m.Head != k.head || m.Line == 0 || m.Field == 0 || m.Fields == 0 {
			t.Errorf("%+v: %+v", k, m)
		}
	}
}
