// Package logformat makes the server's log look as those want it who read it: a person
// at a terminal, a collector that takes logfmt or JSON, or journald, which learns the
// priority of a line from its begin (sd-daemon(3)).
//
// Whatever the format, a record is one call of Write on what the log goes to, and is
// whole.
package logformat
