package python_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hostler/protocol"
)

// TestPythonSpeaksTheProtocol: what a mold, the process of the hooks, or a worker whose
// library does not run yet says and hears is written by hand in Python and C; each kind
// in the table is there.
func TestPythonSpeaksTheProtocol(t *testing.T) {
	var source strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		if err != nil || d.IsDir() || ext != ".py" && ext != ".c" || strings.HasPrefix(path, "testdata") {
			return err
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const parties = protocol.PartyMold | protocol.PartyHooks | protocol.PartyNewborn
	n := 0
	for _, m := range protocol.MessageKinds() {
		if (m.From|m.To)&parties == 0 {
			continue
		}
		n++
		letter := string(rune(m.Kind))
		if s := source.String(); !strings.Contains(s, `b"`+letter) && !strings.Contains(s, `, "`+letter+`", 1`) {
			t.Errorf("%s (%s), of %v to %v, is not to be found in Python or C", m.Name, letter, m.From, m.To)
		}
	}
	if n < 10 {
		t.Errorf("only %d kinds concern Python", n)
	}
}
