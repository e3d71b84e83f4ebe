package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a client waits for an answer. A request may wait behind
// one that is stuck until --timeout and the worker's end.
const patience = 25 * time.Second

// errBadGateway is how nginx says that the connection behind it has ended.
var errBadGateway = errors.New("502 from nginx")

// failure is a request that did not get its answer.
type failure struct {
	client int
	what   string // a request's path
	id     uint64
	phase  string    // what failed: dial, send, head, body, answer
	alive  time.Time // when the connection was last known to be good
	at     time.Time
	err    error
}

// broken reports whether it was the connection that ended, and not the answer that
// was wrong, or late.
func (f *failure) broken() bool {
	var timeout net.Error
	return (f.phase == "send" || f.phase == "head" || f.phase == "body") && !(errors.As(f.err, &timeout) && timeout.Timeout())
}

func (f *failure) String() string {
	return fmt.Sprintf("%s client %d, request %d, %s, %s: %v (the connection was good at %s)", f.at.Format(stamp), f.client, f.id,
		f.what, f.phase, f.err, f.alive.Format(stamp))
}

// load is clients that know what they want and check what they get.
type load struct {
	addr  string
	shape *shape
	ids   atomic.Uint64
	ok    atomic.Uint64

	mu       sync.Mutex
	failures []failure

	stop chan struct{}
	wg   sync.WaitGroup
}

func startLoad(addr string, s *shape, clients int, seed uint64) *load {
	l := &load{addr: addr, shape: s, stop: make(chan struct{})}
	for i := range clients {
		c := &client{l: l, number: i, slow: i >= clients-2, rand: rand.New(rand.NewPCG(seed, uint64(i)+1))}
		if s.tls && i%2 == 1 {
			c.useHTTP2()
		}
		l.wg.Go(c.run)
	}
	for i := range talkers {
		if s.asgi {
			t := &talker{l: l, number: clients + i, h2: i%2 == 1, rand: rand.New(rand.NewPCG(seed, uint64(clients+i)+1))}
			l.wg.Go(t.run)
		}
	}
	return l
}

// dial connects to the server, with TLS if it has that.
func (l *load) dial(protocol string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", l.addr, patience)
	if err != nil || !l.shape.tls {
		return conn, err
	}
	return tls.Client(conn, l.shape.encryption(protocol)), nil
}

// fail notes down what was not answered.
func (l *load) fail(f failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, f)
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// request is what a client asks for.
type request struct {
	method, path string
	n            float64
	body         []byte
	chunked      bool   // so the body goes, over HTTP/1.1
	extra        int    // bytes after the answer's first line
	whole        []byte // of a file: the answer
	events       bool   // until it is said that there are no more, or the client has heard enough
	over         bool   // and that was before
}

