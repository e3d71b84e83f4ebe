package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebSocketClients: clients as people have them (apps/deflate_clients.py), with each way to
// offer permessage-deflate, against each way to have a WebSocket.
func TestWebSocketClients(t *testing.T) {
	packages := socketPackages(t, venv)
	green := greenPackages(t, versionOf(t, venv))
	for _, c := range []struct {
		name, agreed, echo, more, closed string
		args                             []string
	}{
		{"ASGI", "deflate", "/", "all", "disconnect 4003 'bye'", []string{"sockets:app"}},
		{"ASGI, no deflate", "nothing", "/", "all", "disconnect 4003 'bye'", []string{"--ws-per-message-deflate", "false", "sockets:app"}},
		{"WSGI", "deflate", "/", "all", "closed 4003 'bye'", []string{"--threads", "4", "wsgisockets:app"}},
		{"gevent", "deflate", "/", "all", "closed 4003 'bye'", []string{"--loop", "gevent", "-e", "PYTHONPATH=" + green, "wsgisockets:app"}},
		{"Flask-Sock", "deflate", "/echo", "", "echo: closed 4003 'bye'", []string{"--threads", "4", "-e", "PYTHONPATH=" + packages, "flasksockets:app"}},
		{"Flask-Sock, gevent", "deflate", "/echo", "", "echo: closed 4003 'bye'", []string{"--loop", "gevent", "-e", "ASYNC_MODE=gevent", "-e", "PYTHONPATH=" + packages + ":" + green, "flasksockets:app"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, append([]string{"--workers", "1"}, c.args...)...)
			cmd := exec.Command(asgiPython(t), filepath.Join(apps, "deflate_clients.py"), "ws://"+s.addr, c.agreed, c.echo, c.more)
			cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+socketFolder(t, "client"))
			log := new(strings.Builder)
			cmd.Stderr = log // some complain that their end is not waited for
			if out, err := cmd.Output(); err != nil || string(out) != "22 of 22 are well\n" {
				t.Fatalf("%v\n%s\n%s", err, out, log)
			}
			s.waitLog(c.closed, 22)
			s.eventually("nothing is left", func() bool { return s.metric("hostler_websockets", "") == 0 })
			if strings.Contains(s.log.String(), "Traceback") {
				t.Error("an exception is in the log")
			}
		})
	}
}
