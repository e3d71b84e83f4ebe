package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// overUnix returns the status of GET path on a Unix socket, or an error's text.
func overUnix(socket, path string) string {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	r, err := c.Get("http://unix" + path)
	if err != nil {
		return err.Error()
	}
	r.Body.Close()
	return fmt.Sprint(r.StatusCode)
}

// reload has the server reload, and waits until that has come to an end the nth
// time.
func (s *server) reload(n int) {
	s.t.Helper()
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded", n)
}

// TestSocketFileComesBack: a socket whose file was removed, or replaced by what is in
// nobody's use, is found again after a reload. Nobody else's is taken, and the reload
// is one all the same.
func TestSocketFileComesBack(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s := start(t, "-b", "unix:"+socket, "faults:app")
	want := func(what string) {
		t.Helper()
		if got := overUnix(socket, "/"); got != "200" {
			t.Errorf("%s: %s", what, got)
		}
	}
	want("at first")
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	s.reload(1)
	want("after it was removed")

	// A server that was killed has left one of that name.
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	dead, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	s.reload(2)
	want("after a stale one took its place")

	before, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	s.reload(3)
	if after, err := os.Stat(socket); err != nil || !os.SameFile(before, after) {
		t.Error("it was bound anew without need")
	}

	for what, put := range map[string]func() error{
		"a file": func() error { return os.WriteFile(socket, nil, 0o600) },
		"a FIFO": func() error { return unix.Mkfifo(socket, 0o600) },
		"a dir":  func() error { return os.Mkdir(socket, 0o700) },
		"a link": func() error { return os.Symlink("/nowhere", socket) },
	} {
		if err := os.Remove(socket); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		n := strings.Count(s.log.String(), "msg=reloaded")
		s.reload(n + 1)
		if !strings.Contains(s.log.String(), "it cannot be bound anew") {
			t.Errorf("%s: nothing is said", what)
		}
		if _, err := os.Lstat(socket); err != nil {
			t.Errorf("%s was removed", what)
		}
	}
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("over TCP: %d", code)
	}
}

// TestSocketFileOfAnother: whoever has bound the path since keeps the file when the
// first server stops.
func TestSocketFileOfAnother(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	first := start(t, "-b", "unix:"+socket, "faults:app")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	second := start(t, "-b", "unix:"+socket, "faults:app")
	first.reload(1) // must not take it back
	first.stop()
	if got := overUnix(socket, "/"); got != "200" {
		t.Errorf("the second server: %s", got)
	}
	second.stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the second one's own file: %v", err)
	}
}

// TestAddressOutAndIn takes addresses out of the settings and puts them back while
// workers that have them still drain; and once more after they are gone.
func TestAddressOutAndIn(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "hostler.toml"), filepath.Join(dir, "s")
	tcp := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	first := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	settings := func(binds ...string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, "bind = [\"%s\"]\n", strings.Join(binds, `", "`)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings(first, tcp, "unix:"+socket)
	s := launchPlain(t, "-c", file, "-w", "1", "--threads", "2", "--graceful-timeout", "20", "faults:app")
	s.addr = first
	s.waitLog("msg=serving")

	slow := make(chan int)
	go func() {
		r, err := http.Get("http://" + first + "/sleep?4")
		if err != nil {
			slow <- 0
			return
		}
		r.Body.Close()
		slow <- r.StatusCode
	}()
	s.eventually("the slow request", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	want := func(when, onTCP, onUnix string) {
		t.Helper()
		got := "200"
		if r, err := client.Get("http://" + tcp + "/"); err != nil {
			got = "none"
		} else {
			r.Body.Close()
		}
		if got != onTCP {
			t.Errorf("%s, TCP: %s", when, got)
		}
		got = overUnix(socket, "/")
		if got != "200" {
			got = "none"
		}
		if got != onUnix {
			t.Errorf("%s, Unix: %s", when, got)
		}
	}
	settings(first)
	s.reload(1)
	settings(first, tcp, "unix:"+socket)
	s.reload(2) // the first worker still has the slow request
	want("back again", "200", "200")
	if code := <-slow; code != 200 {
		t.Errorf("the slow request: %d", code)
	}
	want("after the old workers have gone", "200", "200")

	gone := func() {
		t.Helper()
		s.eventually("the addresses to be free", func() bool {
			l, err := net.Listen("tcp", tcp)
			if err == nil {
				l.Close()
			}
			_, st := os.Lstat(socket)
			return err == nil && os.IsNotExist(st)
		})
	}
	settings(first)
	s.reload(3)
	gone()
	// Nothing of them is left in the master either.
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	before := len(fds)
	for n := 4; n < 10; n += 2 {
		settings(first, tcp, "unix:"+socket)
		s.reload(n)
		want(fmt.Sprint("round ", n), "200", "200")
		settings(first)
		s.reload(n + 1)
		gone()
	}
	s.eventually("no more descriptors than before", func() bool {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid))
		return len(fds) <= before
	})
}

