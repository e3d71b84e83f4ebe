package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Load is what is asked of a server.
type Load struct {
	Addr, Path, Slow    string
	Connections, Reopen int
	Idle                int
	Share, Rate         float64
	For, Think, Timeout time.Duration
	Hold                time.Duration
	TLS, WebSocket      bool
}

// A Result is what came of a load. Times are milliseconds.
type Result struct {
	Sent       int            `json:"sent"`
	OK         int            `json:"ok"`      // 200, the slow ones included
	InTime     int            `json:"in_time"` // of these, before the load's end
	Slow       int            `json:"slow"`
	Seconds    float64        `json:"seconds"`
	P50        float64        `json:"p50"`
	P90        float64        `json:"p90"`
	P99        float64        `json:"p99"`
	P999       float64        `json:"p999"`
	Max        float64        `json:"max"`
	Statuses   map[string]int `json:"statuses"` // other than 200
	Failures   map[string]int `json:"failures"`
	Closed     int            `json:"closed"` // connections closed by the server, announced or not
	Idle       int            `json:"idle"`
	IdleClosed int            `json:"idle_closed"`
	times      []time.Duration
}

// client is one connection and what it met with; owned by one goroutine.
type client struct {
	load *Load
	rand *rand.Rand
	conn net.Conn
	in   *bufio.Reader
	used int
	Result
}

func newClient(l *Load, seed int64) *client {
	return &client{load: l, rand: rand.New(rand.NewSource(seed)),
		Result: Result{Statuses: map[string]int{}, Failures: map[string]int{}}}
}

func (l *Load) dial() (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", l.Addr, min(l.Timeout, 5*time.Second))
	if err != nil || !l.TLS {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	conn.SetDeadline(time.Now().Add(l.Timeout))
	if err := secure.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (c *client) drop() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// ask sends one request and reads its answer. due is when it should have been sent,
// end when the load ends.
func (c *client) ask(due, end time.Time) {
	if c.conn == nil {
		conn, err := c.load.dial()
		if err != nil {
			c.Sent++
			c.Failures["connect"]++
			time.Sleep(10 * time.Millisecond)
			return
		}
		c.conn, c.in, c.used = conn, bufio.NewReader(conn), 0
	}
	path := c.load.Path
	slow := c.load.Slow != "" && c.rand.Float64() < c.load.Share
	if slow {
		path = c.load.Slow
		c.Slow++
	}
	c.Sent++
	c.used++
	c.conn.SetDeadline(time.Now().Add(c.load.Timeout))
	status, keep, err := c.once(path)
	if err != nil {
		c.failed(err)
		return
	}
	now := time.Now()
	if status != 200 {
		c.Statuses[strconv.Itoa(status)]++
	} else {
		c.OK++
		if now.Before(end) {
			c.InTime++
		}
		if !slow {
			c.times = append(c.times, now.Sub(due))
		}
	}
	last := c.used == c.load.Reopen
	if !keep && !last {
		c.Closed++
	}
	if !keep || last {
		c.drop()
	}
}

// once sends a request, or a message of a WebSocket, and reads what answers it.
func (c *client) once(path string) (status int, keep bool, err error) {
	if c.load.WebSocket {
		return http.StatusOK, true, c.echo()
	}
	head := "GET " + path + " HTTP/1.1\r\nHost: x\r\n"
	if c.used == c.load.Reopen {
		head += "Connection: close\r\n"
	}
	_, err = io.WriteString(c.conn, head+"\r\n")
	// An answer may be there although the server closed before it read the request.
	return c.answer(err)
}

func (c *client) answer(sent error) (status int, keep bool, err error) {
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, false, errors.Join(sent, err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, false, errMidway{err}
	}
	return answer.StatusCode, !answer.Close, nil
}

// errMidway says that an answer broke off.
type errMidway struct{ error }

func (e errMidway) Unwrap() error { return e.error }

func (c *client) failed(err error) {
	kind := "no answer"
	var midway errMidway
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		kind = "time-out"
	case errors.As(err, &midway):
		kind = "midway"
	}
	if kind != "time-out" {
		c.Closed++
	}
	c.Failures[kind]++
	c.drop()
}

// Run puts the load on the server and sums up.
func (l *Load) Run() Result {
	clients := make([]*client, l.Connections)
	for i := range clients {
		clients[i] = newClient(l, int64(i+1))
	}
	begin := time.Now()
	end := begin.Add(l.For)
	unsent := 0
	if l.Rate > 0 {
		unsent = l.open(clients, begin, end)
	} else {
		l.closed(clients, end)
	}
	total := newClient(l, 0).Result
	for _, c := range clients {
		total.add(&c.Result)
	}
	if unsent > 0 {
		total.Failures["no connection free"] += unsent
		total.Sent += unsent
	}
	total.Seconds = l.For.Seconds()
	total.sum()
	return total
}

// closed lets every client ask at its own pace.
func (l *Load) closed(clients []*client, end time.Time) {
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			defer c.drop()
			for now := time.Now(); now.Before(end); now = time.Now() {
				c.ask(now, end)
				if l.Think > 0 {
					time.Sleep(time.Duration(float64(l.Think) * (0.5 + c.rand.Float64())))
				}
			}
		})
	}
	wg.Wait()
}

