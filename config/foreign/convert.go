package foreign

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"hostler/settings"
)

// Use is a setting of another server's that somebody has given.
type Use struct {
	setting *setting
	as      string // how it was written: "--host", "bind"
	value   any
}

// Flag returns the flag of another server's that is written so, "--host" or "-k";
// nil if there is none.
func Flag(name string) *Known {
	for _, table := range tables() {
		for _, s := range table {
			if slices.Contains(s.flags, name) {
				return &Known{s}
			}
		}
	}
	return nil
}

// Known is a flag of another server's.
type Known struct{ s *setting }

// Takes reports whether a value follows.
func (k *Known) Takes() Takes { return k.s.takes }

// Used returns the flag as given with a value. For one without it is not looked at.
func (k *Known) Used(as, value string) Use { return Use{k.s, as, k.s.argument(value)} }

// argument is the value that a flag has, given its text.
func (s *setting) argument(text string) any {
	if s.takes == Nothing || s.takes == Maybe && (text == "" || text == "true") {
		return true
	}
	return text
}

func tables() [][]*setting {
	return [][]*setting{gunicorn(), uvicorn(), granian(), hypercorn(), uwsgi()}
}

// Line is for people: what has become of a setting.
type Line struct {
	Name string
	Fate Fate
	Text string // after "NAME: "; may be empty
}

func (l Line) String() string {
	if l.Text == "" {
		return l.Name
	}
	return l.Name + ": " + l.Text
}

// Assigned is what settings of others have become.
type Assigned struct {
	Given
	From string // names of the others' settings
}

// Outcome is what becomes of what was given.
type Outcome struct {
	Assigned []Assigned
	Lines    []Line
	Problems []string // reasons not to start, one line each
}

// Where what is converted was written.
type Where struct {
	// CommandLine: somebody has just typed it. What there is nothing like is then a
	// problem, and of a file's it is a line only: the file may be in use elsewhere, too.
	CommandLine bool
	// Draft: somebody reads what comes of it, and changes it, before it is used.
	Draft bool
	App   string // the application that was named beside it; "": none
	// Unprivileged: who has written it may do less than the master. What the master
	// does by itself (files it opens, who workers are) is not theirs to say.
	Unprivileged string // the user; "": it is the master's own
}

// Convert says what becomes of uses.
func Convert(uses []Use, where Where) Outcome {
	var out Outcome
	parts := make(map[string]Assigned)
	for _, u := range uses {
		r := u.setting.of(u.value)
		if where.Draft && u.setting.draft != nil {
			r = u.setting.draft(u.value)
		}
		if r.err != nil {
			out.Problems = append(out.Problems, fmt.Sprintf("%s: %v", u.as, r.err))
			continue
		}
		if u.setting.nothing(u.value) {
			continue
		}
		if r.fate == Refused || r.fate == Lost && where.CommandLine {
			out.Problems = append(out.Problems, Line{Name: u.as, Text: r.why}.String())
			continue
		}
		if where.Unprivileged != "" && slices.ContainsFunc(r.gives, privileged) {
			out.Problems = append(out.Problems, fmt.Sprintf("%s: the master would do that as root, and the file is run as %s: give it as a flag or a variable of hostler's", u.as, where.Unprivileged))
			continue
		}
		out.Lines = append(out.Lines, Line{u.as, r.fate, r.why})
		for _, g := range r.gives {
			if strings.HasPrefix(g.Setting, "+") {
				parts[g.Setting] = Assigned{g, u.as}
				continue
			}
			out.add(Assigned{g, u.as})
		}
	}
	out.combine(parts, where.App)
	out.limitGreenlets()
	if !where.CommandLine {
		out.askNobody()
	}
	return out
}

// add appends a; texts of the same setting come together.
func (o *Outcome) add(a Assigned) {
	for i := range o.Assigned {
		if b := &o.Assigned[i]; b.Setting == a.Setting {
			b.Texts = append(slices.Clip(b.Texts), a.Texts...)
			if b.From != a.From {
				b.From += ", " + a.From
			}
			return
		}
	}
	o.Assigned = append(o.Assigned, a)
}

