package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestChat serves examples/websocket: what one says all hear.
func TestChat(t *testing.T) {
	dir, err := filepath.Abs("../examples/websocket")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "--chdir", dir, "app")
	if status, page := s.get("/"); status != 200 || !strings.Contains(page, "A chat on hostler") {
		t.Errorf("the page: %d %q", status, page)
	}
	if status, _ := s.get("/nowhere"); status != 404 {
		t.Errorf("what is not there: %d", status)
	}
	anna := s.websocket("/chat?name=Anna", "")
	anna.want(`1 {"from": "", "text": "Anna is here", "here": ["Anna"]}`)
	bert := s.websocket("/chat?name=Bert%C3%A9", "")
	joined := `1 {"from": "", "text": "Bert\u00e9 is here", "here": ["Anna", "Bert\u00e9"]}`
	anna.want(joined)
	bert.want(joined)
	s.websocket("/chat?name=Anna", "").want("close 4000 that name is taken")
	s.websocket("/chat", "").want("close 4000 say your name")
	anna.say(0x81, "hello")
	said := `1 {"from": "Anna", "text": "hello", "here": ["Anna", "Bert\u00e9"]}`
	anna.want(said)
	bert.want(said)
	bert.Close()
	anna.want(`1 {"from": "", "text": "Bert\u00e9 has left", "here": ["Anna"]}`)
	if log := s.log.String(); strings.Contains(log, "Traceback") {
		t.Errorf("the log has a traceback:\n%s", log)
	}
}
