package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const referenceHead = `<!-- Generated from config/table.go by "go generate ./config". Do not edit. -->

# Settings

Most settings are a flag, an environment variable and a key of a TOML file at once. Where one is
given more than once, the first of these holds:

1. the flag;
2. the environment variable HOSTLER_…, unless it is empty;
3. the key in the settings file: the one that ` + "`--config`" + ` names, or ` + "`hostler.toml`" + ` where hostler is
   started, or else, if there is one, the table ` + "`[tool.hostler]`" + ` of ` + "`pyproject.toml`" + ` there (the log
   says which file it is);
4. an environment variable that Gunicorn goes by too, where one is named below, unless it is empty;
5. the default, which ` + "`--behind`" + ` may change.

A list is taken from one of these as a whole. SIGHUP reads the file again. A setting that is unknown
or wrong ends hostler with exit status 2 and a line for each problem (an unknown HOSTLER_ variable
is only warned of); at SIGHUP it leaves everything as it was.

Times are in seconds: ` + "`30`" + `, ` + "`0.5`" + `; or have a unit: ` + "`500ms`, `30s`, `2m`, `1h`, `7d`" + `. Sizes are
in bytes: ` + "`1000`" + `; or have a unit, which counts in 1024s: ` + "`500k`, `10MB`, `10MiB`, `1.5g`" + `.

` + "```toml" + `
# hostler.toml
app = "shop.wsgi:application"
workers = "auto"
threads = 4
bind = ["127.0.0.1:8000", "unix:/run/shop/http.sock"]
max_requests = 10_000
max_requests_jitter = 1_000
access_log = "-"

[env]
DJANGO_SETTINGS_MODULE = "shop.settings"
` + "```" + `
`

// Reference returns the reference page, docs/settings.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	writeOverview(&b)
	group := "-"
	for _, s := range table() {
		if s.group != group {
			group = s.group
			heading := group
			if s.positional() {
				heading = "Application"
			}
			fmt.Fprintf(&b, "\n## %s\n", heading)
		}
		writeEntry(&b, s)
	}
	writeLinks(&b)
	return b.String()
}

func writeOverview(b *strings.Builder) {
	b.WriteString("\n| flag | default | |\n| --- | --- | --- |\n")
	for _, s := range table() {
		if s.positional() {
			continue
		}
		short := ""
		if s.short != "" {
			short = "`-" + s.short + "` "
		}
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(b, "| %s[--%s] | %s | %s |\n", short, s.name, def, mdText(s.help))
	}
}

// writeLinks says where the table's links lead. In the rows they would make these too long.
func writeLinks(b *strings.Builder) {
	b.WriteString("\n")
	for _, s := range table() {
		if !s.positional() {
			fmt.Fprintf(b, "[--%s]: #%s\n", s.name, s.name)
		}
	}
}

func writeEntry(b *strings.Builder, s *setting) {
	text := mdText(capital(s.help)) + "."
	if s.more != "" {
		text += " " + s.more
	}
	fmt.Fprintf(b, "\n### %s\n\n%s\n", s.name, wrapped(text, ""))
	item := func(what, format string, args ...any) {
		b.WriteString(wrapped("* "+what+": "+fmt.Sprintf(format, args...), "  "))
	}
	if s.positional() {
		item("Argument", "`%s`", s.arg)
	} else {
		item("Flag", "%s", flagForms(s))
	}
	if v := s.variable(); v != "" {
		item("Variable", "`%s`", v)
	}
	if s.inFile() {
		item("Key", "`%s`", s.key())
	}
	if s.value.accepts != "" && s.value.accepts != "text" {
		item("Value", "%s", s.value.accepts)
	}
	if s.def != "" {
		item("Default", "%s", defaultForms(s))
	}
	if len(s.behind) > 0 {
		var parts []string
		for _, p := range presets {
			if d, ok := s.behind[p]; ok {
				parts = append(parts, fmt.Sprintf("%s: `%s`", p, d))
			}
		}
		item("Default with `--behind`", "%s", strings.Join(parts, "; "))
	}
}

func flagForms(s *setting) string {
	var forms []string
	add := func(flag string) {
		if s.arg != "" {
			flag += " " + s.arg
		}
		forms = append(forms, "`"+flag+"`")
	}
	if s.short != "" {
		add("-" + s.short)
	}
	add("--" + s.name)
	for _, a := range s.aliases {
		add("--" + a)
	}
	text := strings.Join(forms, ", ")
	if s.value.list {
		text += "; may be repeated"
	}
	return text
}

func defaultForms(s *setting) string {
	var text string
	for _, f := range s.defaults {
		text += fmt.Sprintf("`%s$%s` if that is set, else ", f.prefix, f.variable)
	}
	return text + "`" + s.def + "`"
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// mdText keeps Markdown from reading the stars and pipes of a plain text.
func mdText(s string) string {
	return strings.NewReplacer("*", `\*`, "|", `\|`).Replace(s)
}

// pageWidth is how long lines of our pages are, at most.
const pageWidth = 100

// wrapped breaks a text into lines, of which those after the first are indented. What
// stands in backticks stays on one.
func wrapped(text, indent string) string {
	var b strings.Builder
	width := 0
	add := func(unit string) {
		n := utf8.RuneCountInString(unit)
		switch {
		case width == 0:
		case width+1+n > pageWidth:
			b.WriteString("\n" + indent)
			width = len(indent)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(unit)
		width += n
	}
	unit := ""
	for _, word := range strings.Fields(text) {
		unit = strings.TrimPrefix(unit+" "+word, " ")
		if strings.Count(unit, "`")%2 == 0 {
			add(unit)
			unit = ""
		}
	}
	add(unit) // nothing, unless the text has a backtick too many
	return strings.TrimRight(b.String(), " \n") + "\n"
}
