package main

import (
	"context"

	"hostler/admin"
	"hostler/config"
	"hostler/ctl"
	"hostler/master"
)

// serveCtl answers hostler ctl for m.
func serveCtl(path string, takeover bool, m *master.Master, o serveOptions) (master.CtlServer, error) {
	all := func() bool { return true } // nobody but the server's user gets there
	status := admin.Options{Board: m.Scoreboard(), Snapshot: m.Snapshot, Queries: all}
	s, err := ctl.Serve(path, takeover, ctl.Options{
		Master: m,
		Status: func() admin.Status { return admin.Current(status) },
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
	return s, nil
}
