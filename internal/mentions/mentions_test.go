package mentions

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestIn(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.go": `package a
func (s *server) take(m protocol.Message) {
	switch m.Kind {
	case protocol.KindA, protocol.KindB:
		s.send(protocol.Message{Kind: protocol.KindC})
	}
}
func other(m protocol.Message) bool { return m.Kind == protocol.KindD && x.KindE }
`,
		"a_test.go": "package a\nfunc take() { _ = protocol.KindF }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ functions, want []string }{
		{[]string{"take"}, []string{"KindA", "KindB"}},
		{[]string{"take", "other"}, []string{"KindA", "KindB", "KindD"}},
	} {
		if got, err := In(dir, "protocol.Kind", c.functions...); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, %v; want %q", c.functions, got, err, c.want)
		}
	}
	if _, err := In(dir, "protocol.Kind", "gone"); err == nil {
		t.Error("a function that is not there is searched")
	}
}
