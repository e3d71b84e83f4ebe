package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// socketPackages is where Flask-Sock and its like of a CPython are (scripts/sockets-packages).
func socketPackages(t *testing.T, python string) string {
	t.Helper()
	return socketFolder(t, versionOf(t, python))
}

func socketFolder(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs("../build/sockets/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("%s is missing: run make tools", dir)
	}
	return dir
}

// flaskSockets has the clients of apps/sockets_client.py speak with flasksockets.py.
func flaskSockets(t *testing.T, url string) {
	t.Helper()
	cmd := exec.Command(asgiPython(t), filepath.Join(apps, "sockets_client.py"), url)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+socketFolder(t, "client"))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "all is well\n" {
		t.Fatalf("%s: %v\n%s", url, err, out)
	}
}

// TestFlaskSockets: Flask-Sock, simple-websocket and Flask-SocketIO, as they are, on each
// CPython.
func TestFlaskSockets(t *testing.T) {
	for _, python := range cpythons(t) {
		t.Run(python, func(t *testing.T) {
			s := startFlaskSockets(t, python)
			flaskSockets(t, "http://"+s.addr)
			s.waitLog("io: disconnected: client disconnect")
			s.waitLog("io: connected by GET refuse")
			s.flaskSocketsEnd(s.dialTCP)
		})
	}
}

// TestFlaskSocketsOtherwise: whatever there is between them and their clients.
func TestFlaskSocketsOtherwise(t *testing.T) {
	t.Run("tls", func(t *testing.T) {
		s := startFlaskSockets(t, venv, newPair(t, t.TempDir(), "localhost", 1).args()...)
		dial := func() net.Conn { return tls.Client(s.dialTCP(), &tls.Config{InsecureSkipVerify: true}) }
		flaskSockets(t, "http://"+forwarded(t, dial))
		s.flaskSocketsEnd(dial)
	})
	t.Run("unix", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		s := startFlaskSockets(t, venv, "-b", "unix:"+path)
		flaskSockets(t, "unix:"+path)
		s.flaskSocketsEnd(s.dialTCP)
	})
	t.Run("preload, nobody", func(t *testing.T) {
		s := startFlaskSockets(t, "/usr/bin/python3", "--preload", "--user", "nobody")
		flaskSockets(t, "http://"+s.addr)
		s.flaskSocketsEnd(s.dialTCP)
	})
}

func startFlaskSockets(t *testing.T, python string, args ...string) *server {
	t.Helper()
	return start(t, append(args, "--python", python, "-e", "PYTHONPATH="+socketPackages(t, python), "--workers", "1", "--threads", "20", "--graceful-timeout", "20",
		"--access-logfile", "-", "flasksockets:app")...)
}

// flaskSocketsEnd looks what is left, and how a reload and a stop end what is open.
func (s *server) flaskSocketsEnd(dial func() net.Conn) {
	t := s.t
	t.Helper()
	s.waitLog("echo: closed 4003 'bye'")
	s.waitLog("ValueError: meant, in Flask-Sock")
	s.eventually("nothing is left", func() bool { return s.metric("hostler_websockets", "") == 0 })
	w := wsOpen(t, dial(), "/pinged", "") // it waits in select for what comes, and gets no answer
	w.want("9 ", "close 1008 Ping/Pong timeout")
	s.waitLog("pinged: closed")
	w = wsOpen(t, dial(), "/echo", "")
	w.say(0x81, "x")
	w.want("1 x")
	s.signal(syscall.SIGHUP)
	w.want("close 1012 ", "EOF")
	s.waitLog("echo: closed 1012")
	w = wsOpen(t, dial(), "/echo", "")
	w.say(0x81, "x")
	w.want("1 x")
	s.signal(syscall.SIGTERM)
	w.want("close 1001 ", "EOF")
	<-s.exited
	if text := s.log.String(); strings.Contains(text, "StopIteration") || strings.Contains(text, "panic") || strings.Contains(text, "ConnectionError") {
		t.Error(text)
	}
}

// forwarded returns an address where connections are answered by those that dial makes.
func forwarded(t *testing.T, dial func() net.Conn) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			far := dial()
			join := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				to.Close()
				from.Close()
			}
			go join(far, c)
			go join(c, far)
		}
	}()
	return l.Addr().String()
}
