package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil { // where daemons are, and not every user's PATH leads
		path = filepath.Join("/usr/sbin", name)
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%s is missing: run make tools", name)
	}
	return path
}

// TestPrometheus lets a real Prometheus scrape hostler over a worker's death and
// a reload.
func TestPrometheus(t *testing.T) {
	prometheus, promtool := tool(t, "prometheus"), tool(t, "promtool")
	s := start(t, "-w", "2", "rules:app")
	dir := t.TempDir()
	config := fmt.Sprintf("scrape_configs:\n- job_name: hostler\n  scrape_interval: 1s\n  static_configs:\n  - targets: [%q]\n", s.admin)
	if err := os.WriteFile(filepath.Join(dir, "p.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := exec.Command(prometheus, "--config.file="+dir+"/p.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+addr)
	out := new(logBuffer)
	p.Stdout, p.Stderr = out, out
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		_ = p.Wait()
	}()
	query := func(q string) string {
		r, err := client.Get("http://" + addr + "/api/v1/query?query=" + q)
		if err != nil {
			return ""
		}
		defer r.Body.Close()
		b := make([]byte, 64<<10)
		n, _ := r.Body.Read(b)
		return string(b[:n])
	}
	for range 42 {
		s.get("/hello")
	}
	s.eventually("42 requests in Prometheus", func() bool {
		return strings.Contains(query("sum(hostler_requests_total)"), `"42"]`)
	})
	if err := syscall.Kill(s.workers()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.waitLog("worker died")
	s.signal(syscall.SIGHUP)
	s.waitLog("cause=reload")
	for range 8 {
		s.get("/hello")
	}
	s.eventually("50 requests in Prometheus", func() bool {
		return strings.Contains(query("sum(hostler_requests_total)"), `"50"]`)
	})
	time.Sleep(1200 * time.Millisecond)
	if q := query("sum(resets(hostler_requests_total[1m]))"); !strings.Contains(q, `"0"]`) {
		t.Errorf("counters went back: %s", q)
	}
	_, text := fetch(t, "http://"+s.admin+"/metrics")
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if b, err := check.CombinedOutput(); err != nil || len(b) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, b)
	}
}
