package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a client waits for an answer. A request may wait behind
// one that is stuck until --timeout and the worker's end.
const patience = 25 * time.Second

// failure is a request that did not get its answer.
type failure struct {
	client int
	id     uint64
	phase  string    // what failed: dial, send, head, body, answer
	alive  time.Time // when the connection was last known to be good
	at     time.Time
	err    error
}

// broken says whether it was the connection that ended, and not the answer that
// was wrong, or late.
func (f *failure) broken() bool {
	timeout, ok := f.err.(net.Error)
	return (f.phase == "send" || f.phase == "head" || f.phase == "body") && !(ok && timeout.Timeout())
}

func (f *failure) String() string {
	return fmt.Sprintf("%s client %d, request %d, %s: %v (the connection was good at %s)", f.at.Format(stamp), f.client, f.id,
		f.phase, f.err, f.alive.Format(stamp))
}

// load is clients that know what they want and check what they get.
type load struct {
	addr string
	ids  atomic.Uint64
	ok   atomic.Uint64

	mu       sync.Mutex
	failures []failure
	versions map[string]time.Time // when each version of the code last answered

	stop chan struct{}
	wg   sync.WaitGroup
}

func startLoad(addr string, clients int, seed uint64) *load {
	l := &load{addr: addr, versions: make(map[string]time.Time), stop: make(chan struct{})}
	for i := range clients {
		l.wg.Go(func() { (&client{l: l, number: i, rand: rand.New(rand.NewPCG(seed, uint64(i)+1))}).run() })
	}
	return l
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
	extra        int // bytes after the answer's first line
}

func (r *request) write(id uint64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s?id=%d&n=%g HTTP/1.1\r\nHost: chaos\r\n", r.method, r.path, id, r.n)
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
	conn   net.Conn
	r      *bufio.Reader
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
	return request{method: "POST", path: "/echo", body: body, extra: len(body)}
}

func (c *client) one(r request) {
	id := c.l.ids.Add(1)
	fail := func(phase string, err error) {
		c.l.mu.Lock()
		c.l.failures = append(c.l.failures, failure{c.number, id, phase, c.alive, time.Now(), err})
		c.l.mu.Unlock()
		c.hangUp()
	}
	if c.conn == nil {
		c.alive = time.Now()
		conn, err := net.DialTimeout("tcp", c.l.addr, patience)
		if err != nil {
			fail("dial", err)
			time.Sleep(50 * time.Millisecond) // do not drown the report
			return
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(r.write(id)); err != nil {
		fail("send", err)
		return
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		fail("head", err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fail("body", err)
		return
	}
	version, err := checkAnswer(resp.StatusCode, body, id, &r)
	if err != nil {
		fail("answer", err)
		return
	}
	c.alive = time.Now()
	c.l.ok.Add(1)
	c.l.mu.Lock()
	c.l.versions[version] = c.alive
	c.l.mu.Unlock()
	if resp.Close || c.rand.IntN(50) == 0 {
		c.hangUp()
	}
}

// checkAnswer says what is wrong with an answer, or which code gave it.
func checkAnswer(status int, body []byte, id uint64, r *request) (version string, err error) {
	if status != http.StatusOK {
		return "", fmt.Errorf("status %d, %q", status, body[:min(len(body), 80)])
	}
	first, rest, _ := bytes.Cut(body, []byte("\n"))
	f := strings.Fields(string(first))
	switch {
	case len(f) != 3 || f[0] != fmt.Sprint(id):
		return "", fmt.Errorf("somebody else's answer: %q", first)
	case len(rest) != r.extra:
		return "", fmt.Errorf("%d bytes instead of %d", len(rest), r.extra)
	case r.body != nil && !bytes.Equal(rest, r.body):
		return "", fmt.Errorf("other bytes than were sent")
	}
	return f[2], nil
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// poison sends one request that may take its process along, and does not care for
// the answer. It returns once there is one, or the connection has ended, or wait
// is over.
func (l *load) poison(path string, n float64, wait time.Duration) {
	conn, err := net.DialTimeout("tcp", l.addr, patience)
	if err != nil {
		l.mu.Lock()
		l.failures = append(l.failures, failure{client: -1, phase: "dial", alive: time.Now(), at: time.Now(), err: err})
		l.mu.Unlock()
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait))
	r := request{method: "GET", path: path, n: n}
	if _, err := conn.Write(r.write(l.ids.Add(1))); err == nil {
		_, _ = conn.Read(make([]byte, 1)) // an answer or the end, both will do
	}
}
