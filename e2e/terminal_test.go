package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is somebody at a terminal.
type terminal struct {
	t      *testing.T
	master *os.File
	screen logBuffer
	cmd    *exec.Cmd
	exited chan struct{}
	seen   int // what was waited for already
}

// newTerminal runs cmd on a terminal of its own, wide enough that nothing is broken.
func newTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, master: master, cmd: cmd, exited: make(chan struct{})}
	go func() { _, _ = io.Copy(&x.screen, master) }() // an error is its end
	go func() {
		_ = cmd.Wait()
		close(x.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-x.exited:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
		}
		master.Close()
		if t.Failed() {
			t.Logf("the screen:\n%q", x.screen.String())
		}
	})
	return x
}

func (x *terminal) write(text string) {
	x.t.Helper()
	if _, err := io.WriteString(x.master, text); err != nil {
		x.t.Fatal(err)
	}
}

// wait waits until pattern is on the screen, behind what was waited for before.
func (x *terminal) wait(pattern string) string {
	x.t.Helper()
	p := regexp.MustCompile(pattern)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text := x.screen.String()[x.seen:]
		if at := p.FindStringIndex(text); at != nil {
			x.seen += at[1]
			return text[at[0]:at[1]]
		}
	}
	x.t.Fatalf("waited in vain for %q behind %q", pattern, x.screen.String()[x.seen:])
	return ""
}

// shellIn is a command in a directory with a hostler on its PATH.
func shellIn(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "PS1=ready> ", "TERM=dumb", "INPUTRC=/dev/null", "ZDOTDIR="+dir)
	return cmd
}

// TestCompletion has the shells themselves complete what somebody types.
func TestCompletion(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"shop.py": "", "hostler.toml": ""})
	if err := os.Mkdir(dir+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, dir+"/bin/hostler"); err != nil {
		t.Fatal(err)
	}
	typed := []struct{ keys, becomes string }{
		{"hostler ctl drai", "hostler ctl drain"},
		{"hostler ctl scale au", "hostler ctl scale auto"},
		{"hostler ctl status --wat", "hostler ctl status --watch"},
		{"hostler migr", "hostler migrate"},
		{"hostler --preloa", "hostler --preload"},
		{"hostler --log-level deb", "hostler --log-level debug"},
		{"hostler -w 4 --log-format=jour", "hostler -w 4 --log-format=journal"},
		{"hostler check -w 4 sho", "hostler check -w 4 shop:"},
		{"hostler serve -c hostler.t", "hostler serve -c hostler.toml"},
		{"hostler completion fi", "hostler completion fish"},
		{"hostler help ctl ev", "hostler help ctl events"},
	}
	for _, shell := range []struct {
		name, setup string
		args        []string
	}{
		{"bash", ". /usr/share/bash-completion/bash_completion; . <(hostler completion bash); bind 'set enable-bracketed-paste off'", []string{"bash", "--norc", "-i"}},
		{"zsh", "autoload -U compinit; compinit -u; . <(hostler completion zsh); compdef _hostler hostler", []string{"zsh", "-f", "-i"}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			x := newTerminal(t, shellIn(dir, shell.args...))
			x.write(shell.setup + "; echo set''up\n")
			x.wait("setup\r?\n")
			for _, k := range typed {
				// What was completed becomes an argument of echo's.
				x.write(k.keys + "\t\x01echo '<'\x05'>'\n")
				x.wait("\n<" + regexp.QuoteMeta(k.becomes) + " ?>")
			}
		})
	}
	t.Run("fish", func(t *testing.T) {
		out, err := shellIn(dir, "fish", "-c", "hostler completion fish | source").CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Fatalf("%v, %s", err, out)
		}
		for _, k := range typed {
			out, err := shellIn(dir, "fish", "-c", "hostler completion fish | source; complete -C "+"'"+k.keys+"'").CombinedOutput()
			want := k.becomes[strings.LastIndexByte(k.becomes, ' ')+1:]
			if got, _, _ := strings.Cut(string(out), "\t"); err != nil || strings.TrimSpace(got) != want {
				t.Errorf("%s: %v, %q, want %s", k.keys, err, out, want)
			}
		}
	})
}

// atTerminal starts a server as somebody does who sits at a terminal.
func atTerminal(t *testing.T, env []string, args ...string) (x *terminal, addr string) {
	t.Helper()
	addr = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd := exec.Command(binary, append([]string{"-b", addr, "--python", venv, "--chdir", apps}, args...)...)
	cmd.Env = append(os.Environ(), append([]string{"TERM=xterm", "NO_COLOR=", "RUNTIME_DIRECTORY=" + t.TempDir()}, env...)...)
	return newTerminal(t, cmd), addr
}

