package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hostler/config/foreign"
)

// InForce is a setting as it is in force.
type InForce struct {
	Key    string // as in a settings file
	Values []string
	Origin string // a flag, a variable, a line of a file; "": it is the default
}

// InForce returns the settings in force, in the order of the reference page.
func (c *Config) InForce() []InForce {
	var all []InForce
	for _, s := range table() {
		if s.flagOnly {
			continue
		}
		o := c.origins[s.name]
		if o.place == "" && c.Behind != "" && s.behind[c.Behind] != "" {
			o.place = "--behind " + c.Behind
		}
		all = append(all, InForce{Key: s.key(), Values: slices.Clone(c.texts[s.name]), Origin: o.place})
	}
	return all
}

// Print returns the settings in force as a settings file.
func (c *Config) Print() string {
	var b strings.Builder
	for _, f := range c.InForce() {
		b.WriteString(PrintSetting(f))
	}
	return b.String()
}

// PrintSetting writes a setting as a line of a settings file; one that nobody has set
// is a comment.
func PrintSetting(f InForce) string {
	s := tomlSetting(f.Key, f.Values)
	if f.Origin == "" {
		return "# " + s + "\n"
	}
	return s + "  # " + oneLine(f.Origin) + "\n"
}

// tomlSetting writes a setting as TOML. A file is read by the same table, so that a
// number may stand there as one, and everything as text.
func tomlSetting(key string, texts []string) string {
	s := newLoader().find(strings.ReplaceAll(key, "_", "-"))
	if s == nil || !s.value.list {
		if len(texts) == 0 {
			return key + ` = ""`
		}
		return key + " = " + tomlValue(s, texts[len(texts)-1])
	}
	quoted := make([]string, 0, len(texts))
	for _, t := range texts {
		quoted = append(quoted, tomlString(t))
	}
	return key + " = [" + strings.Join(quoted, ", ") + "]"
}

func tomlValue(s *setting, text string) string {
	if s != nil && s.value.boolean && (text == "true" || text == "false") {
		return text
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text && s != nil && s.name != "umask" {
		return text
	}
	return tomlString(text)
}

// tomlString writes a text as TOML has it.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Migration is a settings file of another server's as one of ours.
type Migration struct {
	File  string // its name
	Out   foreign.Outcome
	Hooks bool // it is to be run by --hooks
}

// TOML returns the file of ours, with all that people should know as comments.
func (m Migration) TOML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# hostler.toml, made of %s by hostler migrate.\n", oneLine(m.File))
	if foreign.IsProgram(m.File) {
		b.WriteString("# Values are those that the file computes on this machine, with this environment.\n")
	}
	settings := newLoader()
	for _, a := range m.Out.Assigned {
		s := settings.find(a.Setting)
		if s == nil || !s.inFile() {
			continue
		}
		var told []string
		for _, l := range m.Out.Lines {
			if line := "# " + oneLine(l.String()) + "\n"; l.Text != "" && slices.Contains(strings.Split(a.From, ", "), l.Name) && !slices.Contains(told, line) {
				told = append(told, line)
			}
		}
		if len(told) > 0 {
			b.WriteString("\n" + strings.Join(told, ""))
		}
		b.WriteString(tomlSetting(s.key(), a.Texts) + "\n")
		for _, err := range s.value.set(new(Config), a.Texts) {
			fmt.Fprintf(&b, "# ^ that is wrong: %s\n", oneLine(err.Error()))
		}
	}
	if m.Hooks {
		fmt.Fprintf(&b, "\n# Its functions, and all else that it does besides settings.\nhooks = %s\n", tomlString(strings.TrimPrefix(m.File, "file:")))
	}
	m.rest(&b, "What needs no setting", func(f foreign.Fate) bool { return f == foreign.Same || f == foreign.Changed })
	m.rest(&b, "Not needed here", func(f foreign.Fate) bool { return f == foreign.Idle })
	m.rest(&b, "There is nothing like it", func(f foreign.Fate) bool { return f == foreign.Lost })
	if len(m.Out.Problems) > 0 {
		b.WriteString("\n# hostler cannot serve this as it is:\n")
		for _, p := range m.Out.Problems {
			fmt.Fprintf(&b, "#   %s\n", oneLine(p))
		}
	}
	return b.String()
}

// rest writes what has become no setting.
func (m Migration) rest(b *strings.Builder, head string, is func(foreign.Fate) bool) {
	first := true
	for _, l := range m.Out.Lines {
		assigned := slices.ContainsFunc(m.Out.Assigned, func(a foreign.Assigned) bool {
			return slices.Contains(strings.Split(a.From, ", "), l.Name)
		})
		if assigned || !is(l.Fate) {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n# %s:\n", head)
			first = false
		}
		fmt.Fprintf(b, "#   %s\n", oneLine(l.String()))
	}
}
