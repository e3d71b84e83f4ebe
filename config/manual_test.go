package config_test

import (
	"regexp"
	"strings"
	"testing"

	"hostler/config"
)

// The manual page has every flag of the help, and nothing in it is taken for markup that is none.
func TestManual(t *testing.T) {
	page := config.Manual("1.2~rc1")
	flags := regexp.MustCompile(`(?m)^ .{5}--([a-z0-9-]+)`).FindAllStringSubmatch(config.Help(), -1)
	if len(flags) < 80 {
		t.Fatalf("only %d flags in the help", len(flags))
	}
	for _, m := range flags {
		if !strings.Contains(page, `\fB\-\-`+strings.ReplaceAll(m[1], "-", `\-`)+`\fR`) {
			t.Errorf("--%s is not in the manual", m[1])
		}
	}
	for _, part := range []string{
		".SH SIGNALS\n.nf\n  HUP ", ".SH EXAMPLES\n.nf\n  hostler shop.wsgi\n",
		`.TH HOSTLER 1 "" "hostler 1.2\(tirc1" "User Commands"`,
	} {
		if !strings.Contains(page, part) {
			t.Errorf("no %q in the manual", part)
		}
	}
	request := regexp.MustCompile(`^\.(TH|SH|SS|TP|PP|B|I|RI|RB|IR|br|nf|fi|\\")( |$)`)
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if strings.ContainsAny(line[:min(1, len(line))], ".'") && !request.MatchString(line) {
			t.Errorf("taken for a request: %q", line)
		}
	}
	if regexp.MustCompile(`\]\([a-z-]+\.md`).MatchString(page) {
		t.Error("a link of the pages is in the manual as it is written")
	}
}