// combine puts together what is one setting here and several elsewhere.
func (o *Outcome) combine(parts map[string]Assigned, app string) {
	text := func(part string) string {
		if t := parts[part].Texts; len(t) > 0 {
			return t[len(t)-1]
		}
		return ""
	}
	// put adds what the parts that are there come to.
	put := func(setting, value string, of ...string) {
		var from []string
		for _, p := range of {
			if a, ok := parts[p]; ok {
				from = append(from, a.From)
			}
		}
		o.add(Assigned{Given{setting, []string{value}}, strings.Join(from, ", ")})
	}
	if host, port := text(partHost), text(partPort); host != "" || port != "" {
		if host == "" {
			host = "127.0.0.1"
		}
		if port == "" {
			port = "8000"
		}
		put("bind", net.JoinHostPort(strings.Trim(host, "[]"), port), partHost, partPort)
	}
	if file := text(partFile); file != "" {
		if name, ok := strings.CutSuffix(path.Base(file), ".py"); !ok {
			o.Problems = append(o.Problems, fmt.Sprintf("%s: %q cannot be imported: call it NAME.py", parts[partFile].From, file))
		} else {
			if dir := path.Dir(file); dir != "." {
				put("pythonpath", dir, partFile)
			}
			app = with(name, text(partCallable))
			put("app", app, partFile, partCallable)
		}
	} else if module := text(partModule); module != "" {
		app = with(module, text(partCallable))
		put("app", app, partModule, partCallable)
	} else if callable := text(partCallable); callable != "" && app != "" {
		app = with(app, callable)
		put("app", app, partCallable)
	}
	if text(partFactory) != "" && app != "" && !strings.HasSuffix(app, ")") {
		put("app", app+"()", partFactory)
	}
	number := func(part string) string {
		if n := text(part); n != "%k" { // as many as there are CPUs
			return n
		}
		return "auto"
	}
	switch most, least := number(partMost), number(partLeast); {
	case most != "" && least != "":
		put("workers", least+":"+most, partMost, partLeast)
	case most != "":
		put("workers", most, partMost)
	case least != "":
		put("workers", least, partLeast)
	}
}

// with is the application of that name in a module.
func with(module, name string) string {
	if name == "" || strings.Contains(module, ":") {
		return module
	}
	return module + ":" + name
}

// limitGreenlets: with Gunicorn's gevent, worker_connections is how many requests run at once.
func (o *Outcome) limitGreenlets() {
	green := func(a Assigned) bool {
		return a.Setting == "loop" && slices.Equal(a.Texts, []string{settings.LoopGevent})
	}
	if !slices.ContainsFunc(o.Assigned, green) {
		return
	}
	i := slices.IndexFunc(o.Assigned, func(a Assigned) bool { return a.Setting == "worker-connections" })
	if i < 0 {
		return
	}
	o.Assigned[i].Setting = "worker-concurrency"
	for j := range o.Lines {
		if o.Lines[j].Name == o.Assigned[i].From {
			o.Lines[j].Fate, o.Lines[j].Text = Changed, "is --worker-concurrency, with gevent"
		}
	}
}

// askNobody: to Gunicorn, ca_certs alone has no client asked for a certificate.
func (o *Outcome) askNobody() {
	asks := func(a Assigned) bool { return a.Setting == "client-certs" }
	if slices.ContainsFunc(o.Assigned, asks) {
		return
	}
	i := slices.IndexFunc(o.Assigned, func(a Assigned) bool { return a.Setting == "ca-certs" })
	if i < 0 {
		return
	}
	from := o.Assigned[i].From
	o.Assigned = slices.Delete(o.Assigned, i, i+1)
	for j := range o.Lines {
		if o.Lines[j].Name == from {
			o.Lines[j].Fate, o.Lines[j].Text = Changed, "no client is asked for a certificate: cert_reqs is not given, or 0"
		}
	}
}

// privileged reports whether the master would do something by itself that its user alone
// may decide on, where workers are another one.
func privileged(g Given) bool {
	switch g.Setting {
	case "user", "group", "pid", "ctl-socket", "python", "certfile", "keyfile", "ca-certs":
		return true
	case "access-log", "error-log":
		return !slices.Equal(g.Texts, []string{"-"}) && !slices.Equal(g.Texts, []string{"off"})
	case "bind":
		return slices.ContainsFunc(g.Texts, func(t string) bool { return strings.HasPrefix(t, "unix:") })
	}
	return false
}
