package ctl

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"hostler/internal/visible"
	"hostler/protocol"
)

const nasty = "a\x1b]0;owned\x07\x7f\u009b2J\u202egnp\u2066\u200f\xff\r\b\x00z"

func harmless(t *testing.T, what, s string) {
	t.Helper()
	for _, r := range strings.TrimSuffix(s, "\n") {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)) {
			t.Errorf("%s: %U in %q", what, r, s)
			return
		}
	}
}

func TestVisible(t *testing.T) {
	harmless(t, "text", visible.Text(nasty, false))
	if got := visible.Text("é\n\t\U0001f40e\x1b", false); got != "é\n\t\U0001f40e\\x1b" {
		t.Errorf("%q", got)
	}
	b, err := json.Marshal(map[string]string{"target": nasty})
	if err != nil {
		t.Fatal(err)
	}
	shown := visible.Text(string(b), true)
	harmless(t, "JSON", shown)
	var before, after map[string]string
	if json.Unmarshal(b, &before) != nil || json.Unmarshal([]byte(shown), &after) != nil || before["target"] != after["target"] {
		t.Errorf("%q means something else than %q", shown, b)
	}
}

// TestNothingNasty prints what others say in each of its places.
func TestNothingNasty(t *testing.T) {
	var out, errs strings.Builder
	c := &Command{Stdout: &out, Stderr: &errs}
	for _, text := range []string{
		slowLines([]protocol.SlowRoute{{Route: nasty, Worst: []protocol.SlowRequest{{Target: nasty, Method: nasty, Stack: nasty, Time: time.Now()}}}}),
		eventLines([]protocol.Event{{Kind: "reload_failed", Cause: nasty, Text: nasty}}),
		nasty,
	} {
		if err := c.print(text); err != nil {
			t.Fatal(err)
		}
	}
	c.complain(nasty)
	harmless(t, "standard output", out.String())
	harmless(t, "standard error", errs.String())
}
