package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Width is how many columns a help has.
const Width = 80

// Help is what --help prints.
func Help(cmd *cobra.Command) string {
	var b strings.Builder
	use := cmd.Use
	if cmd.HasParent() {
		use = cmd.Parent().CommandPath() + " " + use
	}
	fmt.Fprintf(&b, "Usage: %s\n\n", use)
	text := cmd.Long
	if text == "" {
		text = strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + "."
	}
	b.WriteString(Wrap(text, 0))
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n" + Commands(cmd))
	}
	if flags := usages(cmd); flags != "" {
		b.WriteString("\nFlags:\n" + flags)
	}
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n" + cmd.Example + "\n")
	}
	return b.String()
}

// column is where what is said of commands and flags begins.
const column = 24

func usages(cmd *cobra.Command) string {
	var b strings.Builder
	row := func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := "      --" + f.Name
		if f.Shorthand != "" {
			name = "  -" + f.Shorthand + ", --" + f.Name
		}
		value, usage := pflag.UnquoteUsage(f)
		if f.NoOptDefVal == "" && value != "" {
			name += " " + value
		}
		Row(&b, name, column, usage)
	}
	cmd.LocalFlags().VisitAll(row)
	cmd.InheritedFlags().VisitAll(row)
	return b.String()
}

// Commands lists the commands of cmd, a line for each.
func Commands(cmd *cobra.Command) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		use := c.Use
		if utf8.RuneCountInString(use)+4 > column {
			use = c.Name()
		}
		if c.IsAvailableCommand() || c.Name() == "help" { // which cobra leaves out
			Row(&b, "  "+use, column, c.Short)
		}
	}
	return b.String()
}

// Row writes a name and what is said of it, which begins in column: on the next line, if
// the name is too long.
func Row(b *strings.Builder, name string, column int, text string) {
	n := utf8.RuneCountInString(name)
	if n+2 > column {
		b.WriteString(name + "\n")
		n, name = 0, ""
	}
	b.WriteString(name + strings.Repeat(" ", column-n) + strings.TrimLeft(Wrap(text, column), " "))
}

// Wrap breaks lines that are too long, behind an indent of so many blanks. What stands
// in a line that begins with a blank is left as it is.
func Wrap(text string, indent int) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, " ") || line == "" {
			b.WriteString(line + "\n")
			continue
		}
		width := 0
		for _, word := range strings.Fields(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case width == 0:
				b.WriteString(strings.Repeat(" ", indent))
				width = indent
			case width+1+n > Width:
				b.WriteString("\n" + strings.Repeat(" ", indent))
				width = indent
			default:
				b.WriteByte(' ')
				width++
			}
			b.WriteString(word)
			width += n
		}
		b.WriteByte('\n')
	}
	return b.String()
}