// open hands out requests when they are due to whichever client is free. It returns
// how many found none.
func (l *Load) open(clients []*client, begin, end time.Time) (unsent int) {
	due := make(chan time.Time, len(clients))
	free := make(chan struct{}, len(clients))
	var wg sync.WaitGroup
	for _, c := range clients {
		free <- struct{}{}
		wg.Go(func() {
			defer c.drop()
			for when := range due {
				c.ask(when, end)
				free <- struct{}{}
			}
		})
	}
	gap := time.Duration(float64(time.Second) / l.Rate)
	for when := begin; when.Before(end); when = when.Add(gap) {
		time.Sleep(time.Until(when))
		select {
		case <-free:
			due <- when
		default:
			unsent++
		}
	}
	close(due)
	wg.Wait()
	return unsent
}

// Rest opens connections that ask once and then stay; those that fail are left out.
func (l *Load) Rest() []net.Conn {
	var rest []net.Conn
	one := *l
	one.Slow, one.Reopen = "", 0
	for i := range l.Idle {
		c := newClient(&one, int64(-i))
		c.ask(time.Now(), time.Now())
		if c.conn != nil {
			c.conn.SetDeadline(time.Time{})
			rest = append(rest, c.conn)
		}
	}
	return rest
}

// closed counts those of idle connections that the server has closed, and closes all.
func closed(idle []net.Conn) int {
	var gone atomic.Int64
	var wg sync.WaitGroup
	until := time.Now().Add(300 * time.Millisecond)
	for _, conn := range idle {
		conn.SetReadDeadline(until)
		wg.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				gone.Add(1)
			}
			conn.Close()
		})
	}
	wg.Wait()
	return int(gone.Load())
}

func (r *Result) add(o *Result) {
	r.Sent += o.Sent
	r.OK += o.OK
	r.InTime += o.InTime
	r.Slow += o.Slow
	r.Closed += o.Closed
	r.times = append(r.times, o.times...)
	for k, n := range o.Statuses {
		r.Statuses[k] += n
	}
	for k, n := range o.Failures {
		r.Failures[k] += n
	}
}

func (r *Result) sum() {
	if len(r.times) == 0 {
		return
	}
	slices.Sort(r.times)
	at := func(share float64) float64 {
		i := min(len(r.times)-1, int(share*float64(len(r.times))))
		return float64(r.times[i].Microseconds()) / 1e3
	}
	r.P50, r.P90, r.P99, r.P999, r.Max = at(.5), at(.9), at(.99), at(.999), at(1)
}
