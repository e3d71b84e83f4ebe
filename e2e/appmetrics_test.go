package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// counts asks for a path n times, and returns who answered.
func (s *server) counts(path string, n int) (pids []int) {
	s.t.Helper()
	for range n {
		status, text := s.get(path)
		pid, err := strconv.Atoi(text)
		if status != 200 || err != nil {
			s.t.Fatalf("%s: %d %s", path, status, text)
		}
		pids = append(pids, pid)
	}
	return pids
}

// die has a worker killed in a request, which counts.
func (s *server) die() {
	s.t.Helper()
	if r, err := client.Get("http://" + s.addr + "/die"); err == nil {
		r.Body.Close()
		s.t.Fatalf("the worker lives: %s", r.Status)
	}
}

// TestAppMetrics holds what /metrics makes of the work of three workers, one of which is
// killed, against what the library's own collector makes of the same work.
func TestAppMetrics(t *testing.T) {
	for _, args := range [][]string{{"-w", "3"}, {"-w", "3", "--preload", "--threads", "2"}} {
		s := start(t, append(args, "counted:app")...)
		type task struct {
			Plan [][2]int `json:"plan"`
			Dead []int    `json:"dead"`
			Text string   `json:"text"`
		}
		var do task
		pids := make(map[int]bool)
		for seed := 0; len(pids) < 3 || seed < 30; seed++ {
			if seed > 2000 {
				t.Fatal("the workers do not take turns")
			}
			pid := s.counts(fmt.Sprintf("/work?seed=%d", seed), 1)[0]
			pids[pid] = true
			do.Plan = append(do.Plan, [2]int{pid, seed})
		}
		dead := do.Plan[0][0]
		if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.waitLog("msg=\"worker died\"")
		s.eventually("its successor", func() bool { return s.metric("hostler_workers", `state="serving"`) == 3 })
		do.Dead = []int{dead}
		_, do.Text = fetch(t, "http://"+s.admin+"/metrics")
		input, err := json.Marshal(do)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(venv, filepath.Join(apps, "counted.py"), "compare")
		cmd.Stdin, cmd.Dir = strings.NewReader(string(input)), apps
		out, err := cmd.CombinedOutput()
		if n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(string(out)), " samples")); err != nil || n < 300 {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		if !strings.Contains(do.Text, `took_seconds_bucket{a="x",le="1.0"}`) {
			t.Error("a bucket's bound is not written as the library does")
		}
		s.stop()
	}
}

// TestAppMetricsKills: nothing that has been counted is lost or counted twice, however
// workers end, and no counter ever goes back.
func TestAppMetricsKills(t *testing.T) {
	for _, args := range [][]string{{"-w", "2"}, {"-w", "2", "--preload"}, {"-w", "2", "--threads", "4", "--max-requests", "7"}} {
		s := start(t, append(args, "counted:app")...)
		want, last := 0.0, 0.0
		look := func() {
			t.Helper()
			now := s.metric("requests_seen_total", "")
			if now < last {
				t.Fatalf("%v: the counter went from %v to %v", args, last, now)
			}
			last = now
		}
		for i := range 12 {
			s.counts("/count", 5)
			want += 5
			look()
			s.die()
			want++
			look()
			if i == 5 {
				s.signal(syscall.SIGHUP)
				s.waitLog("msg=reloaded")
			}
		}
		s.counts("/fork", 3)
		want += 3 // and not what the child has counted
		look()
		s.eventually("the counter", func() bool { return s.metric("requests_seen_total", "") >= want })
		if last = s.metric("requests_seen_total", ""); last != want {
			t.Errorf("%v: %v requests were counted, not %v", args, last, want)
		}
		if n := s.metric("shop_users_total", `id="child"`); n != 0 {
			t.Errorf("a child's own series is shown: %v", n)
		}
		s.stop()
	}
}

// TestAppMetricsPreload: what is counted at import is counted once; a gauge that is set
// there is in every worker.
func TestAppMetricsPreload(t *testing.T) {
	s := start(t, "-w", "2", "--preload", "counted:app")
	want := map[string]float64{"imports_total": 1, "setting": 42}
	for name, v := range want {
		if got := s.metric(name, ""); got != v {
			t.Errorf("%s is %v, not %v", name, got, v)
		}
	}
	s.die()
	s.waitLog("msg=\"worker died\"")
	s.eventually("the gauge in the worker that is forked late", func() bool { return s.metric("setting", "") == 42 })
	if got := s.metric("imports_total", ""); got != 1 {
		t.Errorf("imported %v times", got)
	}
	fresh := start(t, "-w", "2", "counted:app")
	if got := fresh.metric("imports_total", ""); got != 2 {
		t.Errorf("without a mold imported %v times", got)
	}
}

