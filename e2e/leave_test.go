package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestThreadsThatStay: threads that are no daemons, which Python waits for at its end,
// are named at once, what is to be done at exit is done, and all within the time that a
// stop has.
func TestThreadsThatStay(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"stays.py": `
import atexit, concurrent.futures, os, sys, threading
atexit.register(lambda: os.write(2, b"at exit\n"))
pool = concurrent.futures.ThreadPoolExecutor(2)
def tick():
    pass
def loop():
    threading.Event().wait()
def begin(thread):
    thread.daemon = False # as are those that are begun at import
    thread.start()
def app(environ, start_response):
    pool.submit(tick).result()
    if environ["PATH_INFO"] == "/timer":
        begin(threading.Timer(1000, tick))
    if environ["PATH_INFO"] == "/thread":
        begin(threading.Thread(target=loop, name="looper"))
    if environ["PATH_INFO"] == "/brief":
        begin(threading.Timer(2, tick))
    start_response("200 OK", [])
    return [b"ok"]
`})
	for _, c := range []struct{ path, want, more string }{
		{"/timer", "(stays.tick)", ""},
		{"/timer", "(stays.tick)", "--preload"},
		{"/thread", "'looper' (stays.loop)", "--threads=3"},
		{"/brief", "(stays.tick)", ""},
		{"/", "", ""},
	} {
		t.Run(c.path+c.more, func(t *testing.T) {
			t.Parallel()
			args := []string{"--graceful-timeout", "4", "--chdir", dir, "stays:app"}
			if c.more != "" {
				args = append(args, c.more)
			}
			s := start(t, args...)
			s.get(c.path)
			begun := time.Now()
			s.signal(syscall.SIGTERM)
			if c.want != "" {
				s.waitLog("cannot end as long as threads run that are no daemons")
				s.waitLog(c.want)
			}
			<-s.exited
			took, log := time.Since(begun), s.log.String()
			if took > 4*time.Second+2*time.Second { // of the machine's
				t.Errorf("the stop took %v", took)
			}
			if strings.Count(log, "at exit") != 1 || strings.Contains(log, "killed") || !strings.Contains(log, "cause=stopped status=exit:0") {
				t.Errorf("it did not leave in good order:\n%s", log)
			}
			if late := strings.Contains(log, "ends without its threads"); late != (c.path == "/timer" || c.path == "/thread") {
				t.Errorf("ends without its threads: %v", late)
			}
			if c.path == "/" && strings.Contains(log, "daemons") {
				t.Errorf("an idle pool holds up nothing:\n%s", log)
			}
		})
	}
}

// TestLastTracebacks: of a worker that was told to leave and does not the log has what it is at,
// before it is killed.
func TestLastTracebacks(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"lingers.py": `
import atexit, os, time
def says_goodbye_for_ever():
    os.write(2, b"at exit\n")
    time.sleep(1000)
def never_gives_up():
    while True:
        try:
            os.write(2, b"begun\n")
            time.sleep(1000)
        except BaseException:
            pass
def app(environ, start_response):
    if environ["PATH_INFO"] == "/deaf":
        never_gives_up()
    atexit.register(says_goodbye_for_ever)
    start_response("200 OK", [])
    return [b"ok"]
`})
	for _, c := range []struct {
		path, want string
		signal     syscall.Signal
		args       []string
	}{
		{"/", "in says_goodbye_for_ever", syscall.SIGTERM, nil},
		{"/", "in says_goodbye_for_ever", syscall.SIGTERM, []string{"--preload"}},
		{"/", "in says_goodbye_for_ever", syscall.SIGHUP, []string{"--threads", "3"}},
		{"/deaf", "in never_gives_up", syscall.SIGTERM, []string{"--threads", "2"}},
	} {
		t.Run(strings.Join(append(c.args, c.path, c.signal.String()), " "), func(t *testing.T) {
			t.Parallel()
			s := start(t, append([]string{"--graceful-timeout", "4", "--chdir", dir, "lingers:app"}, c.args...)...)
			if c.path == "/" {
				s.get(c.path)
			} else {
				s.dial().send("GET ", c.path, " HTTP/1.1\r\nHost: a\r\n\r\n")
				s.waitLog("begun")
			}
			s.signal(c.signal)
			s.waitLog("was told to leave does not")
			s.waitLog(c.want)
			s.waitLog("does not leave in time; killing it")
			if c.signal == syscall.SIGTERM {
				<-s.exited
			}
			if strings.Contains(s.log.String(), "worker died") {
				t.Errorf("it was told to:\n%s", s.log)
			}
		})
	}
}
