package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const readyWSGI = `
import os
code = open(os.environ['CODE']).read().strip()
asked = []

def app(environ, start_response):
    if environ['PATH_INFO'] == '/health':
        os.write(1, b'is asked\n')
        now = open(os.environ['CODE']).read().strip()
        asked.append((environ['HTTP_HOST'], environ['REMOTE_ADDR'], environ['QUERY_STRING'], environ['SCRIPT_NAME']))
        if now == 'raise':
            raise RuntimeError('no database')
        if now == 'late' and len(asked) < 3:
            start_response('503 Service Unavailable', [])
            return [b'not yet']
        if now.startswith('5'):
            start_response(now + ' Bad', [])
            return iter([b'the database ', b'is away\nmore'])
    start_response('200 OK', [])
    return [('%s %s' % (code, asked)).encode()]
`

const readyASGI = `
import asyncio, os
code = open(os.environ['CODE']).read().strip()
asked = []

async def app(scope, receive, send):
    if scope['type'] == 'lifespan':
        for what in 'startup', 'shutdown':
            assert (await receive())['type'] == 'lifespan.' + what
            print('its', what, flush=True)
            await send({'type': 'lifespan.%s.complete' % what})
        return
    status, body = 200, b''
    if scope['path'] == '/health':
        os.write(1, b'is asked\n')
        now = open(os.environ['CODE']).read().strip()
        headers = dict(scope['headers'])
        asked.append((headers[b'host'].decode(), scope['client'][0], scope['query_string'].decode(), scope['root_path']))
        if now == 'raise':
            raise RuntimeError('no database')
        if now == 'late' and len(asked) < 3:
            status = 503
        if now == 'hang':
            await asyncio.sleep(1000)
        if now.startswith('5'):
            status, body = int(now), b'the database is away\nmore'
    await send({'type': 'http.response.start', 'status': status, 'headers': []})
    await send({'type': 'http.response.body', 'body': body or ('%s %s' % (code, asked)).encode()})
`

// TestReadyPath: a worker serves once its application has answered; a reload whose workers do not
// fails with what they said, and the old ones serve on.
func TestReadyPath(t *testing.T) {
	for kind, args := range kinds(t, "isready:app", "isready_async:app") {
		t.Run(kind, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"isready.py": readyWSGI, "isready_async.py": readyASGI, "code": "late"})
			code := func(text string) { write(t, dir, map[string]string{"code": text}) }
			socket := filepath.Join(dir, "ctl")
			s := ctlServer{launch(t, append([]string{"--ctl-socket", socket, "--chdir", dir, "-e", "CODE=" + filepath.Join(dir, "code"), "-w", "2",
				"--ready-path", "/health?a=1", "--ready-host", "shop.example", "--ready-timeout", "2"}, args...)...), socket}
			s.waitLog("msg=serving")
			one := "('shop.example', '127.0.0.1', 'a=1', '')"
			if _, b := s.get("/"); b != "late ["+one+", "+one+", "+one+"]" {
				t.Errorf("asked: %q", b)
			}
			if n := s.metric("hostler_requests_total", ""); n != 1 {
				t.Errorf("%v requests are counted", n)
			}
			for text, want := range map[string][]string{
				"503":   {"GET /health?a=1 (--ready-path, for shop.example) was answered 503", "the database is away"},
				"raise": {"no database"},
			} {
				code(text)
				status, _, said := s.ctl("reload")
				if status == 0 {
					t.Errorf("%s: the reload did not fail", text)
				}
				for _, w := range want {
					if !strings.Contains(said, w) || !strings.Contains(s.log.String(), w) {
						t.Errorf("%s: %q is missing: %s", text, w, said)
					}
				}
				if _, b := s.get("/"); !strings.HasPrefix(b, "late [") {
					t.Errorf("after %s: %q", text, b)
				}
			}
			code("fine")
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded")
			s.eventually("the new code", func() bool { _, b := s.get("/"); return b == "fine ["+one+"]" })
		})
	}
}

// TestReadyPathAtStart: a start of which no worker is ready fails, and says why.
func TestReadyPathAtStart(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"isready.py": readyWSGI, "code": "500"})
	s := launch(t, "--chdir", dir, "-e", "CODE="+filepath.Join(dir, "code"), "--ready-path", "/health", "--ready-timeout", "0", "isready:app")
	<-s.exited
	if s.cmd.ProcessState.Success() || !strings.Contains(s.log.String(), "was answered 500 Bad: the database is away") {
		t.Errorf("%v, %s", s.cmd.ProcessState, s.log)
	}
}

// coreKinds are those whose workers come to be in ways of their own.
func coreKinds(t *testing.T) map[string][]string {
	all := kinds(t, "isready:app", "isready_async:app")
	return map[string][]string{"WSGI": all["WSGI"], "preload": all["preload"], "ASGI": all["ASGI"]}
}