// TestAppMetricsReload: gauges of what is no more deployed go, counters stay.
func TestAppMetricsReload(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "hostler.toml")
	write := func(version string) {
		if err := os.WriteFile(conf, []byte(`env = ["SHOP_VERSION=`+version+"\"]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("v1")
	s := start(t, "-w", "2", "--config", conf, "counted:app")
	s.counts("/count", 10)
	if s.metric("shop_version", `"v1"`) != 1 {
		t.Error("there is no gauge")
	}
	write("v2")
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	s.eventually("the old gauge's end", func() bool { return s.metric("shop_version", `"v1"`) == 0 })
	if s.metric("shop_version", `"v2"`) != 1 || s.metric("requests_seen_total", "") != 10 {
		t.Errorf("the new gauge is %v, the counter %v", s.metric("shop_version", `"v2"`), s.metric("requests_seen_total", ""))
	}
}

// TestAppMetricsSeries: labels without end are bounded and named, and what else there is
// goes on; a gauge's series can be removed; a counter that is set back does not dip.
func TestAppMetricsSeries(t *testing.T) {
	s := start(t, "-w", "1", "counted:app")
	s.counts("/users?n=40000&of=a", 1)
	s.counts("/count", 3)
	s.counts("/new", 1)
	if n := s.metric("shop_users_total", ""); n < 20000 || n > 33000 {
		t.Errorf("%v users are shown", n)
	}
	if s.metric("requests_seen_total", "") != 3 || s.metric("new_family", "") != 7 {
		t.Errorf("others: %v, %v", s.metric("requests_seen_total", ""), s.metric("new_family", ""))
	}
	s.waitLog("metric=shop_users", 1)
	if s.metric("hostler_app_metrics_left_out_total", `"limit"`) == 0 {
		t.Error("what is left out is not counted")
	}
	s.counts("/users?n=40000&of=b", 1)
	if s.metric("hostler_app_metrics_unrecorded_values", "") == 0 {
		t.Error("a worker has room without end")
	}
	rooms := func() int {
		all, err := s.series()
		if err != nil {
			t.Fatal(err)
		}
		if v, there := all[`rooms{name="blue"}`]; there {
			return int(v)
		}
		return -1
	}
	for _, step := range []struct {
		path string
		want int
	}{{"/room", 5}, {"/room", 10}, {"/no-room", -1}, {"/room", 5}} {
		if s.counts(step.path, 1); rooms() != step.want {
			t.Errorf("%s: the gauge is %d, not %d", step.path, rooms(), step.want)
		}
	}
	if status, text := s.get("/reset"); status != 200 || text != "0.0" {
		t.Errorf("a counter that is set back: %d %s", status, text)
	}
	if got := s.metric("requests_seen_total", ""); got != 5 {
		t.Errorf("the exported counter is %v", got)
	}
}

// TestAppMetricsValues: in a signal's handler metrics do no harm; with odd amounts they
// do what the library's own do.
func TestAppMetricsValues(t *testing.T) {
	s := start(t, "-w", "1", "counted:app")
	if status, text := s.get("/in-handler"); status == 200 {
		if ticks, _ := strconv.Atoi(text); ticks == 0 || s.metric("requests_seen_total", "") != float64(ticks) {
			t.Errorf("%s ticks, %v counted", text, s.metric("requests_seen_total", ""))
		}
	} else {
		t.Errorf("%d %s", status, text)
	}
	_, text := s.get("/odd")
	var both [2]json.RawMessage
	if err := json.Unmarshal([]byte(text), &both); err != nil || string(both[0]) != string(both[1]) {
		t.Errorf("%v\n%s\n%s", err, both[0], both[1])
	}
}

// TestAppMetricsOff: nobody touches the library where it is switched off, or the user has
// it in hand.
func TestAppMetricsOff(t *testing.T) {
	for _, c := range []struct {
		arg  string
		says string
	}{
		{"--app-metrics=false", ""},
		{"--env=PROMETHEUS_MULTIPROC_DIR=" + t.TempDir(), "PROMETHEUS_MULTIPROC_DIR is set"},
		{"--env=PROMETHEUS_VALUE_CLASS=prometheus_client.values.MutexValue", "PROMETHEUS_VALUE_CLASS is set"},
	} {
		s := start(t, "-w", "2", c.arg, "counted:app")
		s.counts("/count", 3)
		if n := s.metric("hostler_app_metrics_processes", "") + s.metric("requests_seen_total", ""); n != 0 {
			t.Errorf("%s: there are some", c.arg)
		}
		if n := strings.Count(s.log.String(), "own metrics are not in /metrics"); (c.says == "") != (n == 0) || n > 1 || !strings.Contains(s.log.String(), c.says) {
			t.Errorf("%s: said %d times:\n%s", c.arg, n, s.log.String())
		}
		s.stop()
	}
	s := start(t, "environ:app") // never imports it
	if n := s.metric("hostler_app_metrics_processes", ""); n != 0 {
		t.Errorf("%v processes share metrics that there are none of", n)
	}
	for _, pid := range s.workers() {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil || strings.Contains(string(maps), "app-metrics") {
			t.Errorf("memory for metrics is mapped (%v)", err)
		}
	}
}

// TestAppMetricsAsNobody: the workers are another user's.
func TestAppMetricsAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has workers that are somebody else")
	}
	dir, err := os.MkdirTemp("/var/tmp", "hostler-") // others may look into it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	where, err := exec.Command(venv, "-c", "import os, prometheus_client; print(os.path.dirname(prometheus_client.__file__))").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(apps, "counted.py"))
	if err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(dir+"/counted.py", text, 0o644),
		os.CopyFS(dir+"/prometheus_client", os.DirFS(strings.TrimSpace(string(where))))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--preload"}} {
		admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		s := launchBare(t, append([]string{"--admin-bind", admin, "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody", "-w", "2"}, append(args, "counted:app")...)...)
		s.admin = admin
		s.waitLog("msg=serving")
		s.counts("/count", 10)
		s.die()
		s.eventually("the counter", func() bool { return s.metric("requests_seen_total", "") == 11 })
		s.stop()
	}
}