// launchPlain is launchBare without an address.
func launchPlain(t *testing.T, args ...string) *server {
	t.Helper()
	admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := launchWith(t, append([]string{"--admin-bind", admin, "--python", venv, "--chdir", apps}, args...)...)
	s.admin = admin
	return s
}

// TestUpgradeDropsAddresses: connections that wait at addresses which the next binary does
// not have are answered by the workers of this one, and nobody gets there afterwards.
func TestUpgradeDropsAddresses(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "hostler.toml"), filepath.Join(dir, "s")
	stays, goes := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	write(t, dir, map[string]string{"hostler.toml": fmt.Sprintf("bind = [%q, %q, %q]\n", stays, goes, "unix:"+socket)})
	s := launchPlain(t, "-c", file, "-w", "1", "--timeout", "0", "-p", filepath.Join(dir, "pid"), "faults:app")
	s.addr = stays
	s.waitLog("msg=serving")
	s.successor(filepath.Join(dir, "pid")) // is stopped, too
	worker := s.workers()[0]
	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil { // it accepts nobody
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(worker, syscall.SIGCONT) }()
	var waiting []net.Conn
	for _, at := range [][2]string{{"tcp", goes}, {"unix", socket}, {"tcp", goes}} {
		c, err := net.Dial(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	write(t, dir, map[string]string{"hostler.toml": fmt.Sprintf("bind = [%q]\n", stays)})
	s.signal(syscall.SIGUSR2)
	s.waitLog("the new binary serves; leaving")
	_ = syscall.Kill(worker, syscall.SIGCONT)
	for i, c := range waiting {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
			t.Errorf("connection %d: %q, %v", i, b, err)
		}
	}
	s.eventually("the end of the old worker", func() bool { return !alive(worker) })
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("the new binary answers %d", code)
	}
	s.eventually("no more connections", func() bool {
		c, err := net.Dial("tcp", goes)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket's file is still there")
	}
}

// TestSocketsOverUpgrade: what was removed, or bound anew, before an upgrade is in its
// place after it; the next binary knows its files, and a binary that cannot bind takes
// nothing from the one that serves.
func TestSocketsOverUpgrade(t *testing.T) {
	dir := t.TempDir()
	file, socket, pidfile := filepath.Join(dir, "hostler.toml"), filepath.Join(dir, "s"), filepath.Join(dir, "pid")
	settings := func(binds ...string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, "bind = [\"%s\"]\n", strings.Join(binds, `", "`)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	settings(first, "unix:"+socket)
	s := launchPlain(t, "-c", file, "-w", "1", "-p", pidfile, "faults:app")
	s.addr = first
	s.waitLog("msg=serving")
	master := s.successor(pidfile)
	want := func(when string) {
		t.Helper()
		if code, _ := s.get("/"); code != 200 {
			t.Errorf("%s: %d", when, code)
		}
		if got := overUnix(socket, "/"); got != "200" {
			t.Errorf("%s: %s", when, got)
		}
	}
	settings(first, "unix:"+socket, taken.Addr().String())
	s.signal(syscall.SIGUSR2)
	s.waitLog("the upgrade failed")
	want("after an upgrade that could not bind")
	settings(first, "unix:"+socket)

	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	s.reload(1)
	want("bound anew")
	upgrade := func() {
		t.Helper()
		old := master()
		if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); master() == old || alive(old); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no new master")
			}
		}
	}
	before, err := os.Lstat(socket)
	if err != nil {
		t.Fatal(err)
	}
	upgrade()
	want("upgraded")
	if after, err := os.Lstat(socket); err != nil || !os.SameFile(before, after) {
		t.Errorf("the upgrade bound it anew: %v", err)
	}
	// Not in the settings of the next binary, but another server's by then.
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	settings(first)
	upgrade()
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the other server's file: %v", err)
	}
}

