package nearest

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"wrkers", "workers", 1}, {"wokrers", "workers", 1},
		{"bnid", "bind", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestHint(t *testing.T) {
	known := []string{"--workers", "--log-level", "status", "HOSTLER_BIND"}
	for name, want := range map[string]string{
		"--wrkers": " (did you mean --workers?)", "--work": " (did you mean --workers?)", "stauts": " (did you mean status?)",
		"HOSTLER_BNID": " (did you mean HOSTLER_BIND?)", "x": "", "": "", "nothing-like-it": "",
	} {
		if got := Hint(name, known); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
