package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"hostler/protocol"
)

// aliveTimeout is how long the master may take to give a sign of life. It is
// longer than anything that its loop does in one go.
const aliveTimeout = 5 * time.Second

// Options are what a handler is made from.
type Options struct {
	Board *protocol.Scoreboard
	// Snapshot returns what the master knows at this moment; it must not wait.
	Snapshot func() protocol.Snapshot
	// Alive returns nil as soon as the master's loop has given a sign of life,
	// and an error if the loop has ended or ctx does. Nil: that the master
	// answers at all is taken for one.
	Alive func(ctx context.Context) error
	// Queries reports whether /status shows the query strings of requests; nil: it does not.
	Queries func() bool
	// Metrics answers /metrics.
	Metrics http.Handler
	// History is what the last minutes were like. Nil: nobody keeps it, and there is no
	// page for people.
	History *History
	// Events returns what has happened, oldest first, Slow the worst requests by route.
	Events func() []protocol.Event
	Slow   func() []protocol.SlowRoute
	// Settings returns the settings in force.
	Settings func(ctx context.Context) ([]Setting, error)
	// Profile finds out where the Python threads of all workers spend a time.
	Profile func(ctx context.Context, d time.Duration) (*protocol.Profile, error)
}

// Setting is one that is in force.
type Setting struct {
	Key    string   `json:"key"` // as in a settings file
	Values []string `json:"values"`
	Origin string   `json:"origin,omitempty"` // where it is from; "": it is the default
}

// server holds the clocks beside the options, for tests.
type server struct {
	o    Options
	now  func() time.Time
	mono func() int64
}

// Handler returns the handler of all of the package's paths. Methods other than
// GET and HEAD get 405.
func Handler(o Options) http.Handler {
	return newServer(o).handler()
}

func newServer(o Options) *server { return &server{o: o, now: time.Now, mono: protocol.Monotonic} }

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.Handle("GET /metrics", s.o.Metrics)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /status", s.serveStatus)
	if s.o.History != nil {
		s.pages(mux)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func (s *server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	if s.o.History != nil && wantsHTML(r) {
		http.Redirect(w, r, "status", http.StatusSeeOther)
		return
	}
	snap := s.o.Snapshot()
	text(w, http.StatusOK, fmt.Sprintf("hostler %s: %s\n\n"+
		"/metrics          Prometheus metrics\n"+
		"/healthz          is the master alive?\n"+
		"/readyz           are requests being served? (?verbose: in detail)\n"+
		"/status           master, workers and running requests: JSON, in a browser a page\n", snap.Version, snap.App))
}

func (s *server) healthz(w http.ResponseWriter, r *http.Request) {
	if s.o.Alive != nil {
		ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
		defer cancel()
		if err := s.o.Alive(ctx); err != nil {
			text(w, http.StatusServiceUnavailable, fmt.Sprintf("the master does not work: %v\n", err))
			return
		}
	}
	text(w, http.StatusOK, "ok\n")
}

// condition is one of those that readiness takes.
type condition struct {
	name string
	met  bool
	why  string // it is not
}

func conditions(snap *protocol.Snapshot) []condition {
	serving, booting, frozen := 0, 0, 0
	for i := range snap.Workers {
		w := &snap.Workers[i]
		switch {
		case w.Serves():
			serving++
		case w.Frozen:
			frozen++
		case w.State == protocol.SlotBooting:
			booting++
		}
	}
	none := fmt.Sprintf("no worker serves (%d wanted, %d booting)", snap.TargetWorkers, booting)
	if frozen > 0 {
		none = fmt.Sprintf("no worker serves (%d wanted, %d booting, %d without a sign of life)", snap.TargetWorkers, booting, frozen)
	}
	return []condition{
		{"running", !snap.Stopping, "the server is stopping"},
		{"booted", snap.Ready, "no generation of workers has booted"},
		{"workers", serving > 0, none},
		{"listeners", len(snap.DeadListeners) == 0, "not everybody can connect to " + strings.Join(snap.DeadListeners, " ") + ": a worker has shut down the socket, or set options on it"},
	}
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	snap := s.o.Snapshot()
	code, answer := http.StatusOK, "ok\n"
	var all bytes.Buffer
	for _, c := range conditions(&snap) {
		if c.met {
			fmt.Fprintf(&all, "[+] %s: ok\n", c.name)
			continue
		}
		fmt.Fprintf(&all, "[-] %s: %s\n", c.name, c.why)
		if code == http.StatusOK {
			code, answer = http.StatusServiceUnavailable, "not ready: "+c.why+"\n"
		}
	}
	if r.URL.Query().Has("verbose") {
		answer = all.String() + answer
	}
	text(w, code, answer)
}

func (s *server) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	if s.o.History != nil && wantsHTML(r) {
		servePage(w, "page/index.html")
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // a target is for people to read; nosniff keeps browsers from more
	st, _ := s.status()
	if err := e.Encode(st); err != nil {
		text(w, http.StatusInternalServerError, fmt.Sprintf("cannot write the status: %v\n", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that has gone needs no answer.
	_, _ = w.Write(b.Bytes())
}

func text(w http.ResponseWriter, code int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, s) // as above
}