// TestAppMetricsForged: a worker that shares what it should not, and writes nonsense to
// what it shares, harms its own figures only.
func TestAppMetricsForged(t *testing.T) {
	s := start(t, "-w", "2", "counted:app")
	seen := make(map[int]int)
	for len(seen) < 2 {
		seen[s.counts("/count", 1)[0]]++
	}
	master := s.metric("process_open_fds", "")
	forger := s.counts("/forge", 1)[0]
	s.eventually("a word of it", func() bool { return s.metric("hostler_app_metrics_left_out_total", `"damaged"`) >= 2 })
	others := 0
	for pid, n := range seen {
		if pid != forger {
			others = n
		}
	}
	for range 3 {
		if got := s.metric("requests_seen_total", ""); got < float64(others) {
			t.Errorf("%v requests were counted, where the other worker has had %d", got, others)
		}
	}
	if got := s.metric("process_open_fds", ""); got > master+2 { // those of scrapes
		t.Errorf("the master had %v descriptors, and has %v", master, got)
	}
	if err := syscall.Kill(forger, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.waitLog("msg=\"worker died\"")
	s.eventually("its successor", func() bool { return s.metric("hostler_app_metrics_processes", "") == 2 })
	if got := s.metric("requests_seen_total", ""); got < float64(others) {
		t.Errorf("%v requests were counted, where the other worker has had %d", got, others)
	}
}

// TestAppMetricsUpgrade: they begin again with a new binary, as the server's own do.
func TestAppMetricsUpgrade(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-w", "2", "-p", pidfile, "counted:app")
	s.successor(pidfile)
	s.counts("/count", 10)
	before := s.metric("hostler_upgrades_total", "")
	s.signal(syscall.SIGUSR2)
	s.eventually("the new master's counters", func() bool {
		all, err := s.series()
		return err == nil && all["requests_seen_total"] == 0 && all["hostler_app_metrics_processes"] == 2
	})
	s.counts("/count", 4)
	if got := s.metric("requests_seen_total", ""); got != 4 || before != 0 {
		t.Errorf("%v requests were counted", got)
	}
}

// metricLine is a sample in the text format.
var metricLine = regexp.MustCompile(`(?m)^[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? (\S+)$`)

// TestAppMetricsText: the whole answer is text that Prometheus' own tool takes, plain and
// compressed.
func TestAppMetricsText(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed: run `make tools`")
	}
	s := start(t, "-w", "2", "counted:app")
	s.counts("/work?seed=1", 4)
	_, text := fetch(t, "http://"+s.admin+"/metrics")
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	out, _ := cmd.CombinedOutput() // it finds names that it would not have chosen
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if bad := slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, "error while linting") }); len(bad) > 0 {
		t.Errorf("%s", out)
	}
	for _, line := range strings.Split(text, "\n") {
		if line != "" && line[0] != '#' && !metricLine.MatchString(line) {
			t.Errorf("%q", line)
		}
	}
}

