package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"hostler/internal/conncap"
)

// Time limits of the admin server. Nothing it answers takes long; a client that
// does is not worth a goroutine in the master.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	maxConns      = 128
)

// Serve serves h on l, which it owns from now on, until stop is called. Stop
// answers what has been accepted and lets running answers end for as long as ctx
// lasts, then cuts them off; when it returns, l is closed and nothing of the
// server is left. It may be called again.
func Serve(l net.Listener, h http.Handler, log *slog.Logger) (stop func(ctx context.Context)) {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// It hears of handlers that panic and of failing accepts, not of what
		// clients do wrong.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
	stops := make(chan struct{})
	srv.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.Background(), stoppingKey{}, (<-chan struct{})(stops))
	}
	stopping := sync.OnceFunc(func() { close(stops) })
	b := &busy{conns: make(map[net.Conn]bool)}
	limit := conncap.New(maxConns)
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		b.see(c, state)
		limit.See(c, state)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			log.Error("the admin server has ended; the application is served as before", "address", l.Addr().String(), "error", err)
		}
	})
	return func(ctx context.Context) {
		// Shutdown drops a request that it finds just read (net/http looks before
		// it calls the handler). So nothing more is accepted first, and what has
		// been is answered.
		_ = l.Close() // again, where stop is called again
		wg.Wait()     // what it has accepted is known from here on
		srv.SetKeepAlivesEnabled(false)
		stopping() // what would go on for ever ends
		b.wait(ctx)
		if err := srv.Shutdown(ctx); err != nil {
			// Shutdown closed the listener; Close is for the connections, and
			// that they were open is nothing to report.
			_ = srv.Close()
		}
	}
}

// busy knows the connections that have a request, or have not had one yet.
type busy struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// see is for http.Server.ConnState.
func (b *busy) see(c net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		b.conns[c] = true
	} else {
		delete(b.conns, c)
	}
}

// wait returns when there is none, or ctx ends.
func (b *busy) wait(ctx context.Context) {
	for {
		b.mu.Lock()
		n := len(b.conns)
		b.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}
