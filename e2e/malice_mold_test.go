package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Where workers are another user's, so is the mold: it runs the application. These
// tests play one that means ill towards a master that is root.

// evilMold is a server whose mold does as it is told by the file play.
type evilMold struct {
	*server
	play   string
	victim *exec.Cmd // a process of root's that nobody may touch
}

func startEvilMold(t *testing.T, more ...string) *evilMold {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has workers of another user")
	}
	dir, err := os.MkdirTemp("", "hostler-malice") // not t.TempDir, which nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"evilmold.py", "malice.py"} {
		code, err := os.ReadFile(filepath.Join(apps, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), code, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(dir+"/run", 0o755), os.Chown(dir+"/run", nobody, nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	e := &evilMold{play: filepath.Join(dir, "play"), victim: exec.Command("sleep", "1000")}
	if err := e.victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.victim.Process.Kill()
		_ = e.victim.Wait()
	})
	addr, admin := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	e.server = launchWith(t, append([]string{"-b", addr, "--admin-bind", admin, "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody", "--preload",
		"-w", "2", "--boot-timeout", "10", "-e", "PLAY=" + e.play, "-e", fmt.Sprint("VICTIM=", e.victim.Process.Pid), "-e", fmt.Sprint("PORT=", deaf(t)), "evilmold:app"}, more...)...)
	e.addr, e.admin = addr, admin
	e.waitLog("msg=serving")
	return e
}

// turn makes the mold do so from its next fork on; "" makes it behave again.
func (e *evilMold) turn(how string) {
	e.t.Helper()
	if err := os.WriteFile(e.play+"-", []byte(how), 0o644); err != nil {
		e.t.Fatal(err)
	}
	if err := os.Rename(e.play+"-", e.play); err != nil {
		e.t.Fatal(err)
	}
}

// pair returns two workers that serve: the one that answers, and another.
func (e *evilMold) pair() (one, other int) {
	e.t.Helper()
	e.eventually("two workers", func() bool {
		_, body := e.get("/")
		pid, err := strconv.Atoi(body)
		if err != nil {
			e.t.Fatal(body)
		}
		if one == 0 || !alive(one) {
			one, other = pid, 0
		}
		if pid != one {
			other = pid
		}
		return other != 0
	})
	return one, other
}

// unharmed wants everybody alive who is none of the mold's.
func (e *evilMold) unharmed(worker int) {
	e.t.Helper()
	for who, pid := range map[string]int{"the master": e.cmd.Process.Pid, "the bystander": e.victim.Process.Pid, "another worker": worker, "this test": os.Getpid()} {
		if !alive(pid) {
			e.t.Errorf("%s was killed", who)
		}
	}
	if code, _ := e.get("/"); code != 200 {
		e.t.Errorf("it answers %d", code)
	}
	if strings.Contains(e.log.String(), "FORGED") {
		e.t.Error("credentials can be forged here")
	}
}

// hidden is the process that the mold has forked in secret.
func (e *evilMold) hidden() (pid int) {
	e.t.Helper()
	e.eventually("a process forked in secret", func() bool {
		b, _ := os.ReadFile(filepath.Dir(e.play) + "/run/hidden")
		pid, _ = strconv.Atoi(string(b))
		return pid != 0
	})
	return pid
}

// all returns the server's processes.
func (e *evilMold) all() []int { return append(e.server.workers(), e.cmd.Process.Pid) }

// fate is what becomes of a mold that has been malicious, and behaves again.
type fate int

const (
	lives  fate = iota
	ends        // there is another
	either      // if it is the last to close what lingers, it is it who waits, and is given up for that
)

// TestMaliciousMold has the mold do its worst when it is asked for a worker.
func TestMaliciousMold(t *testing.T) {
	for _, c := range []struct {
		how, says string // what the log says of it, once
		mold      fate
	}{
		{"forge", "a process of this server sent a packet that is not one of its messages", lives},
		{"child", "a process says that it is a forked worker, and is not", lives},
		{"lie", "a mold sent a message that nobody asked for", lives},
		{"silent", "giving up the process that workers are forked from", ends},
		{"handler", "giving up the process that workers are forked from", ends},
		{"stopped", "giving up the process that workers are forked from", ends},
		{"deaf", "giving up the process that workers are forked from", ends},
		{"orphans", "", lives},
		{"lingers", "the mold died", ends},
		{"lingering birth", "a process of this server sent a packet that is not one of its messages", either},
		{"lingering stillbirth", "", either},
		{"spoilt", "the mold died", ends},
		{"full", "a process says that it is a forked worker, and is not", ends},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			e := startEvilMold(t)
			mold := e.mold()
			one, other := e.pair()
			e.turn(c.how)
			_ = syscall.Kill(one, syscall.SIGKILL)
			e.waitLog("worker died") // it takes no more connections with it
			if c.says != "" {
				e.waitLog(c.says)
			}
			e.unharmed(other)
			e.turn("")
			e.eventually("two workers", func() bool { return e.metric("hostler_workers", `state="serving"`) == 2 })
			e.unharmed(other)
			switch c.mold {
			case ends:
				e.eventually("the end of the mold", func() bool { return !alive(mold) })
			case lives:
				if !alive(mold) {
					t.Error("the mold has been killed")
				}
			}
			if n := strings.Count(e.log.String(), c.says); c.says != "" && n != 1 {
				t.Errorf("said %d times: %q", n, c.says)
			}
		})
	}
}

