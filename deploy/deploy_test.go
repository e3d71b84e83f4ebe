package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// run runs a tool and returns what it says; one that is missing fails the test.
func run(t *testing.T, name string, args ...string) string {
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
	return string(out)
}

func TestSystemdUnits(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"hostler.service", "hostler.socket"} {
		unit, err := os.ReadFile(filepath.Join("systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "hostler.service" {
			// systemctl reload asks the server that ExecStart starts.
			const socket = " /run/hostler/ctl.sock "
			if !regexp.MustCompile(`(?m)^ExecStart=.* --ctl-socket`+socket).Match(unit) || !regexp.MustCompile(`(?m)^ExecReload=.* --socket`+socket+`reload$`).Match(unit) {
				t.Error("the service is not reloaded through its own control socket")
			}
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, unit, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	// An unknown key is only a warning to systemd, and it exits with 0. Warnings
	// about other units of this machine are none of our business.
	for line := range strings.Lines(run(t, "systemd-analyze", append([]string{"verify", "--man=no"}, files...)...)) {
		if strings.Contains(line, "hostler.") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

// TestExposure: the services may do little, as their manager counts it.
func TestExposure(t *testing.T) {
	for _, name := range []string{"systemd/hostler.service", "packages/hostler.service", "packages/hostler@.service"} {
		unit, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), strings.Replace(filepath.Base(name), "@", "@shop", 1))
		if err := os.WriteFile(file, unit, 0o644); err != nil {
			t.Fatal(err)
		}
		out := run(t, "systemd-analyze", "security", "--offline=yes", "--no-pager", file)
		m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+) `).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("systemd-analyze says %s", out)
		}
		if level, err := strconv.ParseFloat(m[1], 64); err != nil || level >= 2 {
			t.Errorf("%s: the exposure is %s:\n%s", name, m[1], out)
		}
	}
}

func TestPrometheus(t *testing.T) {
	out := run(t, "promtool", "check", "config", "prometheus/hostler.yml")
	if !strings.Contains(out, "1 rule files found") {
		t.Errorf("the alert rules are not part of the configuration:\n%s", out)
	}
	run(t, "promtool", "check", "rules", "prometheus/rules.yml")
	// What deploy/compose has of it, as it is mounted there.
	dir := t.TempDir()
	for from, to := range map[string]string{"compose/prometheus.yml": "prometheus.yml", "prometheus/rules.yml": "rules.yml"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(t, "promtool", "check", "config", dir+"/prometheus.yml"); !strings.Contains(out, "1 rule files found") {
		t.Errorf("the alert rules are not part of compose's configuration:\n%s", out)
	}
}

// TestAlerts: each alert fires for what it is about, and none while all is well. Each says
// how bad it is, and what has happened.
func TestAlerts(t *testing.T) {
	run(t, "promtool", "test", "rules", "prometheus/rules_test.yml")
	rules, err := os.ReadFile("prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("prometheus/rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := strings.Split(string(rules), "- alert: ")[1:]
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, alert := range alerts {
		name, rest, _ := strings.Cut(alert, "\n")
		if !strings.Contains(rest, "labels: {severity: critical}") && !strings.Contains(rest, "labels: {severity: warning}") || !strings.Contains(rest, "summary: ") {
			t.Errorf("%s has no severity, or no summary", name)
		}
		if !strings.Contains(string(page), "\n## "+name+"\n") || !strings.Contains(rest, "runbook: docs/alerts.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s has no part of docs/alerts.md, or does not lead there", name)
		}
		fires, quiet := 0, 0
		for _, use := range strings.Split(string(tests), "alertname: ")[1:] {
			if used, rest, _ := strings.Cut(use, "\n"); used != name {
				continue
			} else if strings.HasPrefix(strings.TrimSpace(rest), "exp_alerts:") {
				fires++
			} else {
				quiet++
			}
		}
		if fires == 0 || quiet == 0 {
			t.Errorf("%s is tested to fire %d times, and to be quiet %d times", name, fires, quiet)
		}
	}
}

// TestPackagedUnits: the package's two units are one, but for the name of the application,
// and systemd takes both.
func TestPackagedUnits(t *testing.T) {
	dir := t.TempDir()
	var bodies, files []string
	for _, name := range []string{"hostler.service", "hostler@.service"} {
		unit, err := os.ReadFile(filepath.Join("packages", name))
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(unit), "[Unit]\n")
		body = strings.NewReplacer("server, %i\n", "server\n", "hostler/%i", "hostler/hostler").Replace(body)
		bodies = append(bodies, body)
		// It looks whether what is started is there.
		file := filepath.Join(dir, strings.Replace(name, "@", "@shop", 1))
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(unit), "/usr/bin/hostler", "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if bodies[0] != bodies[1] || !strings.Contains(bodies[0], "ExecStart=") {
		t.Errorf("the units differ:\n%s\n%s", bodies[0], bodies[1])
	}
	for line := range strings.Lines(run(t, "systemd-analyze", append([]string{"verify", "--man=no"}, files...)...)) {
		if strings.Contains(line, "hostler") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}
