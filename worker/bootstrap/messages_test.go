package bootstrap

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"hostler/protocol"
)

// TestPythonSpeaksTheProtocol: what a mold, the process of the hooks, or a worker whose
// library does not serve yet says and hears is written by hand; protocol.py has a constant
// for each kind in the table that concerns them, and for no other, and each is used.
func TestPythonSpeaksTheProtocol(t *testing.T) {
	names, source := make(map[string]string), source(t)
	for _, line := range regexp.MustCompile(`(?m)^([A-Z_, ]+) = (b"[A-Za-z]"(?:, b"[A-Za-z]")*)$`).FindAllStringSubmatch(source, -1) {
		letters := strings.Split(line[2], ", ")
		for i, name := range strings.Split(line[1], ", ") {
			names[letters[i]] = name
		}
	}
	for _, m := range protocol.MessageKinds() {
		letter := `b"` + string(rune(m.Kind)) + `"`
		name := names[letter]
		delete(names, letter)
		if (m.From|m.To)&(protocol.PartyMold|protocol.PartyHooks) == 0 && m.Kind != protocol.KindLeaving {
			if name != "" {
				t.Errorf("%s is %s in Python, where nobody says or hears it", name, m.Name)
			}
			continue
		}
		if uses := regexp.MustCompile(`[(!=, ] ?`+name+`\b[,):]`).FindAllString(source, -1); name == "" || len(uses) == 0 {
			t.Errorf("%s (%s), of %v to %v, has the name %q in Python, and is used %d times", m.Name, letter, m.From, m.To, name, len(uses))
		}
	}
	if len(names) > 0 {
		t.Errorf("Python has kinds of message that are in no table: %q", names)
	}
	// Before it is Python again, a forked worker has said this in C.
	text, err := os.ReadFile("../python/mold.c")
	if err != nil || !strings.Contains(string(text), `"`+protocol.Words(protocol.PartyNewborn)+`", 1`) {
		t.Errorf("mold.c does not say %q (%v)", protocol.Words(protocol.PartyNewborn), err)
	}
}

// source is that of all modules, without what they import.
func source(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "import ") {
				b.WriteString(line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
