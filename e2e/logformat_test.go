package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestLogFormats: master, workers and tracebacks have one format, and every line of a
// worker's says whose it is.
func TestLogFormats(t *testing.T) {
	const raised = "a marker for the log"
	for _, preload := range []bool{false, true} {
		args := []string{"rules:app"}
		if preload {
			args = append(args, "--preload")
		}
		t.Run(fmt.Sprint("json, preload ", preload), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			s := launch(t, append(args, "--error-log", path, "--log-format", "json")...)
			s.eventually("the server", s.ready)
			s.get("/exception")
			s.raw("GET / HTTP/1.1\r\n\r\n")
			s.signal(syscall.SIGHUP)
			s.eventually("another generation", func() bool { return s.metric("hostler_generation", "") == 2 })
			var exception, refused map[string]any
			s.eventually("what is logged", func() bool {
				b, _ := os.ReadFile(path)
				for line := range strings.Lines(string(b)) {
					var r map[string]any
					if err := json.Unmarshal([]byte(line), &r); err != nil || r["level"] == nil || r["msg"] == nil || r["time"] == nil {
						t.Fatalf("%q: %v", line, err)
					}
					switch text, _ := r["text"].(string); {
					case strings.Contains(text, raised):
						exception = r
					case r["msg"] == "request refused":
						refused = r
					}
				}
				return exception != nil && refused != nil
			})
			if exception["msg"] != "the application raised on GET /exception" || exception["worker"] != 1.0 || exception["pid"] == nil || exception["level"] != "ERROR" {
				t.Errorf("%v", exception)
			}
			if refused["worker"] != 1.0 || refused["pid"] == nil || refused["level"] != "WARN" || refused["reason"] != "missing_host" {
				t.Errorf("%v", refused)
			}
		})
	}
	t.Run("journal", func(t *testing.T) {
		s := launch(t, "--log-format", "journal", "rules:app")
		s.eventually("the server", s.ready)
		s.get("/exception")
		s.waitLog("<3>ValueError: " + raised)
		s.signal(syscall.SIGTERM)
		<-s.exited
		for line := range strings.Lines(s.log.String()) {
			if !regexp.MustCompile(`^<[3467]>.*\n$`).MatchString(line) {
				t.Errorf("%q has no priority", line)
			}
		}
	})
	t.Run("text", func(t *testing.T) {
		s := launch(t, "--log-format", "text", "rules:app")
		s.waitLog("serving app=rules:app ")
		if log := s.log.String(); !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO   serving app=rules:app `).MatchString(log) || strings.Contains(log, "\x1b") {
			t.Errorf("%q", log)
		}
	})
}
