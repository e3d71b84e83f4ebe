package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hostler/config"
)

var (
	fenced = regexp.MustCompile("(?s)\n```[a-z]*\n(.*?)\n```")
	inline = regexp.MustCompile("`([^`]+)`")
	// A command's end, for what is not hostler's to read.
	shellEnd = regexp.MustCompile(`\s(#|>|\||&|;|2>).*$`)
	prompt   = regexp.MustCompile(`^(\$ |# |sudo |exec |web: |ExecStart=\S*/|CMD )+`)
	word     = regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`)
	flagName = regexp.MustCompile(`^--([a-z0-9][a-z0-9_-]*)`)
)

// documented are the texts in a page that are code: lines of blocks, and what is in backticks.
func documented(page string) (lines, inText []string) {
	text := "\n" + page
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		lines = append(lines, strings.Split(strings.ReplaceAll(block[1], "\\\n", " "), "\n")...)
	}
	text = strings.ReplaceAll(fenced.ReplaceAllString(text, "\n"), "\\\n", " ")
	rest := make([]string, 0)
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "    ") {
			lines = append(lines, line)
		} else {
			rest = append(rest, line)
		}
	}
	for _, code := range inline.FindAllStringSubmatch(strings.Join(rest, " "), -1) {
		inText = append(inText, code[1])
	}
	return lines, inText
}

// arguments are those of a line that calls hostler; ok: it does.
func arguments(line string) (args []string, ok bool) {
	line = prompt.ReplaceAllString(strings.TrimSpace(line), "")
	rest, ok := strings.CutPrefix(line, "hostler ")
	if !ok || strings.ContainsAny(rest, "…") {
		return nil, false
	}
	for _, m := range word.FindAllStringSubmatch(shellEnd.ReplaceAllString(rest, ""), -1) {
		args = append(args, m[1]+m[2]+m[3])
	}
	return args, true
}

// TestDocumentedCommands: each call of hostler that a page shows is one, and each flag of which a
// page speaks there is, here or with those from whom a page tells how to come.
func TestDocumentedCommands(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "deploy/*.md", "deploy/*/*.md"} {
		found, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if base := filepath.Base(path); base != "benchmarks.md" && base != "CHANGELOG.md" { // that tells of what was, too
				abs, err := filepath.Abs(path)
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, abs)
			}
		}
	}
	flags := knownFlags(t)
	t.Chdir(t.TempDir()) // where there is no settings file
	called := make(map[string]bool)
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		lines, inText := documented(string(b))
		for i, line := range append(lines, inText...) {
			args, ok := arguments(line)
			if !ok || len(args) == 0 {
				continue
			}
			called[args[0]] = true
			if i >= len(lines) && args[0] == "ctl" { // no more may be meant than that there is such a command, and flag
				args = append(slices.DeleteFunc(args, func(a string) bool { return a == "--socket" }), "--help")
			}
			if why := refused(t, args); why != "" {
				t.Errorf("%s: %q: %s", page, line, why)
			}
		}
		if strings.HasPrefix(filepath.Base(page), "from-") {
			continue // theirs are in it, too
		}
		for _, code := range inText {
			m := flagName.FindStringSubmatch(code)
			if m == nil || strings.Contains(code, "…") || flags[m[1]] || slices.Contains(othersFlags, m[1]) {
				continue
			}
			if _, err := config.Load([]string{"app:app", "--" + m[1] + "=x"}, nil, config.Options{}); err != nil && strings.Contains(err.Error(), "unknown flag") {
				t.Errorf("%s: there is no flag %q", page, code)
			}
		}
	}
	if len(called) < 10 || !called["ctl"] || !called["-w"] {
		t.Errorf("too few were found: %v", called)
	}
}

// othersFlags are flags of other programs, of which pages speak.
var othersFlags = []string{"concurrency", "key-type", "use-http2"}

// knownFlags are those of hostler, and of its commands.
func knownFlags(t *testing.T) map[string]bool {
	t.Helper()
	help := config.Help()
	for _, args := range [][]string{{"ctl"}, {"ctl", "status"}, {"ctl", "top"}, {"ctl", "events"}, {"ctl", "slow"}, {"ctl", "profile"}, {"migrate"}, {"check"}} {
		var out bytes.Buffer
		run(t.Context(), append(slices.Clone(args), "--help"), nil, &out, &out)
		help += out.String()
	}
	known := make(map[string]bool)
	for _, m := range regexp.MustCompile(`--([a-z0-9][a-z0-9-]*)`).FindAllStringSubmatch(help, -1) {
		known[m[1]] = true
	}
	return known
}

// refused says what is wrong with a command line; "": nothing that it could help.
func refused(t *testing.T, args []string) string {
	args = slices.Clone(args)
	switch args[0] {
	case "ctl":
		if len(args) == 1 {
			return ""
		}
		for i, a := range args {
			if strings.ToUpper(a) == a && strings.ToLower(a) != a { // in the place of something
				args[i] = "1"
			}
		}
		if !slices.Contains(args, "--socket") {
			args = slices.Insert(args, 1, "--socket", "none")
		}
	case "completion", "version", "help":
	case "migrate": // it needs the file
		args = append(args, "--help")
	default:
		if slices.Contains([]string{"serve", "check"}, args[0]) {
			args = args[1:]
		}
		root := config.Options{UID: func() int { return 0 }}
		_, err := config.Load(args, nil, root)
		if _, named := config.Load(append([]string{"app:app"}, args...), nil, root); named == nil || err == config.ErrHelp || err == config.ErrVersion {
			err = nil // it names no application
		}
		if err == nil {
			return ""
		}
		problems := strings.Split(err.Error(), "\n")
		return strings.Join(slices.DeleteFunc(problems, func(p string) bool { return strings.HasSuffix(p, "no such file or directory") }), "\n")
	}
	var out, problems bytes.Buffer
	if status := run(t.Context(), args, nil, &out, &problems); status == 2 {
		return problems.String()
	}
	return ""
}
