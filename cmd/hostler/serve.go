package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"hostler/admin"
	"hostler/config"
	"hostler/internal/logwriter"
	"hostler/internal/otlp"
	"hostler/master"
	"hostler/metrics"
	"hostler/protocol"
	"hostler/worker/http1"
)

// adminStop is how long the admin server's last answers may take.
const adminStop = time.Second

// profileRate is how many samples a second the page's flame graphs have.
const profileRate = 100

// serveOptions is what serve and check are given.
type serveOptions struct {
	binary  master.Binary
	version string
	config  *config.Config
	reload  func() (*config.Config, error) // reads the settings again
	log     *slog.Logger
	level   *slog.LevelVar
	errors  *logwriter.Writer // where log writes to; nil: it is no server's
	screen  *screen           // nil: nobody looks
	texts   io.Writer         // what is no record goes there by way of this
}

// master returns the options for the master, but for the admin server.
func (o serveOptions) master() (master.Options, error) {
	p, err := payload()
	return master.Options{
		Version:  o.version,
		Settings: masterSettings(o.config),
		Reload: func() (*master.Settings, error) {
			c, err := o.reload()
			if err != nil {
				return nil, err
			}
			remark(o.log, c)
			return masterSettings(c), nil
		},
		Payload:  p,
		Binary:   o.binary,
		Log:      o.log,
		ErrorLog: o.errors,
		Texts:    o.texts,
	}, err
}

// serve runs the master until it is told to stop.
func serve(ctx context.Context, o serveOptions) error {
	live, err := o.keepLive()
	if err != nil {
		return err
	}
	opts, err := o.master()
	if err != nil {
		return err
	}
	var h http.Handler // made once the master is there, before it runs
	var history *admin.History
	if o.screen != nil {
		opts.Screen = o.screen
	}
	opts.Admin = func(l net.Listener) func() {
		if o.screen != nil {
			at := l.Addr().String()
			o.screen.admin.Store(&at)
		}
		door := admin.Door{Names: func() []string { return live.Load().AdminHosts }, Token: func() string { return live.Load().token }}
		stop := admin.Serve(l, admin.Guard(l.Addr(), door, h), o.log)
		return func() {
			ctx, cancel := context.WithTimeout(context.Background(), adminStop)
			defer cancel()
			stop(ctx)
		}
	}
	var running *master.Master // likewise
	opts.Ctl = func(path string, takeover bool) (master.CtlServer, error) {
		return serveCtl(path, takeover, running, history, o)
	}
	export := exporters{otlp.New(o.version, o.log)}
	opts.Spans = export
	m, err := master.New(opts)
	if err != nil {
		return err
	}
	running, history = m, admin.NewHistory(m.Scoreboard())
	scrape, err := scraper(m, o.log)
	if err != nil {
		return err
	}
	export.Gather(metrics.Gatherer(scrape))
	h = adminHandler(m, scrape, history, live, o)
	ctx, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { history.Run(ctx) })
	defer wg.Wait()
	defer end()
	return m.Run(ctx)
}

// exporters are what takes the master's spans.
type exporters struct{ *otlp.Exporters }

// Open implements master.Spans.
func (x exporters) Open(ctx context.Context, set *master.Settings) (master.SpanTaker, error) {
	e, err := x.Exporters.Open(ctx, &set.Master)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// followed is what follows the settings by itself, as they were last read.
type followed struct {
	*config.Config
	token string // of --admin-token
}

// keepLive has o keep what follows the settings by itself.
func (o *serveOptions) keepLive() (*atomic.Pointer[followed], error) {
	live, read := new(atomic.Pointer[followed]), o.reload
	follow := func(c *config.Config) error {
		token, err := readToken(c.AdminToken)
		if err == nil {
			live.Store(&followed{c, token})
		}
		return err
	}
	o.reload = func() (*config.Config, error) {
		c, err := read()
		if err != nil {
			return nil, err
		}
		return c, follow(c)
	}
	return live, follow(o.config)
}

// scraper answers with all metrics that there are.
func scraper(m *master.Master, log *slog.Logger) (http.Handler, error) {
	c, err := metrics.New(metrics.Options{Board: m.Scoreboard(), Snapshot: m.Snapshot, RejectReasons: rejectReasons(), App: m.AppMetrics(), Collect: m.Collect})
	if err != nil {
		return nil, err
	}
	return metrics.Handler(c, log)
}

// adminHandler answers on the admin address.
func adminHandler(m *master.Master, scrape http.Handler, history *admin.History, live *atomic.Pointer[followed], o serveOptions) http.Handler {
	return admin.Handler(admin.Options{
		Board: m.Scoreboard(), Snapshot: m.Snapshot, Alive: m.Alive, Metrics: scrape, History: history,
		Queries: func() bool { return live.Load().AdminQueries },
		Events:  m.Events, Slow: m.Slow,
		Settings: func(ctx context.Context) ([]admin.Setting, error) {
			c, err := inForce(ctx, m, o.level)
			return c.Settings, err
		},
		Profile: func(ctx context.Context, d time.Duration) (*protocol.Profile, error) {
			o.log.Info("asked for at the admin address", "command", "profile")
			return m.Profile(ctx, 0, d, profileRate)
		},
	})
}

// rejectReasons are the names of the parser's reasons to refuse a request.
func rejectReasons() []string {
	names := make([]string, http1.NumReasons)
	for i := range names {
		names[i] = http1.Reason(i).String()
	}
	return names
}

// check loads the application and reports whether that works.
func check(ctx context.Context, o serveOptions) error {
	if _, err := readToken(o.config.AdminToken); err != nil {
		return err
	}
	opts, err := o.master()
	if err != nil {
		return err
	}
	return master.Check(ctx, opts)
}

// masterSettings returns what the master runs on. The format of the log is what it came
// out as here: workers' standard error is the master's.
func masterSettings(c *config.Config) *master.Settings {
	s := &master.Settings{Master: c.Master, Source: c}
	s.LogFormat = logFormat(c)
	return s
}
