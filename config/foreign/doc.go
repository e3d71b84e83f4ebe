// Package foreign knows the settings of other servers, and what becomes of them
// here, so that who comes from Gunicorn, uvicorn, granian or uWSGI need not look
// each of them up.
//
// The tables (gunicorn.go, uvicorn.go, granian.go, uwsgi.go) are data: an entry
// names a setting as it is spelt there, and its [Fate]. Everything else reads them:
//
//	command line (config/flags.go) ──── Flag ──┐
//	GUNICORN_CMD_ARGS ───────────── ReadArgs ──┼─▶ Convert ─▶ settings of ours, and lines for people
//	gunicorn.conf.py ── Evaluate ── ReadConf ──┤
//	uwsgi.ini ────────────────────── ReadINI ──┘
//	docs/from-gunicorn.md ──────── Reference
//
// What a value is judged by is not here: the texts that come out are read by the
// table of package config, as if somebody had written them on the command line.
//
// A settings file of Gunicorn's is a program. It is run in a process of its own
// (evaluate.py, which package master starts), and what that says is read as what a
// stranger says: [ReadConf].
package foreign
