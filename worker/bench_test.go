package worker

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// server is one connection served by hand, without any goroutine but the
// caller's: what a request costs in this package, and what it allocates.
type server struct {
	r      *rig
	t      *Thread
	client int
	req    []byte
	answer []byte
	in     []byte
}

func newServer(tb testing.TB, request string) *server {
	cfg := testConfig()
	cfg.ForwardedAllowIPs, cfg.ForwardedHeaders = []string{"127.0.0.1"}, []string{"for", "proto", "host", "prefix", "forwarded"}
	r := newRig(tb, cfg, nil)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fds[0]) })
	r.addTest(fds[1])
	mem, err := offHeap(4096)
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{r: r, t: r.Thread(0), client: fds[0], req: []byte(request), in: make([]byte, 4096)}
	s.answer = mem[:copy(mem, "hello, world!")]
	s.turn(tb, s.r.Next(s.t))
	return s
}

// turn leads until there is a request, if one has been sent.
func (s *server) turn(tb testing.TB, what int) {
	if what != Lead {
		tb.Fatalf("Next said %d, not Lead", what)
	}
}

// serve is parse → respond for one request.
func (s *server) serve(tb testing.TB) {
	if n, err := sendFD(s.client, s.req, 0); n != len(s.req) {
		tb.Fatal(n, err)
	}
	t := s.t
	n, err := unix.EpollWait(int(t.Epoll), t.Events[:], 1000)
	if err != nil || n < 1 {
		tb.Fatal(n, err)
	}
	t.Polled, t.NEvents = protocol.Monotonic(), int32(n)
	what := s.r.Next(t)
	if what == Lead { // the eventfd's first event
		s.serveAgain(tb)
		what = Run
	}
	if what != Run {
		tb.Fatalf("Next said %d, not Run", what)
	}
	t.Started = t.Taken
	k := copy(t.resp, "200 OK\x0c\x00\x00\x00\x0a\x00\x00\x00Content-Typetext/plain")
	t.StatusLen, t.FieldsLen = 6, uint32(k-6)
	if e, _ := t.SetHead(); e != 0 {
		tb.Fatal(e)
	}
	t.Out, t.OutLen, t.Result = address(s.answer), int64(len(s.answer)), ResultFinal
	s.turn(tb, s.r.Next(t))
	if n, err := readFD(s.client, s.in); n < len(s.answer) || err != nil || s.in[9] != '2' {
		tb.Fatal(n, err)
	}
}

func (s *server) serveAgain(tb testing.TB) {
	t := s.t
	n, err := unix.EpollWait(int(t.Epoll), t.Events[:], 1000)
	if err != nil || n < 1 {
		tb.Fatal(n, err)
	}
	t.Polled, t.NEvents = protocol.Monotonic(), int32(n)
	if what := s.r.Next(t); what != Run {
		tb.Fatalf("Next said %d, not Run", what)
	}
}

var benchRequests = map[string]string{
	"get":  "GET /hello?a=b HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
	"post": "POST /caf%C3%A9 HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nCookie: a=b\r\n\r\nhello",
	"proxied": "GET /hello HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 6.6.6.6, 2001:db8::1, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n" +
		"X-Forwarded-Host: example.com\r\nForwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n\r\n",
}

// BenchmarkServe is a request from epoll_wait to the answer in the socket,
// without the application.
func BenchmarkServe(b *testing.B) {
	for name, req := range benchRequests {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, req)
			s.serve(b)
			b.ReportAllocs()
			for b.Loop() {
				s.serve(b)
			}
		})
	}
}

// Steady traffic allocates nothing on the Go heap.
func TestServeAllocatesNothing(t *testing.T) {
	reqs := map[string]string{"chunked": chunked("hello", 3)}
	for k, v := range benchRequests {
		reqs[k] = v
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, req := range reqs {
		s := newServer(t, req)
		s.r.accessTo(null)
		for range 10 {
			s.serve(t)
		}
		time.Sleep(time.Millisecond) // the eventfd is quiet
		if n := testing.AllocsPerRun(500, func() { s.serve(t) }); n != 0 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}
