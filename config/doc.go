// Package config turns the command line, HOSTLER_* environment variables and a
// TOML file into one [Config].
//
// There is one table of settings (table.go). An entry is all there is to a
// setting: its flag, environment variable, TOML key, default, check, line of
// help and paragraph in docs/settings.md, and the field that it fills, of [Config] or of
// what package settings holds for all. Whatever reads or describes settings walks the table:
//
//	command line ─┐
//	environment  ─┼─▶ candidates by setting ─▶ the strongest one is checked ─▶ Config
//	TOML file    ─┤      (source.go)               (value.go)
//	defaults     ─┘
//
// A source only says which text stands where; it judges no values. So a setting
// means the same wherever it is written, and a problem is always named by the
// place it came from. No problem hides another: [Load] reports all of them in
// one [*Error].
//
// Settings of other servers, on the command line, in GUNICORN_CMD_ARGS or in a
// gunicorn.conf.py, become such candidates, too: see package foreign.
//
// Nothing is cached: loading again reads the file again, which is what SIGHUP
// is for.
package config

//go:generate go run ./internal/gendocs ../docs/settings.md ../docs/from-gunicorn.md
