package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"hostler/admin"
	"hostler/internal/conncap"
	"hostler/protocol"
)

// Master is what can be done to the server. The errors may have a method
// Detail() string for what is longer than a line.
type Master interface {
	Reload(ctx context.Context) error
	Scale(ctx context.Context, n int, relative bool) (from, to int, err error)
	ScaleByNeed(ctx context.Context) (from, to int, err error)
	Restart(ctx context.Context, worker int) error
	Dump(ctx context.Context, worker int) ([]protocol.Dump, error)
	Profile(ctx context.Context, worker int, d time.Duration, rate int) (*protocol.Profile, error)
	Upgrade(ctx context.Context) error
	Drain(ctx context.Context) error
	Events() []protocol.Event
	Slow() []protocol.SlowRoute
}

// Options are what a server is made from.
type Options struct {
	Master Master
	Status func() Status
	// Samples returns the last minutes, a sample a second, oldest first.
	Samples func() []admin.Sample
	// Config returns the settings in force.
	Config func(ctx context.Context) (Config, error)
	// SetLevel changes the log level of master and workers, and returns its usual
	// name.
	SetLevel func(ctx context.Context, level string) (string, error)
	Log      *slog.Logger
}

const (
	headerTimeout = 5 * time.Second
	maxBody       = 4 << 10
	maxConns      = 64
	// closeTimeout is how long the last answers may take.
	closeTimeout = time.Second
)

// Server answers on a control socket.
type Server struct {
	socket *socket
	http   *http.Server
	wg     sync.WaitGroup
}

// Serve opens the socket for path and answers there. Nobody finds it until it
// is published. Takeover says that the server there now may be our parent, to
// be replaced by us.
func Serve(path string, takeover bool, o Options) (*Server, error) {
	l, err := listen(path, takeover)
	if err != nil {
		return nil, err
	}
	s := &Server{socket: l, http: &http.Server{
		Handler: Handler(o),
		// There is no limit for answers: a reload takes as long as it takes. Nor
		// may there be a ReadTimeout, which would end the context of whoever waits.
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       headerTimeout,
		ConnState:         conncap.New(maxConns).See,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelError),
	}}
	s.wg.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("hostler ctl is not answered any more", "error", err)
		}
	})
	return s, nil
}

// Publish gives the socket its name.
func (s *Server) Publish() error { return s.socket.publish() }

// Lost says that the socket's name is another file's by now, or nobody's.
func (s *Server) Lost() bool { return s.socket.lost() }

// Close ends the server.
func (s *Server) Close() {
	s.socket.end()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	s.wg.Wait()
}

type handler struct{ Options }

// Handler returns the handler of the API.
func Handler(o Options) http.Handler {
	h := &handler{Options: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", h.status)
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, Events{Events: h.Master.Events()})
	})
	mux.HandleFunc("GET /v1/samples", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, Samples{Samples: h.Samples()})
	})
	mux.HandleFunc("GET /v1/slow", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, Slow{Routes: h.Master.Slow()})
	})
	mux.HandleFunc("GET /v1/config", h.config)
	command(mux, h, "reload", func(ctx context.Context, _ struct{}) (any, error) {
		return h.done(h.Master.Reload(ctx))
	})
	command(mux, h, "scale", h.scale)
	command(mux, h, "restart", func(ctx context.Context, r WorkerRequest) (any, error) {
		return h.done(h.Master.Restart(ctx, r.Worker))
	})
	command(mux, h, "dump", func(ctx context.Context, r WorkerRequest) (any, error) {
		dumps, err := h.Master.Dump(ctx, r.Worker)
		return Dumped{Dumps: dumps}, err
	})
	command(mux, h, "profile", h.profile)
	command(mux, h, "upgrade", func(ctx context.Context, _ struct{}) (any, error) {
		return h.done(h.Master.Upgrade(ctx))
	})
	command(mux, h, "drain", func(ctx context.Context, _ struct{}) (any, error) {
		return h.done(h.Master.Drain(ctx))
	})
	command(mux, h, "log-level", func(ctx context.Context, r LevelRequest) (any, error) {
		level, err := h.SetLevel(ctx, r.Level)
		return Level{Level: level}, err
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		readBy(w, time.Now().Add(headerTimeout))
		defer func() { readBy(w, time.Now().Add(headerTimeout)) }() // the server reads what has been left
		mux.ServeHTTP(w, r)
	})
}

// readBy is until when the rest of a request may come. What cannot have a limit needs
// none.
func readBy(w http.ResponseWriter, t time.Time) { _ = http.NewResponseController(w).SetReadDeadline(t) }

// badRequest is an error that no other moment would mend.
type badRequest struct{ error }

// BadRequest marks err as the caller's mistake.
func BadRequest(err error) error { return badRequest{err} }

// command registers what changes something: its request is decoded, logged and
// handed to do.
func command[T any](mux *http.ServeMux, h *handler, name string, do func(context.Context, T) (any, error)) {
	mux.HandleFunc("POST /v1/"+name, func(w http.ResponseWriter, r *http.Request) {
		var request T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		err := d.Decode(&request)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			answer(w, http.StatusRequestTimeout, Failure{Message: fmt.Sprintf("the request did not come within %v", headerTimeout)})
			return
		case err != nil && !errors.Is(err, io.EOF): // no body: the zero request
			answer(w, http.StatusBadRequest, Failure{Message: fmt.Sprintf("malformed request: %v", err)})
			return
		}
		readBy(w, time.Time{}) // who waits for the answer may wait for long
		h.Log.Info("asked for by hostler ctl", "command", name)
		result, err := do(r.Context(), request)
		respond(w, result, err)
	})
}

// respond answers with the result, or with the reason why there is none.
func respond(w http.ResponseWriter, result any, err error) {
	if err == nil {
		answer(w, http.StatusOK, result)
		return
	}
	status := http.StatusConflict
	if errors.As(err, new(badRequest)) {
		status = http.StatusBadRequest
	}
	f := Failure{Message: err.Error()}
	var d interface {
		error
		Detail() string
	}
	if errors.As(err, &d) {
		f.Detail = d.Detail()
	}
	answer(w, status, f)
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who has gone away does not care
}

func (h *handler) done(err error) (any, error) {
	return Done{PID: os.Getpid(), Generation: h.Status().Master.Generation}, err
}

func (h *handler) scale(ctx context.Context, r ScaleRequest) (any, error) {
	var n int
	switch {
	case r.Auto && r.To == nil && r.By == nil:
		from, to, err := h.Master.ScaleByNeed(ctx)
		return Scaled{From: from, To: to}, err
	case r.To != nil && r.By == nil && !r.Auto:
		n = *r.To
	case r.By != nil && r.To == nil && !r.Auto:
		n = *r.By
	default:
		return nil, badRequest{errors.New(`malformed request: one of "to", "by" and "auto" is needed`)}
	}
	from, to, err := h.Master.Scale(ctx, n, r.By != nil)
	return Scaled{From: from, To: to}, err
}

func (h *handler) config(w http.ResponseWriter, r *http.Request) {
	c, err := h.Config(r.Context())
	respond(w, c, err)
}

func (h *handler) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, h.Status())
}
