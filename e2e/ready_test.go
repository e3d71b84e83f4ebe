package e2e

import (
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
        asked.append((environ['HTTP_HOST'], environ['REMOTE_ADDR'], environ['QUERY_STRING'], environ['SCRIPT_NAME']))
        if code == 'raise':
            raise RuntimeError('no database')
        if code == 'late' and len(asked) < 3:
            start_response('503 Service Unavailable', [])
            return [b'not yet']
        if code.startswith('5'):
            start_response(code + ' Bad', [])
            return iter([b'the database ', b'is away\nmore'])
    start_response('200 OK', [])
    return [('%s %s' % (code, asked)).encode()]
`

const readyASGI = `
import os
code = open(os.environ['CODE']).read().strip()
asked = []

async def app(scope, receive, send):
    assert scope['type'] == 'http'
    status, body = 200, b''
    if scope['path'] == '/health':
        headers = dict(scope['headers'])
        asked.append((headers[b'host'].decode(), scope['client'][0], scope['query_string'].decode(), scope['root_path']))
        if code == 'raise':
            raise RuntimeError('no database')
        if code == 'late' and len(asked) < 3:
            status = 503
        if code.startswith('5'):
            status, body = int(code), b'the database is away\nmore'
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
