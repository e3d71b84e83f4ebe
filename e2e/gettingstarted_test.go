package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGettingStarted does what docs/getting-started.md says, with what stands there: the
// application, the file of settings, the commands but for the installation, which make
// test-install has.
func TestGettingStarted(t *testing.T) {
	page, err := os.ReadFile("../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		m := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(page)
		if m == nil {
			t.Fatalf("the page has no block of %s", kind)
		}
		return string(m[1])
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("app.py", block("python"))
	hello := func(s *server) {
		s.waitLog("msg=serving")
		if status, body := s.get("/"); status != 200 || body != "Hello!\n" {
			t.Errorf("%d %q", status, body)
		}
	}
	base := []string{"--python", venv, "--admin-bind", "off"}

	hello(launchBareIn(t, dir, append(base, "app:app")...))

	s := launchBareIn(t, dir, append(base, "--reload", "app:app")...)
	hello(s)
	write("app.py", strings.Replace(block("python"), "Hello!", "Hello again!", 1))
	s.eventually("the new code", func() bool { _, body := s.get("/"); return body == "Hello again!\n" })
	write("app.py", block("python"))

	// What is on the command line can be in the file, but for the port, which is taken.
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	toml := block("toml")
	if !strings.Contains(toml, `"0.0.0.0:8000"`) {
		t.Fatalf("another address in\n%s", toml)
	}
	write("hostler.toml", strings.Replace(toml, "0.0.0.0:8000", addr, 1))
	check := exec.Command(binary, "check", "--python", venv)
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("hostler check: %v\n%s", err, out)
	}
	s = launchIn(t, dir, base...)
	s.addr = addr
	hello(s)
	s.waitLog("workers=4 threads=4")
	s.waitLog(`"GET / HTTP/1.1" 200`)
}
