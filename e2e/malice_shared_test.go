package e2e

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// What a worker shares with the master or with other workers, or sends them: the open file
// behind a descriptor, which is more than its number. See docs/security.md.

// deaf returns the port of somebody who takes connections and never reads.
func deaf(t *testing.T) int {
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
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestMaliciousDescriptors: close(2) of what a worker sends may last as long as it likes,
// and then it is the master's thread that waits. Its end is heard all the same.
func TestMaliciousDescriptors(t *testing.T) {
	m := takenOver(t, "http", "app")
	port := deaf(t)
	for _, n := range []int{1, 2, 200} {
		left := m.metric("hostler_worker_exits_total", "")
		m.evil(fmt.Sprintf("leave_open(%d, %d)", port, n))
		m.eventually("the end of the worker", func() bool { return m.metric("hostler_worker_exits_total", "") > left })
		m.serves(fmt.Sprintf("%d descriptors that are slow to close", n))
	}
}

// TestMaliciousExchange has a worker spoil the exchange for all others by options of its
// ends. Another takes its place, through which connections move, whatever is left in the
// old one.
func TestMaliciousExchange(t *testing.T) {
	m := takenOver(t, "http", "app", "-w", "2")
	port := deaf(t)
	moves := func(after string) {
		t.Helper()
		m.serves(after)
		var conns []*wire
		for range 4 {
			c := m.dial()
			defer c.Close()
			c.send(getLine("/"))
			c.answer("GET")
			conns = append(conns, c)
		}
		m.reloadsAndServes(after)
		for _, c := range conns {
			c.send(getLine("/"))
			if r, _ := c.answer("GET"); r.StatusCode != 200 {
				t.Errorf("%d after %s", r.StatusCode, after)
			}
		}
	}
	moves("the start")
	for i, spoil := range []string{
		"spoil_exchange('SO_PEEK_OFF', 'SO_RCVTIMEO', 'SO_SNDBUF', 'SO_PASSCRED', 'SO_PASSPIDFD', 'SO_PASSRIGHTS')",
		"spoil_exchange('a filter', 'SO_LOCK_FILTER')",
		fmt.Sprintf("clog_exchange(%d) or 'SO_PEEK_OFF'", port),
	} {
		if set := m.evil(spoil); len(set) <= len("''") {
			t.Fatalf("%s did nothing", spoil)
		}
		m.waitLog("a worker set options on it: ", i+1)
		moves(spoil)
	}
	m.evil(fmt.Sprintf("clog_exchange(%d)", port))
	m.signal(syscall.SIGTERM)
	select {
	case <-m.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("what is left in the exchange keeps the master from ending")
	}
}

// TestMaliciousOutput: flags, position and owner belong to an open file, and those of the
// master's are its own. Of a log that all workers have it sets them right again.
func TestMaliciousOutput(t *testing.T) {
	dir, err := os.MkdirTemp("", "hostler-logs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	access := dir + "/access.log"
	m := takenOver(t, "http", "app", "-w", "2", "--access-log", access)
	logged := func(what string) {
		t.Helper()
		m.eventually("a line in the access log: "+what, func() bool {
			if r, err := m.client.Get(m.url + what); err == nil {
				r.Body.Close()
			}
			st, err := os.Stat(access)
			return err == nil && st.Size() < 1<<20 && has(access, "/"+what)()
		})
	}
	logged("before")
	for _, pid := range []int{m.pid, m.bystander} {
		m.evil(fmt.Sprintf("owned_by(%d)", pid))
		m.serves("somebody else was to be signalled")
	}
	m.evil(fmt.Sprintf("rewind(%q)", dir))
	for _, fd := range []int{1, 2} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", m.pid, fd))
		if err != nil {
			t.Fatal(err)
		}
		flags := 0
		if _, err := fmt.Sscanf(string(b), "pos:\t%d\nflags:\t%o", new(int), &flags); err != nil || flags&(syscall.O_NONBLOCK|syscall.O_ASYNC) != 0 {
			t.Errorf("the master's descriptor %d has the flags %#o, %v", fd, flags, err)
		}
	}
	logged("after")
	m.replace()
	logged("replaced")
	m.reloadsAndServes("all that")
}
