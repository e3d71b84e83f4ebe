// Package deploy tests that the files in this folder are what their real tools
// take.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs a tool; one that is missing fails the test.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run make tools", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestSystemdUnit(t *testing.T) {
	run(t, "systemd-analyze", "verify", "--man=no", "systemd/hostler.service")
}

func TestPrometheus(t *testing.T) {
	run(t, "promtool", "check", "config", "prometheus/hostler.yml")
	run(t, "promtool", "check", "rules", "prometheus/rules.yml")
}

func TestNginxSite(t *testing.T) {
	dir := t.TempDir()
	site, err := filepath.Abs("nginx/hostler.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := "pid " + dir + "/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\ninclude " + site + ";\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nginx", "-t", "-q", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
}
