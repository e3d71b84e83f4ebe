package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"

	"hostler/admin"
	"hostler/config"
	"hostler/ctl"
	"hostler/master"
	"hostler/settings"
)

// serveCtl answers hostler ctl for m.
func serveCtl(path string, takeover bool, m *master.Master, history *admin.History, o serveOptions) (master.CtlServer, error) {
	all := func() bool { return true } // nobody but the server's user gets there
	if path == settings.CtlAuto {
		var err error
		if path, err = ctl.ThesePlaces(os.Getenv).Path(); err != nil {
			return nil, err
		}
	}
	status := admin.Options{Board: m.Scoreboard(), Snapshot: m.Snapshot, Queries: all, History: history}
	s, err := ctl.Serve(path, takeover, ctl.Options{
		Master: m,
		Status: func() ctl.Status { return admin.CurrentDetailed(status) },
		Samples: func() []admin.Sample {
			all, _ := history.Since(0)
			return all
		},
		Config: func(ctx context.Context) (ctl.Config, error) { return inForce(ctx, m, o.level) },
		SetLevel: func(ctx context.Context, text string) (string, error) {
			name, level, err := config.ParseLevel(text)
			if err != nil {
				return "", ctl.BadRequest(err)
			}
			o.level.Set(level)
			return name, m.SetLogLevel(ctx, name)
		},
		Log: o.log,
	})
	if err != nil {
		return nil, err // not s: a nil *Server in the interface would not be nil
	}
	if o.screen != nil {
		o.screen.ctl.Store(&path)
	}
	return s, nil
}

// inForce returns the settings that are in force, those that an operator has changed
// since they were read as they are now.
func inForce(ctx context.Context, m *master.Master, level *slog.LevelVar) (all ctl.Config, err error) {
	set, err := m.InForce(ctx)
	if err != nil {
		return all, err
	}
	now := make(map[string]ctl.Setting)
	for _, name := range []string{"debug", "info", "warning", "error"} {
		if l := settings.Level(name); l == level.Level() && l != settings.Level(set.LogLevel) {
			now["log_level"] = ctl.Setting{Values: []string{name}, Origin: "hostler ctl log-level"}
		}
	}
	if s := m.Snapshot(); s.Pinned || set.MaxWorkers == 0 && s.TargetWorkers != set.Workers {
		now["workers"] = ctl.Setting{Values: []string{strconv.Itoa(s.TargetWorkers)}, Origin: "hostler ctl scale, or a signal"}
	}
	for _, s := range set.Source.(*config.Config).InForce() {
		if n, ok := now[s.Key]; ok {
			s.Values, s.Origin = n.Values, n.Origin
		}
		all.Settings = append(all.Settings, ctl.Setting(s))
	}
	return all, nil
}