// TestAppMetricsCollected: what has no value until somebody asks is asked for at a scrape:
// each worker for what is its own, one of them for what all would say alike.
func TestAppMetricsCollected(t *testing.T) {
	for _, args := range [][]string{{"collected:app"}, {"--preload", "--threads", "3", "collected:app"}, {"collected:async_app"}, {"--loop", "gevent", "collected:app"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if slices.Contains(args, "gevent") {
				args = greenArgs(t, "collected:app")
			}
			s := start(t, append([]string{"-w", "2", "--max-requests", "0"}, args...)...)
			s.counts("/order", 20)
			text := s.collected(t)
			for line, want := range map[string]int{
				"pool 6": 1, `handles{kind="pid",worker="1"} `: 1, `handles{kind="pid",worker="2"} `: 1, "seen_total 20": 1,
				`shop_info{version="1.2"} 1`: 1, `mood{mood="bad"} 1`: 1, `mood{mood="good"} 0`: 1,
				`queue_depth{queue="always"} 7`: 1, `queue_depth{queue="look `: 1, "queue_done_total 100": 1,
				`queue_age_bucket{le="2.5"} 5`: 1, "queue_age_count 6": 1, "queue_age_sum 9": 1, "before 1": 1, "python_info{": 1,
			} {
				if n := strings.Count(text, "\n"+line); n != want {
					t.Errorf("%q: %d times in\n%s", line, n, text)
				}
			}
			if n := s.metric("orders_total", ""); n != 20 {
				t.Errorf("%v orders", n)
			}
			if n := strings.Count(s.log.String(), "RuntimeError: broken collector"); n != 1 {
				t.Errorf("said %d times:\n%s", n, s.log.String())
			}
			// Who dies keeps what it has counted, as far as somebody has looked.
			s.die()
			s.eventually("its successor", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
			s.eventually("all of it", func() bool {
				text := s.collected(t)
				return strings.Contains(text, "\npool 6\n") && strings.Count(text, `queue_depth{queue="look `) == 1 && s.metric("orders_total", "") == 20
			})
			// Who leaves has been looked at before.
			s.counts("/order", 5)
			s.signal(syscall.SIGHUP)
			s.eventually("the next generation", func() bool { return s.metric("hostler_generation", "") == 2 && s.metric("hostler_workers", "") == 2 })
			s.eventually("what the last one has counted", func() bool { return s.metric("orders_total", "") == 25 })
			// A collector that does not come back keeps nobody from anything: the other
			// worker answers for all.
			teller := regexp.MustCompile(`handles\{kind="pid",worker="3"\} (\d+)`).FindStringSubmatch(s.collected(t))
			if teller == nil || !slices.Contains(s.counts("/slow/"+teller[1], 200), atoi(t, teller[1])) {
				t.Fatalf("the worker %v was not met", teller)
			}
			for range 3 {
				s.collected(t)
			}
			if n := s.metric("queue_done_total", ""); n != 100 {
				t.Errorf("%v are done", n)
			}
			s.counts("/order", 5)
			s.stop()
		})
	}
}

// TestAppMetricsStuckAtTheEnd: a callback of the application's that does not come back keeps
// no worker from leaving, when it is looked at for the last time.
func TestAppMetricsStuckAtTheEnd(t *testing.T) {
	for _, args := range [][]string{{"collected:app"}, {"--threads", "2", "collected:app"}, {"collected:async_app"}, {"--loop", "gevent", "collected:app"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if slices.Contains(args, "gevent") {
				args = greenArgs(t, "collected:app")
			}
			s := start(t, append([]string{"-w", "1", "--max-requests", "0", "--graceful-timeout", "30"}, args...)...)
			s.get("/order")
			if text := s.collected(t); !strings.Contains(text, "\nstock") {
				t.Errorf("no stock in\n%s", text)
			}
			s.get("/stuck")
			s.signal(syscall.SIGTERM)
			<-s.exited
			if log := s.log.String(); strings.Contains(log, "killed") || !strings.Contains(log, "cause=stopped status=exit:0") {
				t.Errorf("it did not leave by itself:\n%s", log)
			}
		})
	}
}

// collected is a scrape for which workers are asked: they are once a second.
func (s *server) collected(t *testing.T) string {
	t.Helper()
	time.Sleep(1100 * time.Millisecond)
	_, text := fetch(t, "http://"+s.admin+"/metrics")
	return text
}
