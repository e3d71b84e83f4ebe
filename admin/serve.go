package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Time limits of the admin server. Nothing it answers takes long; a client that
// does is not worth a goroutine in the master.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// Serve serves h on l, which it owns from now on, until stop is called. Stop
// lets running answers end for as long as ctx lasts, then cuts them off; when
// it returns, l is closed and nothing of the server is left. It may be called
// again.
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
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin server has ended; the application is served as before", "address", l.Addr().String(), "error", err)
		}
	})
	return func(ctx context.Context) {
		if err := srv.Shutdown(ctx); err != nil {
			// Shutdown closed the listener; Close is for the connections, and
			// that they were open is nothing to report.
			_ = srv.Close()
		}
		wg.Wait()
	}
}
