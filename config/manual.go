package config

import (
	"fmt"
	"regexp"
	"strings"
)

const manualHead = `.SH NAME
hostler \- application server for Python web applications
.SH SYNOPSIS
.B hostler
.RI [ flags ]
.IR MODULE [: ATTR " | :" FACTORY ()]
.br
.B hostler check
.RI [ flags ]
.RI [ MODULE ]
.br
.B hostler ctl
.RB [ \-\-socket
.IR PATH ]
.I command
.br
.B hostler migrate
.RI [ file ]
.br
.B hostler completion
.I bash | zsh | fish
.SH DESCRIPTION
Serves a Python web application (WSGI or ASGI) with worker processes.
The master process binds the addresses, starts the workers and watches over them.
Workers load the application into the Python of its own environment.
.PP
.B hostler ctl \-\-help
tells how to show and control a running server.
.B hostler migrate
prints the settings file for what other servers have in theirs.
.B hostler help
.I command
tells about each.
.SH OPTIONS
Most settings are a flag, an environment variable and a key of the settings file at once.
Flags go before variables, variables before the file, and that before defaults.
Times are seconds (30, 0.5) or have a unit (500ms, 30s, 2m, 1h, 7d).
Sizes are bytes or have a unit, which counts in 1024s (500k, 10MB, 10MiB, 1.5g).
`

const manualTail = `.SH FILES
.TP
.I hostler.toml
The settings, where hostler is started, unless
.B \-\-config
names another file. Without it, the table
.B [tool.hostler]
of
.I pyproject.toml
there.
.TP
.I /usr/share/doc/hostler
Further pages, where hostler is installed as a package.
.SH EXIT STATUS
.TP
.B 0
The server was told to stop, or what was asked for is done.
.TP
.B 1
It cannot start, or could not go on.
.TP
.B 2
The settings are wrong: each problem has a line on standard error.
`

// Manual returns hostler(1) for this version, in roff.
func Manual(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".\\\" Made from config/table.go.\n.TH HOSTLER 1 \"\" \"hostler %s\" \"User Commands\"\n", roff(version))
	b.WriteString(manualHead)
	group := ""
	for _, s := range table() {
		if s.positional() {
			continue
		}
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, ".SS %s\n", roff(group))
		}
		writeOption(&b, s)
	}
	for _, s := range [][2]string{{"SIGNALS", "Signals to the master:"}, {"EXAMPLES", "Examples:"}} {
		fmt.Fprintf(&b, ".SH %s\n.nf\n%s.fi\n", s[0], roffLines(roff(helpSection(s[1]))))
	}
	b.WriteString(manualTail)
	return b.String()
}

// writeOption says of a setting what its entry on the reference page says.
func writeOption(b *strings.Builder, s *setting) {
	forms := []string{"--" + s.name}
	if s.short != "" {
		forms = []string{"-" + s.short, forms[0]}
	}
	for _, a := range s.aliases {
		forms = append(forms, "--"+a)
	}
	for i, f := range forms {
		forms[i] = `\fB` + roff(f) + `\fR`
		if s.arg != "" {
			forms[i] += ` \fI` + roff(s.arg) + `\fR`
		}
	}
	fmt.Fprintf(b, ".TP\n%s\n", strings.Join(forms, ", "))
	b.WriteString(roffText(capital(s.help) + "."))
	if s.more != "" {
		b.WriteString(roffText(s.more))
	}
	var also []string
	if s.def != "" {
		also = append(also, "Default: "+defaultForms(s))
	}
	if v := s.variable(); v != "" {
		also = append(also, "Variable: `"+v+"`")
	}
	if s.inFile() {
		also = append(also, "Key: `"+s.key()+"`")
	}
	if len(also) > 0 {
		b.WriteString(".br\n" + roffText(strings.Join(also, ". ")+"."))
	}
}

// helpSection returns the lines of the help that stand under a heading.
func helpSection(heading string) string {
	_, rest, _ := strings.Cut(helpTail, "\n"+heading+"\n")
	section, _, _ := strings.Cut(rest, "\n\n")
	return strings.TrimRight(section, "\n") + "\n"
}

// roff escapes what is no markup: a dash is to be one that can be copied.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// pageLink is a link to another page of ours.
var pageLink = regexp.MustCompile(`\[([^\]]+)\]\(([a-z-]+\.md)(?:#[^)]*)?\)`)

// roffText is a paragraph's line, with what stands in backticks in bold.
func roffText(s string) string {
	s = pageLink.ReplaceAllString(s, "$1 (`$2`)")
	var b strings.Builder
	for i, part := range strings.Split(strings.Join(strings.Fields(s), " "), "`") {
		if i%2 == 1 {
			part = `\fB` + roff(part) + `\fR`
		} else {
			part = roff(part)
		}
		b.WriteString(part)
	}
	return roffLines(b.String() + "\n")
}

// roffLines keeps lines that begin with a dot from being taken for requests. (What would
// begin with the other mark of one is escaped.)
func roffLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, ".") {
			b.WriteString(`\&`)
		}
		b.WriteString(line)
	}
	return b.String()
}
