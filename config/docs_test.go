package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"hostler/config"
)

func TestReferencePageIsFresh(t *testing.T) {
	page, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != config.Reference() {
		t.Error(`docs/settings.md is stale: run "go generate ./config"`)
	}
}

func TestForeignPageIsFresh(t *testing.T) {
	page, err := os.ReadFile("../docs/from-gunicorn.md")
	if err != nil {
		t.Fatal(err)
	}
	if fresh, err := config.ForeignReference(string(page)); err != nil || fresh != string(page) {
		t.Errorf(`docs/from-gunicorn.md is stale: run "go generate ./config" (%v)`, err)
	}
}

func TestHelpText(t *testing.T) {
	help := config.Help()
	for _, line := range []string{
		"  -w, --workers N[:MAX]         worker processes; auto: as many as CPUs;\n                                MIN:MAX: by need [1]",
		"      --threads N               Python threads per worker; auto: as many as help\n                                [1]",
		"      --limit-request-field-size BYTES\n                                longest header field; 0: any [8192]",
		"  -h, --help                    print this and exit",
		"Signals to the master:",
		"Examples:",
	} {
		if !strings.Contains(help, "\n"+line+"\n") && !strings.HasPrefix(help, line+"\n") {
			t.Errorf("no line %q in the help", line)
		}
	}
	for line := range strings.Lines(help) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("line is too long: %q", line)
		}
		if strings.HasSuffix(line, " ") || strings.Contains(line, "\t") {
			t.Errorf("line has blanks at its end or a tab: %q", line)
		}
	}
}

// What the help says of examples and defaults must be so.
func TestHelpIsTrue(t *testing.T) {
	help := config.Help()
	_, examples, _ := strings.Cut(help, "Examples:\n")
	for line := range strings.Lines(examples) {
		args := strings.Fields(strings.ReplaceAll(line, `"`, ""))
		f := files{"/etc/shop/hostler.toml": "app = 'shop'"}
		mustLoad(t, f, nil, args[1:]...)
	}
	for _, m := range regexp.MustCompile(`--([a-z0-9-]+) [A-Z=]+\s.*\[(.+)\]\n`).FindAllStringSubmatch(help, -1) {
		if m[1] == "config" {
			continue
		}
		mustLoad(t, nil, nil, "shop", "--"+m[1]+"="+m[2])
	}
}

func TestReferenceNamesEveryFlag(t *testing.T) {
	page := config.Reference()
	for _, m := range regexp.MustCompile(`(?m)^ .{5}--([a-z0-9-]+)`).FindAllStringSubmatch(config.Help(), -1) {
		if !strings.Contains(page, "\n### "+m[1]+"\n") {
			t.Errorf("--%s is not on the reference page", m[1])
		}
	}
}

// The example on the page is one that a reader will copy.
func TestReferenceExample(t *testing.T) {
	_, rest, _ := strings.Cut(config.Reference(), "```toml\n")
	example, _, _ := strings.Cut(rest, "```")
	c := mustLoad(t, files{"hostler.toml": example}, nil)
	if len(c.Warnings) != 0 || c.App != "shop.wsgi:application" || len(c.Env) != 1 {
		t.Errorf("got %+v", c)
	}
}