// TestMoldOfNoUse: a process of the same user has lowered a limit of the mold's, so that it
// forks no more, or nothing of use. Another mold takes its place.
func TestMoldOfNoUse(t *testing.T) {
	for limit, to := range map[string]int{"NPROC": 0, "AS": 1 << 20} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			m := takenOver(t, "http", "app", "--preload")
			mold := m.mold()
			m.evil(fmt.Sprintf("resource.prlimit(%d, resource.RLIMIT_%s, (%d, %d))", mold, limit, to, to))
			pid, err := strconv.Atoi(m.evil("os.getpid()"))
			if err != nil {
				t.Fatal(err)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			m.waitLog("giving up the process that workers are forked from")
			m.serves("the mold was of no use")
			m.eventually("the end of the mold", func() bool { return !alive(mold) })
			if n := strings.Count(m.log.String(), "giving up the process"); n != 1 {
				t.Errorf("%d molds were given up", n)
			}
		})
	}
}

// TestMaliciousMoldHides: what a mold has forked in secret, and hidden from signals to its
// group, does not take connections for long when the mold has been given up.
func TestMaliciousMoldHides(t *testing.T) {
	e := startEvilMold(t)
	one, other := e.pair()
	e.turn("orphan")
	_ = syscall.Kill(one, syscall.SIGKILL)
	hidden := e.hidden()
	e.waitLog("giving up the process that workers are forked from")
	e.turn("")
	for end := time.Now().Add(90 * time.Second); alive(hidden); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it goes on")
		}
	}
	e.eventually("two workers", func() bool { return e.metric("hostler_workers", `state="serving"`) == 2 })
	e.unharmed(other)
}

// TestMaliciousMoldStop: whatever the mold does, the server ends when it is told to,
// and nothing of it is left.
func TestMaliciousMoldStop(t *testing.T) {
	for _, how := range []string{"silent", "handler", "stopped", "deaf", "lie", "hidden", "lingers", "lingering birth", "lingering stillbirth", "spoilt", "full"} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT} {
			t.Run(fmt.Sprint(how, " ", sig), func(t *testing.T) {
				t.Parallel()
				e := startEvilMold(t)
				mold := e.mold()
				one, other := e.pair()
				e.turn(how)
				_ = syscall.Kill(one, syscall.SIGKILL)
				e.waitLog("worker died")
				time.Sleep(300 * time.Millisecond) // the more it does of it the better
				all := append(e.all(), mold, other)
				if how == "hidden" {
					all = append(all, e.hidden())
				}
				e.signal(sig)
				select {
				case <-e.exited:
				case <-time.After(10 * time.Second):
					t.Fatal("it does not end")
				}
				slices.Sort(all)
				for _, pid := range slices.Compact(all) {
					for end := time.Now().Add(10 * time.Second); how == "hidden" && alive(pid) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					} // it has been killed, and is nobody's child
					if alive(pid) {
						t.Errorf("process %d is left", pid)
					}
				}
				// What the mold has forked in secret has been killed, and may need a moment.
				l, err := net.Listen("tcp", e.addr)
				for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					l, err = net.Listen("tcp", e.addr)
				}
				if err != nil {
					t.Fatalf("the address is not free: %v", err)
				}
				l.Close()
				if !alive(e.victim.Process.Pid) {
					t.Error("the bystander was killed")
				}
			})
		}
	}
}

// TestMaliciousHooks: the process of the hooks is the workers' user's, too.
func TestMaliciousHooks(t *testing.T) {
	for _, how := range []string{"forged", "spoilt", "full", "lingers", "deaf", "stopped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := takenOver(t, "http", "app", "--hooks", "malice", "-e", "HOOK="+how, "-e", fmt.Sprint("PORT=", deaf(t)))
			m.eventually("the hook", func() bool { _, err := os.Stat(filepath.Join(m.run, how)); return err == nil })
			for range 3 {
				m.serves("it")
				m.replace() // which calls another hook
			}
			m.reloadsAndServes("another process of the hooks")
			m.signal(syscall.SIGTERM)
			select {
			case <-m.exited:
			case <-time.After(20 * time.Second):
				t.Fatal("the hooks keep the master from ending")
			}
			if n := strings.Count(m.log.String(), "\n"); n > 100 {
				t.Errorf("the log has %d lines", n)
			}
		})
	}
}
