package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// curlLine is a call of curl in a page, or in what an example says of itself.
var curlLine = regexp.MustCompile("(?m)(?:^[ \t]*(?:\\$ )?|`)(curl [^`\n]*(?:localhost|127\\.0\\.0\\.1)[^`\n]*)")

// TestDocumentedCurl runs each call of curl that a page shows, against a server that is started as
// there, but for the ports: it is answered, with what the page says that it is.
func TestDocumentedCurl(t *testing.T) {
	var plain *server
	asked := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/internals/*.md", "deploy/*.md", "deploy/*/*.md", "examples/*.md", "examples/*/*.md", "examples/*/*.py"} {
		pages, err := filepath.Glob("../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range pages {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range curlLine.FindAllStringSubmatch(string(b), -1) {
				line := m[1]
				var s *server
				if dir := filepath.Dir(path); filepath.Base(filepath.Dir(dir)) == "examples" {
					s, _ = exampleServer(t, filepath.Base(dir), appsPython(t), "app")
				} else {
					if plain == nil {
						plain = start(t, "faults:app")
						plain.get("/")
					}
					s = plain
				}
				command := strings.NewReplacer("localhost:8000", s.addr, "127.0.0.1:8000", s.addr, "localhost:9191", s.admin, "127.0.0.1:9191", s.admin).Replace(line)
				if command == line {
					t.Errorf("%s: %q asks at an address at which nobody is", path, line)
					continue
				}
				asked++
				out, err := exec.Command("sh", "-c", strings.Replace(command, "curl ", "curl -fsS --max-time 30 ", 1)).Output()
				if err != nil {
					t.Errorf("%s: %q: %v", path, line, err)
				}
				switch {
				case strings.Contains(line, "/metrics") && !strings.Contains(string(out), "hostler_requests_total{"),
					strings.Contains(line, "/status") && (!json.Valid(out) || !strings.Contains(string(out), `"workers"`)):
					t.Errorf("%s: %q is answered with %.300q", path, line, out)
				}
			}
		}
	}
	if asked < 4 { // in README.md, CONTRIBUTING.md, the page to begin with, and an example
		t.Errorf("%d calls of curl were found", asked)
	}
}
