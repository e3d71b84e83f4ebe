package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// startPrometheus has a real Prometheus scrape these once a second, and returns what asks it.
func startPrometheus(t *testing.T, targets ...string) func(query string) string {
	t.Helper()
	dir := t.TempDir()
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("scrape_configs:\n- job_name: hostler\n  scrape_interval: 1s\n  static_configs:\n  - targets: %s\n", list)
	if err := os.WriteFile(filepath.Join(dir, "p.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := exec.Command(tool(t, "prometheus"), "--config.file="+dir+"/p.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+addr)
	out := new(logBuffer)
	p.Stdout, p.Stderr = out, out
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		_ = p.Wait()
	})
	return func(query string) string {
		r, err := client.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return ""
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what is cut is not what is looked for
		return string(b)
	}
}

// TestPrometheus lets a real Prometheus scrape hostler over a worker's death and
// a reload.
func TestPrometheus(t *testing.T) {
	promtool := tool(t, "promtool")
	s := start(t, "-w", "2", "rules:app")
	query := startPrometheus(t, s.admin)
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

// TestOpenMetrics: who asks for OpenMetrics gets it, with the same figures, as a parser of
// that format and a real Prometheus, which asks for it, take it.
func TestOpenMetrics(t *testing.T) {
	s := start(t, "-w", "2", "counted:app")
	query := startPrometheus(t, s.admin)
	s.counts("/work?seed=1", 4)
	s.counts("/count", 7)
	texts := make(map[string]string)
	for format, accept := range map[string]string{"plain": "text/plain", "open": "application/openmetrics-text; version=1.0.0"} {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.admin+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		r, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if texts[format] = string(b); err != nil || r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), accept) {
			t.Fatalf("%s: %v, %s %v", format, err, r.Status, r.Header)
		}
	}
	input, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(venv, filepath.Join(apps, "counted.py"), "formats")
	cmd.Stdin, cmd.Dir = strings.NewReader(string(input)), apps
	out, err := cmd.CombinedOutput()
	if n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(string(out)), " samples")); err != nil || n < 300 {
		t.Errorf("%v\n%s", err, out)
	}
	s.eventually("the count in Prometheus", func() bool { return strings.Contains(query("requests_seen_total"), `"7"]`) })
	created := fmt.Sprintf("requests_seen_created > %d < time() + 60", time.Now().Add(-time.Hour).Unix()) // nothing else has it
	s.eventually("since when it is counted", func() bool { return strings.Contains(query(created), `"value":[`) })
	s.eventually("a bucket", func() bool { return strings.Contains(query(`sum(took_seconds_bucket{le="1.0"}) > 0`), `"value":[`) })
}

// TestDashboard: no chart of the dashboard is empty, of a server that has something to do.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../deploy/grafana/hostler.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	busy := start(t, "-w", "2", "rules:app")
	secured := start(t, append(newPair(t, t.TempDir(), "a.example", 1).args(), "counted:app")...) // one with everything else
	query := startPrometheus(t, busy.admin, secured.admin)
	busy.eventually("the first scrapes", func() bool { return strings.Contains(query("count(hostler_generation)"), `"2"]`) })
	busy.signal(syscall.SIGHUP)
	concrete := strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "1m")
	n := 0
	check := func(title, expr string) {
		n++
		answer := ""
		busy.eventually(title+": "+expr, func() bool {
			busy.get("/hello")
			answer = query(concrete.Replace(expr))
			return strings.Contains(answer, `"status":"success"`) && strings.Contains(answer, `"value":[`)
		})
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
		}
	}
	for _, a := range board.Annotations.List {
		check("reloads", a.Expr)
	}
	if n < 30 {
		t.Errorf("only %d queries", n)
	}
}

// TestAutoscaling: what deploy/kubernetes scales by says of a real server that nobody waits for
// one, and how many do when there are too many.
func TestAutoscaling(t *testing.T) {
	text, err := os.ReadFile("../deploy/kubernetes/autoscaling.yaml")
	if err != nil {
		t.Fatal(err)
	}
	queries := make(map[string]string)
	for _, trigger := range strings.Split(string(text), "name: ")[1:] {
		name, rest, _ := strings.Cut(trigger, "\n")
		if _, query, ok := strings.Cut(rest, "query: '"); ok {
			query, _, _ = strings.Cut(query, "'\n")
			// Here is no cluster that would say whose the series are, nor a minute to wait for.
			queries[name] = strings.NewReplacer("[1m]", "[10s]", "by (pod)", "by (instance)", `namespace="default", pod=~"shop-[a-z0-9]+-[a-z0-9]+", `, "", `namespace="default", pod=~"shop-[a-z0-9]+-[a-z0-9]+"`, "").Replace(query)
		}
	}
	if len(queries) != 2 || strings.Contains(fmt.Sprint(queries), "default") {
		t.Fatalf("the queries are %q", queries)
	}
	// A pod, and another one of the same size.
	busy, idle := start(t, "-w", "1", "--threads", "2", "wire:app"), start(t, "-w", "1", "--threads", "2", "wire:app")
	query := startPrometheus(t, busy.admin, idle.admin)
	value := func(name string) float64 {
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if json.Unmarshal([]byte(query(queries[name])), &answer) != nil || len(answer.Data.Result) != 1 {
			return -1
		}
		text, _ := answer.Data.Result[0].Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return -1
		}
		return v
	}
	busy.eventually("nobody to wait", func() bool { return value("waiting") == 0 && value("busy") == 0 })
	stop := make(chan struct{})
	result := busy.load(8, "/sleep?0.2", stop)
	// Two run and six wait.
	busy.eventually("more than three to wait", func() bool { return value("waiting") > 3 })
	busy.eventually("one pod to be busy, of the two", func() bool { v := value("busy"); return v > 0.7 && v < 1.1 })
	close(stop)
	(<-result).check(t, 10)
}
