package worker

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/static"
)

// With --metrics-path a request for that path is answered with the application's metrics
// as all workers together have them. The master alone knows those, so such a request asks
// it, and waits as an input of its connection; it holds no thread, and a goroutine answers
// it, so Python may do what it likes. There is one question at a time, which is for all that
// came before it: nobody is told what was so before he asked, or a counter could seem to go
// back to who asks one worker after the other. How often it answers is the master's to say.

const (
	expositionPatience = int64(5 * time.Second)
	// mostExpositions bounds those that wait.
	mostExpositions = 1000
)

// exposition are the answers to such requests, in all forms.
type exposition struct {
	path string
	ask  func(protocol.Message) bool // tells the master something, if that listens

	serving sync.Mutex
	server  *Thread // for its buffers, as the deputy's; serving is held
	file    int     // what it answers with; likewise

	mu    sync.Mutex
	forms [protocol.NumMetricsForms]exposed
}

// exposed are those that wait for an answer in a form.
type exposed struct {
	since int64   // since when the master has been asked; 0: it has not
	asked []*conn // those that it has been asked for
	next  []*conn // those that have come since
}

func newExposition(l *Loop) (*exposition, error) {
	if l.cfg.MetricsPath == "" {
		return nil, nil
	}
	t, err := newThread(l, -1)
	return &exposition{path: l.cfg.MetricsPath, server: t, ask: func(protocol.Message) bool { return false }}, err
}

// serve has the request in t wait, if it is one of those, or answers it when it has; else,
// and where the application is to answer it, it returns false. Whether the connection is
// still the caller's then, keepsConn says.
func (e *exposition) serve(t *Thread, c *conn) bool {
	if !t.asksForMetrics() || t.in != nil && t.in.passed {
		return false
	}
	if t.tunnels() { // which an answer would accept
		t.answerOwn(c, func() static.Answer {
			return static.Answer{Status: http.StatusMethodNotAllowed, File: -1, Header: http.Header{"Allow": {"GET, HEAD"}}}
		})
		return true
	}
	form, l := metricsForm(t), t.l
	if t.in != nil && t.in.exposed {
		if file, err := unix.FcntlInt(uintptr(e.file), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			t.answerOwn(c, func() static.Answer { return expositionAnswer(form, file) })
			return true
		}
	}
	if !t.setAside(c) {
		c.close(l)
		return true
	}
	c.setPhase(phaseReady, 0)
	e.wait(l, c, form)
	return true
}

// expositionAnswer takes over file.
func expositionAnswer(form protocol.MetricsForm, file int) static.Answer {
	a := static.Answer{Status: http.StatusOK, File: file, Header: http.Header{"Content-Type": {form.ContentType()},
		"Vary": {"Accept, Accept-Encoding"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}}
	if form&protocol.MetricsGzip != 0 {
		a.Header["Content-Encoding"] = []string{"gzip"}
	}
	return a
}

// wait has an owned connection, whose request is its input, wait for metrics.
func (e *exposition) wait(l *Loop, c *conn, form protocol.MetricsForm) {
	e.mu.Lock()
	f := &e.forms[form]
	full := len(f.next) >= mostExpositions
	if !full {
		f.next = append(f.next, c)
	}
	e.mu.Unlock()
	if full {
		c.shed(l)
		return
	}
	e.question(l, form)
}

// question asks the master for those that have come since the last question, if that has
// been answered.
func (e *exposition) question(l *Loop, form protocol.MetricsForm) {
	e.mu.Lock()
	f := &e.forms[form]
	ask := f.since == 0 && len(f.next) > 0
	if ask {
		f.since, f.asked, f.next = l.now(), f.next, nil
	}
	e.mu.Unlock()
	if ask && !e.ask(protocol.Message{Kind: protocol.KindScrape, Text: form.String()}) {
		e.giveUp(l, form) // its socket is full
	}
}

// taken returns those whose question has been answered, or never will be.
func (e *exposition) taken(form protocol.MetricsForm) []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := &e.forms[form]
	waiting := f.asked
	f.since, f.asked = 0, nil
	return waiting
}

// came takes metrics over, and has those answered that wait for them. file below 0: the
// application has none that the master knows, and is to answer itself.
func (e *exposition) came(l *Loop, text string, file int) {
	form, ok := protocol.ParseMetricsForm(text)
	if e == nil || !ok {
		unix.Close(file) // or it is none
		return
	}
	waiting := e.taken(form)
	e.question(l, form)
	go e.answer(l, waiting, file)
}

// answer goes on with connections that have waited.
func (e *exposition) answer(l *Loop, waiting []*conn, file int) {
	e.serving.Lock()
	defer e.serving.Unlock()
	e.file = file
	for _, c := range waiting {
		if file >= 0 {
			c.in.exposed = true
			l.dequeued(e.server, c)
		} else if c.in.passed = true; !c.enqueue(l) {
			c.in.queued = false
			c.shed(l)
		}
	}
	if file >= 0 {
		unix.Close(file)
	}
}

// giveUp answers those without metrics that the master has been asked for.
func (e *exposition) giveUp(l *Loop, form protocol.MetricsForm) {
	for _, c := range e.taken(form) {
		c.in.queued = false
		c.shed(l)
	}
}

// sweep gives up what is not to be had. The housekeeping calls it.
func (e *exposition) sweep(l *Loop) {
	if e == nil {
		return
	}
	for form := range protocol.MetricsForm(protocol.NumMetricsForms) {
		e.mu.Lock()
		f := &e.forms[form]
		late := f.since != 0 && l.now()-f.since > expositionPatience
		e.mu.Unlock()
		if late {
			e.giveUp(l, form)
			e.question(l, form)
		}
	}
}

// metricsForm is the form that the client of the request in t likes best.
func metricsForm(t *Thread) (form protocol.MetricsForm) {
	plain, open, head := -1.0, -1.0, t.head()
	for i := range t.Req.NFields {
		f := &t.Req.Fields[i]
		switch f.Known {
		case http1.KnownAcceptEncoding:
			eachAccepted(f.Value.In(head), func(what string, q float64) {
				if what == "gzip" && q > 0 {
					form |= protocol.MetricsGzip
				}
			})
		case http1.KnownAccept:
			eachAccepted(f.Value.In(head), func(what string, q float64) {
				switch what {
				case "application/openmetrics-text":
					open = max(open, q)
				case "text/plain", "text/*":
					plain = max(plain, q)
				}
			})
		}
	}
	if open > 0 && open >= plain {
		form |= protocol.MetricsOpen
	}
	return form
}

// eachAccepted calls f for what a field like Accept has, and how much it is liked.
func eachAccepted(field []byte, f func(what string, q float64)) {
	for part := range strings.SplitSeq(string(field), ",") {
		what, params, _ := strings.Cut(part, ";")
		q := 1.0
		for p := range strings.SplitSeq(params, ";") {
			if v, is := strings.CutPrefix(strings.TrimSpace(p), "q="); is {
				var err error
				if q, err = strconv.ParseFloat(v, 64); err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
			}
		}
		f(strings.ToLower(strings.TrimSpace(what)), q)
	}
}