func (r *request) write(id uint64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s?id=%d&n=%g HTTP/1.1\r\nHost: chaos\r\n", r.method, r.path, id, r.n)
	if r.chunked {
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for part := range slices.Chunk(r.body, 9000) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
		b.WriteString("0\r\n\r\n")
		return b.Bytes()
	}
	if r.body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

// client keeps one connection and sends one request after another.
type client struct {
	l      *load
	number int
	rand   *rand.Rand
	slow   bool            // it takes what is large a little at a time
	h2     *http.Transport // nil: HTTP/1.1 over conn
	conn   net.Conn
	r      *bufio.Reader
	ends   bool // after this answer
	alive  time.Time
}

func (c *client) run() {
	defer c.hangUp()
	for {
		select {
		case <-c.l.stop:
			return
		case <-time.After(time.Duration(1+c.rand.IntN(30)) * time.Millisecond):
		}
		c.one(c.choose())
	}
}

func (c *client) choose() request {
	if c.l.shape.files && c.rand.IntN(5) == 0 {
		n := c.rand.IntN(fileCount)
		return request{method: "GET", path: "/files/" + strconv.Itoa(n), whole: fileContent(n)}
	}
	if c.l.shape.asgi && c.rand.IntN(6) == 0 {
		if n := c.rand.IntN(300 << 10); c.rand.IntN(3) > 0 {
			return request{method: "GET", path: "/stream", n: float64(n), extra: n}
		}
		return request{method: "GET", path: "/events", events: true}
	}
	switch k := c.rand.IntN(20); {
	case k < 12:
		return request{method: "GET", path: "/quick"}
	case k < 15:
		return request{method: "GET", path: "/sleep", n: float64(c.rand.IntN(40)) / 1000}
	case k < 16:
		return request{method: "GET", path: "/burn", n: float64(c.rand.IntN(10)) / 1000}
	case k < 18:
		n := c.rand.IntN(300 << 10)
		return request{method: "GET", path: "/big", n: float64(n), extra: n}
	}
	body := bytes.Repeat([]byte{'a' + byte(c.rand.IntN(26))}, 1+c.rand.IntN(100<<10))
	return request{method: "POST", path: "/echo", body: body, extra: len(body), chunked: c.rand.IntN(2) == 0}
}

// readEvents reads lines until there are no more, or the client has had enough.
func (c *client) readEvents(from io.Reader, r *request) (all []byte, err error) {
	lines := bufio.NewReader(from)
	for range 2 + c.rand.IntN(60) {
		line, err := lines.ReadBytes('\n')
		all = append(all, line...)
		if r.over = err == io.EOF; r.over {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		c.alive = time.Now()
	}
	return all, nil
}

// slowPace is how long a slow client takes for a kilobyte: less than two seconds for
// the largest answers, and a worker that leaves has longer.
const slowPace = 6 * time.Millisecond

// readAll reads a body at the client's pace.
func (c *client) readAll(r io.Reader, q *request) ([]byte, error) {
	if q.events {
		return c.readEvents(r, q)
	}
	if !c.slow {
		return io.ReadAll(r)
	}
	var all []byte
	piece := make([]byte, 16<<10)
	for {
		n, err := r.Read(piece)
		all = append(all, piece[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		time.Sleep(time.Duration(n) * slowPace >> 10)
	}
}

func (c *client) one(r request) {
	id := c.l.ids.Add(1)
	fail := func(phase string, err error) {
		c.l.fail(failure{c.number, r.path, id, phase, c.alive, time.Now(), err})
		c.hangUp()
	}
	if c.h2 == nil && c.conn == nil {
		c.alive = time.Now()
		conn, err := c.l.dial("http/1.1")
		if err != nil {
			fail("dial", err)
			time.Sleep(50 * time.Millisecond) // do not drown the report
			return
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	exchange := c.exchange
	if c.h2 != nil {
		exchange = c.exchangeHTTP2
	}
	if c.alive.IsZero() {
		c.alive = time.Now()
	}
	begin := time.Now()
	status, body, phase, err := exchange(&r, id)
	if err != nil {
		fail(phase, err)
		return
	}
	if err := checkAnswer(status, body, id, &r); err != nil {
		fail("answer", err)
		return
	}
	if c.alive = time.Now(); c.slow {
		c.alive = begin // the rest may have been in the sockets, and its process gone
	}
	c.l.ok.Add(1)
	// A worker that leaves cannot give a connection of TLS to another. To it this one
	// has been at rest since long before the client had taken everything.
	slowTLS := c.slow && c.l.shape.tls && c.h2 == nil
	if c.ends || slowTLS || c.rand.IntN(50) == 0 {
		c.hangUp()
	}
}

// exchange sends a request over HTTP/1.1 and returns the answer. If there is none,
// phase says what failed.
func (c *client) exchange(r *request, id uint64) (status int, body []byte, phase string, err error) {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(r.write(id)); err != nil {
		return 0, nil, "send", err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, nil, "head", err
	}
	if body, err = c.readAll(resp.Body, r); err != nil {
		return 0, nil, "body", err
	}
	c.ends = resp.Close || r.events && !r.over // there is more
	if c.l.shape.front && resp.StatusCode == http.StatusBadGateway {
		return 0, nil, "head", errBadGateway
	}
	return resp.StatusCode, body, "", nil
}

// checkAnswer says what is wrong with an answer.
func checkAnswer(status int, body []byte, id uint64, r *request) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d, %q", status, body[:min(len(body), 80)])
	}
	if r.whole != nil {
		if !bytes.Equal(body, r.whole) {
			return fmt.Errorf("%d bytes, not the file's %d, or others", len(body), len(r.whole))
		}
		return nil
	}
	first, rest, _ := bytes.Cut(body, []byte("\n"))
	f := strings.Fields(string(first))
	switch {
	case len(f) != 3 || f[0] != fmt.Sprint(id):
		return fmt.Errorf("somebody else's answer: %q", first)
	case r.events:
		return checkEvents(rest, r.over)
	case len(rest) != r.extra:
		return fmt.Errorf("%d bytes instead of %d", len(rest), r.extra)
	case r.body != nil && !bytes.Equal(rest, r.body):
		return fmt.Errorf("other bytes than were sent")
	}
	return nil
}

// checkEvents looks at lines, after which, if it is over, it has to be said that there are no
// more: who is told that its worker leaves can say that, and its client get it.
func checkEvents(rest []byte, over bool) error {
	events, said := strings.CutSuffix(string(rest), "end\n")
	if over && !said || strings.ReplaceAll(events, "event\n", "") != "" {
		return fmt.Errorf("not events and, if it is over (%v), an end: %q", over, rest[max(0, len(rest)-80):])
	}
	return nil
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	if c.h2 != nil {
		c.h2.CloseIdleConnections()
	}
}

// poison sends one request that may take its process along, and does not care for
// the answer. It returns once there is one, or the connection has ended, or wait
// is over.
func (l *load) poison(path string, n float64, wait time.Duration) {
	conn, err := l.dial("http/1.1")
	if err != nil {
		l.fail(failure{client: -1, what: path, phase: "dial", alive: time.Now(), at: time.Now(), err: err})
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait))
	r := request{method: "GET", path: path, n: n}
	if _, err := conn.Write(r.write(l.ids.Add(1))); err == nil {
		_, _ = conn.Read(make([]byte, 1)) // an answer or the end, both will do
	}
}
