package proctitle

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSet runs in a process of its own: the title of the test binary is what
// other tests' tools look at.
func TestSet(t *testing.T) {
	if want := os.Getenv("PROCTITLE_TEST"); want != "" {
		before := strings.Join(os.Args, "\x00")
		env := strings.Join(os.Environ(), "\x00")
		if err := Set(want); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("/proc/self/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.TrimRight(string(got), "\x00")
		if !strings.HasPrefix(want, shown) || shown == "" {
			t.Errorf("the title is %q, want (a prefix of) %q", shown, want)
		}
		if len(want) < len(before) && shown != want {
			t.Errorf("the title is %q, want %q", shown, want)
		}
		if now := strings.Join(os.Args, "\x00"); now != before {
			t.Errorf("os.Args changed to %q", now)
		}
		if now := strings.Join(os.Environ(), "\x00"); now != env {
			t.Error("the environment changed")
		}
		penv, err := os.ReadFile("/proc/self/environ")
		if err != nil || !strings.Contains(string(penv), "PROCTITLE_TEST="+want) {
			t.Errorf("the kernel's view of the environment changed: %.200q, %v", penv, err)
		}
		return
	}
	for _, title := range []string{"x", "hostler: master [app:app]", strings.Repeat("long ", 2000)} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSet$", "-test.v", "-test.count=1")
		cmd.Env = append(os.Environ(), "PROCTITLE_TEST="+title)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("title of %d bytes: %v\n%s", len(title), err, out)
		}
	}
}

func TestArgumentSpan(t *testing.T) {
	fields := strings.Repeat("0 ", 45)
	for _, c := range []struct {
		name, stat string
		start, end uintptr
		ok         bool
	}{
		{"plain", "1 (x) " + fields + "4096 8192 9000 9100 0", 4096, 8192, true},
		{"odd name", "1 (a) b) c) " + fields + "4096 8192 9000", 4096, 8192, true},
		{"hidden", "1 (x) " + fields + "0 0 0", 0, 0, false},
		{"backwards", "1 (x) " + fields + "8192 4096 0", 0, 0, false},
		{"short", "1 (x) S 1", 0, 0, false},
		{"empty", "", 0, 0, false},
		{"words", "1 (x) " + fields + "a b c", 0, 0, false},
	} {
		s, e, err := argumentSpan([]byte(c.stat))
		if (err == nil) != c.ok || s != c.start || e != c.end {
			t.Errorf("%s: got %d, %d, %v", c.name, s, e, err)
		}
	}
}