// TestAdminAddressChanges: it follows the settings at a reload, the new one first.
func TestAdminAddressChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hostler.toml")
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	settings := func(admin string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, "bind = %q\nadmin_bind = %q\n", addr, admin), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	settings(one)
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := launchWith(t, "-c", file, "-p", pidfile, "--python", venv, "--chdir", apps, "faults:app")
	s.waitLog("msg=serving")
	master := s.successor(pidfile)
	answers := func(admin string) bool {
		r, err := client.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200
	}
	only := func(admin string) {
		t.Helper()
		for _, a := range []string{one, two} {
			s.eventually(fmt.Sprintf("%s alone", admin), func() bool { return answers(a) == (a == admin) })
		}
	}
	only(one)
	settings(two)
	s.reload(1)
	only(two)
	settings(taken.Addr().String())
	s.signal(syscall.SIGHUP)
	s.waitLog("cannot bind the admin address " + taken.Addr().String())
	s.waitLog("the reload failed")
	only(two)
	// A reload that fails later keeps it, too, and lets go of the new one.
	if err := os.WriteFile(file, fmt.Appendf(nil, "bind = %q\nadmin_bind = %q\nenv = {PLAN = \"/nowhere\"}\n", addr, one), 0o600); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	s.waitLog("the reload failed", 2)
	only(two)
	settings("off")
	s.reload(2)
	only("")
	settings(one)
	s.reload(3)
	only(one)
	s.signal(syscall.SIGUSR2)
	<-s.exited
	for end := time.Now().Add(20 * time.Second); !answers(one); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new binary does not answer")
		}
	}
	if master() == s.cmd.Process.Pid {
		t.Error("the pid file names the old master")
	}
}

// TestSocketRights: no file but the socket gets the rights of a socket, whoever swaps
// it as soon as it is there.
func TestSocketRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has what others must not get")
	}
	dir, err := os.MkdirTemp("", "hostler-rights") // not t.TempDir, which nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	run, secret := filepath.Join(dir, "run"), filepath.Join(dir, "secret")
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(run, 0o755), os.Chown(run, 65534, 65534), os.WriteFile(secret, []byte("root's\n"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(run, "s")
	for try := range 12 {
		swap := exec.Command("/usr/bin/python3", "-c", `
import os, sys, time
path, secret = sys.argv[1:]
print("go", flush=True)
end = time.monotonic() + 20
while time.monotonic() < end:
    try:
        os.unlink(path)
    except FileNotFoundError:
        continue
    os.symlink(secret, path)
    break
`, socket, secret)
		swap.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := swap.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := swap.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = out.Read(make([]byte, 3))
		s := launchWith(t, "--python", "/usr/bin/python3", "--chdir", apps, "--user", "nobody", "--admin-bind", "off", "-b", "unix:"+socket, "faults:app")
		if err := swap.Wait(); err != nil {
			t.Fatal(err)
		}
		s.stop()
		if st, err := os.Stat(secret); err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("try %d: the secret's rights are %v, %v", try, st.Mode(), err)
		}
		_ = os.Remove(socket)
	}
}

// TestCtlSocketFollows: the control socket comes back at a reload, and follows the
// settings.
func TestCtlSocketFollows(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hostler.toml")
	at := func(name string) ctlServer { return ctlServer{socket: filepath.Join(dir, name)} }
	settings := func(name string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, "ctl_socket = %q\n", at(name).socket), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings("one")
	s := start(t, "-c", file, "faults:app")
	answers := func(name string, want bool) {
		t.Helper()
		c := at(name)
		c.server = s
		s.eventually(fmt.Sprintf("answers at %s: %v", name, want), func() bool { code, _, _ := c.ctl("status"); return (code == 0) == want })
	}
	answers("one", true)
	if err := os.Remove(at("one").socket); err != nil {
		t.Fatal(err)
	}
	s.reload(1)
	answers("one", true)
	settings("two")
	s.reload(2)
	answers("two", true)
	answers("one", false)
	// In the way of the third is what is no socket: nothing changes.
	if err := os.Mkdir(at("three").socket, 0o700); err != nil {
		t.Fatal(err)
	}
	settings("three")
	s.reload(3)
	s.waitLog("hostler ctl is answered where it was")
	answers("two", true)
	s.stop()
	for name, want := range map[string]bool{"one": false, "two": false, "three": true} {
		if _, err := os.Lstat(at(name).socket); (err == nil) != want {
			t.Errorf("%s is there: %v", name, err == nil)
		}
	}
}

// TestAddressInOtherWords: an address may become a wider one, a narrower one, or the same
// in other words by a reload, and no client is turned away meanwhile.
func TestAddressInOtherWords(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	name := func(host string) {
		text := fmt.Sprintf("app = \"faults:app\"\npython = %q\nadmin_bind = \"off\"\nbind = [\"%s:%d\"]\npythonpath = %q\n", venv, host, port, apps)
		if err := os.WriteFile(filepath.Join(dir, "hostler.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name("127.0.0.1")
	s := launchIn(t, dir)
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	s.waitLog("msg=serving")
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		one := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			r, err := one.Get("http://" + s.addr + "/")
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
			}
			if err != nil {
				failed <- fmt.Errorf("request %d: %w", n, err)
				return
			}
		}
	}()
	for i, host := range []string{"0.0.0.0", "127.0.0.1", "localhost", "", "127.0.0.1", "0.0.0.0", ""} {
		name(host)
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", i+1)
		time.Sleep(50 * time.Millisecond)
	}
	close(stop)
	for err := range failed {
		t.Error(err)
	}
}
