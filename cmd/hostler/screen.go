package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"hostler/config"
	"hostler/internal/logformat"
	"hostler/master"
)

// screen is a terminal at which somebody has started the server.
type screen struct {
	to         io.Writer // waits for nothing
	color      bool
	admin, ctl atomic.Pointer[string] // where they are; nil: nowhere
}

var _ master.Screen = (*screen)(nil)

// newScreen returns nil where nobody looks at standard error, or wants to read only what
// is wrong.
func newScreen(cfg *config.Config, to io.Writer) *screen {
	f := logFormat(cfg)
	if cfg.ErrorLog != "-" || f != logformat.Text && f != logformat.Color || !logformat.IsTerminal(int(os.Stderr.Fd())) || cfg.LogLevel != "info" && cfg.LogLevel != "debug" {
		return nil
	}
	return &screen{to: to, color: f == logformat.Color}
}

const (
	bold = "1"
	dim  = "2"
	link = "1;36"
)

func (s *screen) paint(how, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}

// Serving shows what was started, and where it is.
func (s *screen) Serving(g master.Greeting) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s serves %s\n\n", s.paint(bold, "hostler "+g.Version), s.paint(bold, harmless(g.App)))
	row := func(name, value string) {
		b.WriteString("  " + s.paint(dim, fmt.Sprintf("%-9s", name)) + value + "\n")
	}
	for _, at := range g.Listening {
		row("URL", s.paint(link, url(at, g.TLS)))
	}
	workers := plural(g.Workers, "worker")
	if g.MaxWorkers > 0 {
		workers += fmt.Sprintf(" (%d at most)", g.MaxWorkers)
	}
	threads := plural(g.Threads, "Python thread")
	if g.ThreadsAuto {
		threads = "up to " + threads
	}
	row("Workers", workers+", each with "+threads)
	row("Python", harmless(g.Python))
	if at := s.admin.Load(); at != nil {
		row("Admin", s.paint(link, url(*at, false)))
	}
	if at := s.ctl.Load(); at != nil {
		row("Control", "hostler ctl --socket "+harmless(*at))
	}
	b.WriteString("\n  Ctrl-C stops it.\n\n")
	_, _ = io.WriteString(s.to, b.String()) // who has closed the terminal does not care
}

// Waiting says what Ctrl-C waits for.
func (s *screen) Waiting(requests []master.Waited, others int) {
	var b strings.Builder
	if len(requests) == 0 {
		b.WriteString("Waiting for workers to leave. Ctrl-C again ends them at once.\n")
	} else {
		b.WriteString("Waiting for " + plural(len(requests)+others, "request") + ". Ctrl-C again ends them at once.\n")
	}
	for _, r := range requests {
		fmt.Fprintf(&b, "  %s %s  %s, worker %d (process %d)\n", harmless(r.Method), harmless(r.Target), r.Age.Round(100*time.Millisecond), r.Worker, r.PID)
	}
	if others > 0 {
		fmt.Fprintf(&b, "  and %d more\n", others)
	}
	_, _ = io.WriteString(s.to, b.String())
}

// url is where a browser finds what listens at an address.
func url(at string, tls bool) string {
	host, port, err := net.SplitHostPort(at)
	if err != nil || strings.Contains(at, "/") {
		return harmless(at) // a socket's path
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme, usual := "http", "80"
	if tls {
		scheme, usual = "https", "443"
	}
	if port == usual {
		return scheme + "://" + strings.TrimSuffix(net.JoinHostPort(host, ""), ":") + "/"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/"
}

// harmless is text of others' without what a terminal would obey.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