// TestFirstScreen: who starts a server at a terminal sees what it is and where, in colours
// unless he wants none.
func TestFirstScreen(t *testing.T) {
	for _, c := range []struct {
		env   []string
		color bool
	}{{nil, true}, {[]string{"NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}} {
		admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		x, addr := atTerminal(t, c.env, "-w", "2", "--threads", "3", "--admin-bind", admin, "faults:app")
		x.wait(`Ctrl-C stops it`)
		text := x.screen.String()
		plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(text, "")
		if (plain != text) != c.color {
			t.Errorf("%q: colours: %q", c.env, text)
		}
		version, _ := os.ReadFile("../VERSION")
		for _, want := range []string{
			"hostler " + strings.TrimSpace(string(version)) + " serves faults:app\r\n", "URL      http://" + addr + "/\r\n",
			"Workers  2 workers, each with 3 Python threads\r\n", "Python   " + venv + "\r\n", "Admin    http://" + admin + "/\r\n",
			fmt.Sprintf("/%d.sock\r\n", x.cmd.Process.Pid),
		} {
			if !strings.Contains(plain, want) {
				t.Errorf("%q: no %q in %q", c.env, want, plain)
			}
		}
		if status, body := fetch(t, "http://"+addr+"/hello"); status == 0 {
			t.Errorf("%d %s", status, body)
		}
		x.write("\x03")
		if code := x.left(); code != 0 {
			t.Errorf("Ctrl-C: exit status %d", code)
		}
	}
}

// TestCtrlCHint: who presses Ctrl-C is told what that waits for, and a second one ends it
// at once.
func TestCtrlCHint(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"slow.py": `import time
def app(environ, start_response):
    start_response('200 OK', [])
    open('running', 'w').close()
    time.sleep(25)
    return [b'late']
`})
	x, addr := atTerminal(t, nil, "--chdir", dir, "--admin-bind", "off", "slow:app")
	x.wait(`Ctrl-C stops it`)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /report?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir + "/running"); err == nil {
			break
		}
	}
	begin := time.Now()
	x.write("\x03")
	x.wait(`Waiting for 1 request\. Ctrl-C again ends them at once\.\r\n  GET /report\S*  \S+s, worker 1 \(process \d+\)`)
	x.write("\x03")
	x.left()
	if d := time.Since(begin); d > 15*time.Second {
		t.Errorf("the second one takes %v", d)
	}
}

// left waits until the command has ended, and returns its exit status.
func (x *terminal) left() int {
	x.t.Helper()
	select {
	case <-x.exited:
	case <-time.After(30 * time.Second):
		x.t.Fatal("it does not end")
	}
	return x.cmd.ProcessState.ExitCode()
}

// TestCtlTop has the server on a terminal of 80 columns: it is live, follows the terminal's
// size, and leaves that as it was, whatever ends it.
func TestCtlTop(t *testing.T) {
	s := startCtl(t, "-w", "2", "--threads", "3", "faults:app")
	for name, end := range map[string]func(*terminal){
		"q":       func(x *terminal) { x.write("q") },
		"Ctrl-C":  func(x *terminal) { x.write("\x03") },
		"SIGTERM": func(x *terminal) { _ = x.cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(binary, "ctl", "--socket", s.socket, "top")
			cmd.Env = append(os.Environ(), "TERM=xterm-256color", "NO_COLOR=", "LANG=C.UTF-8")
			x := newTerminal(t, cmd)
			x.wait(`\x1b\[\?1049h`) // a screen of its own
			x.wait(`faults:app`)
			x.wait(`serving`)
			x.wait(`CPU%`)
			// Only what changes is drawn: a wider terminal has all of it drawn anew.
			if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
				t.Fatal(err)
			}
			x.wait(`faults:app`)
			x.wait(`WORKER`)
			end(x)
			if code := x.left(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			x.wait(`\x1b\[\?1049l`)
			if text := x.screen.String(); strings.LastIndex(text, "\x1b[?25l") > strings.LastIndex(text, "\x1b[?25h") {
				t.Error("the cursor stays hidden")
			}
		})
	}
	if text := s.must("top", "--once"); strings.Contains(text, "\x1b") || !regexp.MustCompile(`(?m)^ +1 .* \d+$`).MatchString(text) || // CPU% of the first worker
		!strings.Contains(text, "faults:app  serving") || !strings.Contains(text, "requests/s") {
		t.Errorf("--once: %q", text)
	}
}