// startReady serves two workers that are ready, of what answers as the file's text says.
func startReady(t *testing.T, args ...string) (s ctlServer, code func(string)) {
	t.Helper()
	dir := write(t, t.TempDir(), map[string]string{"isready.py": readyWSGI, "isready_async.py": readyASGI, "code": "fine"})
	s = startCtl(t, append([]string{"--chdir", dir, "-e", "CODE=" + filepath.Join(dir, "code"), "-w", "2", "--ready-path", "/health", "--ready-timeout", "0"}, args...)...)
	return s, func(text string) { write(t, dir, map[string]string{"code": text}) }
}

// TestReadyPathUpgrade: a new binary whose workers are not ready takes nothing over.
func TestReadyPathUpgrade(t *testing.T) {
	for kind, args := range coreKinds(t) {
		t.Run(kind, func(t *testing.T) {
			s, code := startReady(t, args...)
			code("503")
			if status, _, said := s.ctl("upgrade"); status == 0 || !strings.Contains(said, "the old binary serves on") {
				t.Errorf("the upgrade: %d, %q", status, said)
			}
			s.waitLog("the upgrade failed; this binary serves on")
			s.waitLog("(--ready-path, for localhost) was answered 503")
			if _, b := s.get("/"); !strings.HasPrefix(b, "fine [") || s.status().Master.PID != s.cmd.Process.Pid {
				t.Errorf("%q by master %d", b, s.status().Master.PID)
			}
			code("new")
			s.must("upgrade")
			s.eventually("the new code", func() bool { _, b := s.get("/"); return strings.HasPrefix(b, "new [") }) // the old workers may have one yet
			if err := syscall.Kill(s.status().Master.PID, syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			<-s.exited
		})
	}
}

// TestReadyPathReplacement: what is to take a dead worker's place, and is not ready, is tried again
// seldom and told of once, until it is; the other one serves meanwhile.
func TestReadyPathReplacement(t *testing.T) {
	for kind, args := range coreKinds(t) {
		t.Run(kind, func(t *testing.T) {
			s, code := startReady(t, args...)
			code("503")
			if err := syscall.Kill(s.status().pids()[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			failed := func() float64 { return s.metric("hostler_worker_exits_total", `cause="boot_failed"`) }
			s.eventually("three attempts", func() bool { return failed() >= 3 })
			if n := strings.Count(s.log.String(), "a worker did not boot"); n != 1 || !strings.Contains(s.log.String(), "the database is away") {
				t.Errorf("it is told of %d times", n)
			}
			if _, b := s.get("/"); !strings.HasPrefix(b, "fine [") || len(s.status().pids()) != 1 {
				t.Errorf("%q by %v", b, s.status().pids())
			}
			// A pause doubles: 30 attempts would take days.
			if n := failed(); n > 30 {
				t.Errorf("%v attempts", n)
			}
			code("new")
			s.eventually("a second worker", func() bool { return len(s.status().pids()) == 2 })
			s.waitLog("workers boot again")
		})
	}
}

// TestReadyPathTerm: a server that still waits for an answer ends at once, and in good order.
func TestReadyPathTerm(t *testing.T) {
	for kind, args := range kinds(t, "isready:app", "isready_async:app") {
		for _, code := range []string{"503", "hang"} {
			if code == "hang" && kind != "ASGI" {
				continue
			}
			t.Run(kind+code, func(t *testing.T) {
				dir := write(t, t.TempDir(), map[string]string{"isready.py": readyWSGI, "isready_async.py": readyASGI, "code": code})
				s := launch(t, append([]string{"--chdir", dir, "-e", "CODE=" + filepath.Join(dir, "code"), "--graceful-timeout", "3600", "--ready-timeout", "3600", "--boot-timeout", "3600",
					"--ready-path", "/health"}, args...)...)
				s.waitLog("is asked")
				s.signal(syscall.SIGTERM)
				<-s.exited
				if kind == "ASGI" && !strings.Contains(s.log.String(), "its shutdown") {
					t.Error("its lifespan has not ended")
				}
				for _, bad := range []string{"does not leave in time", "Traceback", "never awaited", "never retrieved", "did not boot"} {
					if strings.Contains(s.log.String(), bad) {
						t.Errorf("the log has %q", bad)
					}
				}
			})
		}
	}
}

// TestReadyPathLifespan: an application that has started, and is not ready, is told that it is
// over; where it hangs, that is told.
func TestReadyPathLifespan(t *testing.T) {
	for code, want := range map[string]string{"503": "was answered 503: the database is away", "hang": "was not answered within 5.0 s"} {
		dir := write(t, t.TempDir(), map[string]string{"isready_async.py": readyASGI, "code": code})
		s := launch(t, append([]string{"--chdir", dir, "-e", "CODE=" + filepath.Join(dir, "code"), "--ready-path", "/health", "--ready-timeout", "0", "isready_async:app"}, asgiArgs(t)...)...)
		<-s.exited
		log := s.log.String()
		if !strings.Contains(log, "cannot start isready_async:app: GET /health (--ready-path, for localhost) "+want) || !strings.Contains(log, "its shutdown") {
			t.Errorf("%s: %s", code, log)
		}
		if code == "hang" && !strings.Contains(log, "in app") {
			t.Errorf("where it hangs is not told: %s", log)
		}
	}
}

const readyDjango = `
import os
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
settings.configure(
    SECRET_KEY='x', ROOT_URLCONF=__name__, ALLOWED_HOSTS=['shop.example'], USE_I18N=True, SECURE_SSL_REDIRECT='TLS' in os.environ,
    SECURE_PROXY_SSL_HEADER=('HTTP_X_FORWARDED_PROTO', 'https') if 'PROXY' in os.environ else None,
    MIDDLEWARE=['django.middleware.' + name for name in ('security.SecurityMiddleware', 'locale.LocaleMiddleware', 'common.CommonMiddleware')],
)

def healthz(request):
    return HttpResponse('<html><style>a\nb</style>\n<h1>%s isn&#x27;t well</h1>' % request.build_absolute_uri(), status=int(os.environ['STATUS']))

def circle(request):
    return HttpResponse(status=302, headers={'Location': request.path})

def away(request):
    return HttpResponse(status=302, headers={'Location': 'https://login.example/'})

urlpatterns = [path('healthz', healthz), path('circle', circle), path('away', away)] + i18n_patterns(path('health/', healthz))
app = get_asgi_application() if 'ASGI' in os.environ else get_wsgi_application()
`

// TestReadyPathDjango: a name that is not among ALLOWED_HOSTS is told of with what helps; where an
// answer leads to https, or to a language, it is that which has to be well.
func TestReadyPathDjango(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"site_ready.py": readyDjango})
	shop := []string{"--ready-host", "shop.example"}
	for _, c := range []struct {
		name, status, path, want string
		args                     []string
	}{
		{"host", "200", "/healthz", "for localhost) was answered 400 Bad Request: Bad Request (400) (if the application does not know the name localhost, give it one that it does by --ready-host)", nil},
		{"well", "200", "/healthz", "", shop},
		{"tls", "200", "/healthz", "", append(shop, "-e", "TLS=1")},
		{"proxy", "200", "/healthz", "", append(shop, "-e", "TLS=1", "-e", "PROXY=1")},
		{"language", "200", "/health", "", append(shop, "-e", "TLS=1")},
		{"unwell", "503", "/healthz", "for shop.example) was answered 503 Service Unavailable: http://shop.example/healthz isn't well", shop},
		{"unwell by tls", "503", "/healthz?a", "led to https://shop.example/healthz?a, which was answered 503 Service Unavailable: https://shop.example/healthz?a isn't well", append(shop, "-e", "TLS=1")},
		{"unwell behind a proxy", "500", "/healthz", "which was answered 500 Internal Server Error: https://shop.example/healthz isn't well", append(shop, "-e", "TLS=1", "-e", "PROXY=1")},
		{"unwell in a language", "503", "/health", "led to https://shop.example/en/health/, which was answered 503", append(shop, "-e", "TLS=1")},
		{"circle", "200", "/circle", "was redirected 6 times, at last to /circle", shop},
		{"away", "200", "/away", "", shop},
	} {
		for _, kind := range []string{"WSGI", "ASGI"} {
			if kind == "ASGI" && (c.path != "/healthz" || c.name == "well") { // what is shared is tried once
				continue
			}
			t.Run(kind+" "+c.name, func(t *testing.T) {
				args := append([]string{"--chdir", dir, "--ready-path", c.path, "--ready-timeout", "0", "-e", "STATUS=" + c.status, "-e", kind + "=1"}, c.args...)
				s := launch(t, append(args, "site_ready:app")...)
				if c.want == "" {
					s.waitLog("msg=serving")
					return
				}
				<-s.exited
				want := c.want
				if kind == "ASGI" { // its statuses have no words
					for _, words := range []string{" Bad Request", " Service Unavailable", " Internal Server Error"} {
						want = strings.Replace(want, words, "", 1)
					}
				}
				if !strings.Contains(s.log.String(), want) {
					t.Errorf("%q is not in the log", want)
				}
			})
		}
	}
}

// TestReadyPathUser: as another user, too.
func TestReadyPathUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has workers that are somebody else")
	}
	dir, err := os.MkdirTemp("/var/tmp", "hostler-") // others may look into it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/isready.py", []byte(readyWSGI), 0o644), os.WriteFile(dir+"/code", []byte("fine"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"--preload"}} {
		s := launch(t, append(more, "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody", "-e", "CODE="+filepath.Join(dir, "code"), "--ready-path", "/health", "isready:app")...)
		s.waitLog("msg=serving")
		if _, b := s.get("/"); b != "fine [('localhost', '127.0.0.1', '', '')]" {
			t.Errorf("asked: %q", b)
		}
	}
}
