package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
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

// Set-ups as they are published for Gunicorn, moved by writing hostler for gunicorn in the
// command, and run by the tools that they are for. (What systemd does for a unit, its sockets,
// its notices and its reload, is systemd_test.go's.)

const shopWSGI = `
import os
def application(environ, start_response):
    start_response('200 OK', [])
    return [('%s %s %d' % (environ['wsgi.url_scheme'], os.environ.get('SHOP', '-'), os.getppid())).encode()]
`

// movedIn replaces the word.
func movedIn(command string) string { return strings.ReplaceAll(command, "gunicorn", "hostler") }

// installed returns the variable PATH of an environment with hostler.
func installed(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(binary, bin+"/hostler"); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + bin + ":" + filepath.Dir(venv) + ":" + os.Getenv("PATH")
}

// runner returns a program of those that run servers.
func runner(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../build/peers/bin/" + name)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	return path
}

// TestProcfile: Heroku's and its like, by honcho, which gives PORT.
func TestProcfile(t *testing.T) {
	for name, web := range map[string]string{
		"Django": "gunicorn shop.wsgi --log-file -",
		"Flask":  "gunicorn --workers=2 --threads 4 --access-logfile - --preload shop.wsgi:application",
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			dir := write(t, t.TempDir(), map[string]string{
				"Procfile": "web: " + movedIn(web) + "\n", ".env": "SHOP=open\n", "shop/__init__.py": "", "shop/wsgi.py": shopWSGI,
			})
			s := launchBy(t, exec.Command("env", "PORT="+strconv.Itoa(port), "WEB_CONCURRENCY=1", installed(t), runner(t, "honcho"), "start"), dir)
			s.addr = fmt.Sprintf("127.0.0.1:%d", port)
			s.waitLog("msg=serving")
			if code, body := s.get("/"); code != 200 || !strings.HasPrefix(body, "http open ") {
				t.Errorf("%d %q", code, body)
			}
			s.signal(syscall.SIGTERM)
			<-s.exited
			s.waitLog("msg=stopped")
		})
	}
}

// cookiecutterSettings has what counts of a project's that cookiecutter-django has made:
// everything is redirected to https, unless the proxy says that it is.
const cookiecutterSettings = `
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "config.urls"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
`

// TestCookiecutterDjango: its start script, behind a proxy in another container.
func TestCookiecutterDjango(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	app := write(t, t.TempDir(), map[string]string{
		"config/__init__.py": "", "config/settings.py": cookiecutterSettings,
		"config/urls.py": "from django.http import HttpResponse\nfrom django.urls import path\nurlpatterns = [path('', lambda request: HttpResponse(request.scheme))]\n",
		"config/wsgi.py": "import os\nfrom django.core.wsgi import get_wsgi_application\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings')\napplication = get_wsgi_application()\n",
	})
	script := write(t, t.TempDir(), map[string]string{"start": "#!/bin/bash\n\nset -o errexit\nset -o pipefail\nset -o nounset\n\nexec " +
		movedIn("gunicorn config.wsgi --bind "+addr+" --chdir="+app) + "\n"})
	s := launchBy(t, exec.Command("env", installed(t), "bash", script+"/start"), script)
	s.waitLog("msg=serving")
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}} // nobody in --forwarded-allow-ips
	c := &http.Client{
		Transport:     &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for proto, want := range map[string]string{"https": "200 https", "http": "301 "} {
		r, err := http.NewRequest("GET", "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-Proto", proto)
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if got := fmt.Sprintf("%d %s", answer.StatusCode, b); got != want {
			t.Errorf("the proxy says %s: %q, want %q", proto, got, want)
		}
	}
	s.waitLog("not trusted") // and how that is changed
}

// TestDockerfileCommand: the exec form of CMD, as process 1 with a container's environment.
func TestDockerfileCommand(t *testing.T) {
	const dockerfile = `
FROM python:3.13-slim
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir -r requirements.txt
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "--workers", "2", "--worker-tmp-dir", "/dev/shm", "shop.wsgi:application"]
`
	var command []string
	if err := json.Unmarshal([]byte(regexp.MustCompile(`(?m)^CMD (.*)$`).FindStringSubmatch(movedIn(dockerfile))[1]), &command); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	command[slices.Index(command, "0.0.0.0:8000")] = fmt.Sprintf("0.0.0.0:%d", port)
	dir := write(t, t.TempDir(), map[string]string{"shop/__init__.py": "", "shop/wsgi.py": shopWSGI})
	as := []string{"--fork", "--pid", "--mount-proc", "--kill-child"}
	if os.Getuid() != 0 {
		as = append(as, "--user", "--map-root-user")
	}
	s := launchBy(t, exec.Command("unshare", slices.Concat(as, []string{"env", "-i", installed(t), "HOME=/root"}, command)...), dir)
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	s.waitLog("msg=serving")
	if code, body := s.get("/"); code != 200 || body != "http - 1" {
		t.Errorf("%d %q", code, body)
	}
	pid := s.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil { // docker stop
		t.Fatal(err)
	}
	<-s.exited
	s.waitLog("msg=stopped")
}

// TestSupervisor: the program of Gunicorn's documentation, with its settings file.
func TestSupervisor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("supervisor changes users as root only")
	}
	const section = `
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=DIR/supervisord.pid
user=root

[unix_http_server]
file=DIR/ctl

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://DIR/ctl

[program:gunicorn]
command=gunicorn shop.wsgi:application -c DIR/gunicorn.conf.py --python /usr/bin/python3
directory=DIR
user=nobody
autostart=true
autorestart=true
redirect_stderr=true
stdout_logfile=DIR/out
environment=SHOP="supervised"
`
	dir, err := os.MkdirTemp("/var/tmp", "hostler-") // others may look into it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := strings.ReplaceAll(strings.Replace(section, "command=gunicorn ", "command="+binary+" ", 1), "DIR", dir)
	write(t, dir, map[string]string{
		"shop/__init__.py": "", "shop/wsgi.py": shopWSGI, "supervisord.conf": config,
		"gunicorn.conf.py": fmt.Sprintf("bind = %q\nworkers = 2\naccesslog = '-'\n", addr),
	})
	for _, path := range []string{dir, dir + "/shop", dir + "/shop/__init__.py", dir + "/shop/wsgi.py", dir + "/gunicorn.conf.py"} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := launchBy(t, exec.Command(runner(t, "supervisord"), "-c", dir+"/supervisord.conf"), dir)
	s.addr = addr
	master := func() (pid int) {
		if r, err := client.Get("http://" + addr + "/"); err == nil {
			defer r.Body.Close()
			b, _ := io.ReadAll(r.Body)
			if _, err := fmt.Sscanf(string(b), "http supervised %d", &pid); err != nil {
				t.Errorf("%s", b)
			}
		}
		return pid
	}
	was := 0
	s.eventually("an answer", func() bool { was = master(); return was != 0 })
	ctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(runner(t, "supervisorctl"), append([]string{"-c", dir + "/supervisord.conf"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v, %s", args, err, out)
		}
		return string(out)
	}
	ctl("signal", "HUP", "gunicorn")
	s.eventually("a reload", has(dir+"/out", "msg=reloaded", `"GET / HTTP/1.1" 200`))
	if got := master(); got != was {
		t.Errorf("the master was %d, and after a reload is %d", was, got)
	}
	ctl("restart", "gunicorn")
	s.eventually("an answer of another master", func() bool { pid := master(); return pid != 0 && pid != was })
	if out := ctl("status"); !strings.Contains(out, "RUNNING") {
		t.Errorf("%s", out)
	}
	s.signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		t.Error("supervisor waits for it")
	}
}
