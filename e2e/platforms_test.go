package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPlatforms starts hostler as docs/heroku.md, fly.md and cloud-run.md do, with what these give
// it: variables, or the arguments behind those of the image.
func TestPlatforms(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	part := func(name, pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(read(name))
		if m == nil {
			t.Fatalf("%s has no %s", name, pattern)
		}
		return m[1]
	}
	var image []string
	if err := json.Unmarshal([]byte(part("../deploy/container/app.Dockerfile", `(?m)^ENTRYPOINT (\[.*\])$`)), &image); err != nil {
		t.Fatal(err)
	}
	image = image[1:len(image):len(image)]
	heroku := part("../docs/heroku.md", "(?s)```toml\n(.*?)```")
	fly := strings.NewReplacer(" = ", "=", `"`, "").Replace(part("../docs/fly.md", `(?s)\n\[env\]\n(.*?)\n\n`))
	run := strings.Split(part("../docs/cloud-run.md", `--args=(\S+)`), ",")
	for name, c := range map[string]struct {
		args []string
		env  string
		file string
		says string // what the log has of them
	}{
		"heroku":    {nil, "WEB_CONCURRENCY=3", heroku, "workers=3 threads=4"},
		"fly":       {append(image, "app:app"), fly, "", "threads=4"},
		"cloud run": {append(image, run...), part("../docs/cloud-run.md", `--set-env-vars=(\S+)`), "", "threads=4"},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			// The ports are taken here, and the paths are a container's.
			args := []string{binary, "--python", venv}
			here := map[string]string{"0.0.0.0:8000": addr, "0.0.0.0:9191": fmt.Sprintf("127.0.0.1:%d", freePort(t)), "/tmp/hostler.sock": t.TempDir() + "/ctl"}
			for _, a := range c.args {
				if other, ok := here[a]; ok {
					a = other
				}
				args = append(args, a)
			}
			dir := t.TempDir()
			for name, text := range map[string]string{"hostler.toml": c.file, "app.py": "from rules import app\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			env := append(strings.Fields(c.env), fmt.Sprintf("PORT=%d", port), "PYTHONPATH="+apps)
			s := launchBy(t, exec.Command("env", append(env, args...)...), dir)
			s.addr = addr
			s.waitLog("msg=serving")
			if status, body := s.get("/hello"); status != 200 {
				t.Errorf("%d %q", status, body)
			}
			s.waitLog(c.says)
			ask := exec.Command("env", append(env, append(args, "--print-config")...)...)
			ask.Dir = dir
			set, err := ask.Output()
			if err != nil || !strings.Contains(string(set), "graceful_timeout = ") || !strings.Contains(string(set), "forwarded_allow_ips = ") {
				t.Errorf("the settings are %v\n%s", err, set)
			}
		})
	}
}
