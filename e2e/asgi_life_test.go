package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exitStatus waits until the server has ended.
func (s *server) exitStatus() int {
	s.t.Helper()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		s.t.Fatal("the server does not end")
		return 0
	}
}

// TestASGILifespan has the application start and end in all ways.
func TestASGILifespan(t *testing.T) {
	t.Run("whole", func(t *testing.T) {
		for _, loop := range loops {
			p := startProbe(t, "--loop", loop)
			if n := p.await("startup"); n["thread"] != true {
				t.Error("startup is not in the main thread")
			}
			p.signal(syscall.SIGTERM)
			p.exitStatus()
			p.await("shutdown")
		}
	})
	t.Run("unknown", func(t *testing.T) { // as Django: nothing to be alarmed about
		p := startProbe(t, "-e", "PROBE_LIFESPAN=raise")
		if _, b := p.get("/"); b != "hello" {
			t.Errorf("served %q", b)
		}
		if strings.Contains(p.log.String(), "Traceback") {
			t.Error("that lifespan is not known is in the log as an exception")
		}
	})
	for mode, want := range map[string]string{"failed": "the database is down", "raise later": "broke in startup"} {
		t.Run(mode, func(t *testing.T) {
			p := launchProbe(t, "-e", "PROBE_LIFESPAN="+mode)
			p.waitLog(want)
			if status := p.exitStatus(); status == 0 {
				t.Error("ended with 0")
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		p := startProbe(t, "--lifespan", "off", "-e", "PROBE_LIFESPAN=failed")
		if _, b := p.get("/"); b != "hello" {
			t.Errorf("served %q", b)
		}
	})
	t.Run("on", func(t *testing.T) { // insists
		p := launchProbe(t, "--lifespan", "on", "-e", "PROBE_LIFESPAN=raise")
		p.waitLog("no lifespan here")
		if status := p.exitStatus(); status == 0 {
			t.Error("ended with 0")
		}
	})
	t.Run("slow", func(t *testing.T) { // no request before it is done
		p := launchProbe(t, "-e", "PROBE_LIFESPAN=slow")
		p.await("startup")
		if strings.Contains(p.log.String(), "msg=serving") {
			t.Error("served before the startup was complete")
		}
		p.waitLog("msg=serving")
		if _, b := p.get("/state"); b != `[["shared"], 1]` {
			t.Errorf("state: %s", b)
		}
	})
	t.Run("hang", func(t *testing.T) { // the limit is the boot's
		p := launchProbe(t, "--boot-timeout", "4", "-e", "PROBE_LIFESPAN=hangs")
		p.await("startup")
		p.waitLog("boot_timeout=4s")
	})
	t.Run("takes long", func(t *testing.T) { // where it waits is said before that
		p := launchProbe(t, "-e", "PROBE_LIFESPAN=hangs")
		p.waitLog("the application's startup takes long; it waits here:")
		p.waitLog("in connects")
	})
	t.Run("dies", func(t *testing.T) { // said, and the worker is replaced
		p := startProbe(t, "-e", "PROBE_LIFESPAN=dies")
		p.waitLog("lifespan died")
		p.await("startup", 2)
	})
	for mode, want := range map[string]string{"shutdown raises": "broke in shutdown", "shutdown failed": "cannot say goodbye", "shutdown hangs": ""} {
		t.Run(mode, func(t *testing.T) {
			p := startProbe(t, "--graceful-timeout", "3", "-e", "PROBE_LIFESPAN="+mode)
			p.signal(syscall.SIGTERM)
			p.exitStatus()
			p.await("shutdown")
			if !strings.Contains(p.log.String(), want) {
				t.Errorf("%q is not in the log", want)
			}
		})
	}
}

const lifespanApp = `
import os
what, raises = os.environ['WHAT'], 'RAISES' in os.environ

async def app(scope, receive, send):
    if scope['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': repr(scope['state']).encode()})
        return
    print('its scope', sorted(scope.items()), flush=True)
    assert await receive() == {'type': 'lifespan.startup'}
    if what == 'startup':
        await send({'type': 'lifespan.startup.failed', 'message': 'the cat sleeps'})
        assert not raises
        return
    await send({'type': 'lifespan.startup.complete'})
    scope['state']['late'] = 123
    assert await receive() == {'type': 'lifespan.shutdown'}
    print('its shutdown', flush=True)
    if what == 'shutdown':
        await send({'type': 'lifespan.shutdown.failed', 'message': 'the cat sleeps'})
        assert not raises
        return
    await send({'type': 'lifespan.shutdown.complete'})

def two(scope):
    async def call(receive, send):
        if scope['type'] == 'http':
            await send({'type': 'http.response.start', 'status': 200, 'headers': []})
            await send({'type': 'http.response.body', 'body': scope['asgi']['version'].encode()})
            return
        print('its scope', sorted(scope.items()), flush=True)
    return call
`

// TestASGILifespanModes: what uvicorn's own tests of lifespan want, of our server. Only that an
// application which never answers will not do with --lifespan on is ours.
func TestASGILifespanModes(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"life.py": lifespanApp})
	run := func(t *testing.T, app, mode, what string, raises bool) *server {
		t.Helper()
		args := append(asgiArgs(t), "--chdir", dir, "--lifespan", mode, "-e", "WHAT="+what)
		if raises {
			args = append(args, "-e", "RAISES=1")
		}
		return launch(t, append(args, app)...)
	}
	scope := func(version string) string {
		return "its scope [('asgi', {'version': '" + version + "', 'spec_version': '2.0'}), ('state', {}), ('type', 'lifespan')]"
	}
	for _, mode := range []string{"auto", "on"} {
		for _, raises := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, raises), func(t *testing.T) {
				s := run(t, "life:app", mode, "startup", raises)
				if status := s.exitStatus(); status == 0 || !strings.Contains(s.log.String(), "the application's startup failed: the cat sleeps") {
					t.Errorf("a startup that failed ends with %d: %s", status, s.log)
				}
				s = run(t, "life:app", mode, "shutdown", raises)
				s.waitLog("msg=serving")
				if _, b := s.get("/"); b != "{'late': 123}" {
					t.Errorf("state: %s", b)
				}
				s.signal(syscall.SIGTERM)
				if status := s.exitStatus(); status != 0 || strings.Count(s.log.String(), "the application's shutdown failed: the cat sleeps") != 1 || !strings.Contains(s.log.String(), scope("3.0")) {
					t.Errorf("a shutdown that failed ends with %d: %s", status, s.log)
				}
			})
		}
	}
	t.Run("off", func(t *testing.T) {
		s := run(t, "life:app", "off", "startup", true)
		s.waitLog("msg=serving")
		if _, b := s.get("/"); b != "{}" || strings.Contains(s.log.String(), "its scope") {
			t.Errorf("answered %s: %s", b, s.log)
		}
	})
	t.Run("two calls", func(t *testing.T) {
		s := run(t, "life:two", "auto", "", false)
		s.waitLog("msg=serving")
		s.waitLog(scope("2.0"))
		if _, b := s.get("/"); b != "2.0" {
			t.Errorf("answered %s: %s", b, s.log)
		}
		if status := run(t, "life:two", "on", "", false).exitStatus(); status == 0 {
			t.Error("--lifespan on is content with an application that never answers")
		}
	})
}

// cannotStop are what the log must not have where an application that hangs is stopped in good
// order.
var cannotStop = []string{"does not leave in time", "worker died", "Traceback", "never awaited", "never retrieved", "was destroyed"}

// leftWell waits for the end of a server that is to end in good order, with this in its log.
func (p *probe) leftWell(want ...string) {
	p.t.Helper()
	if status := p.exitStatus(); status != 0 {
		p.t.Errorf("ended with %d", status)
	}
	for _, text := range want {
		if !strings.Contains(p.log.String(), text) {
			p.t.Errorf("%q is not in the log", text)
		}
	}
	for _, bad := range cannotStop {
		if strings.Contains(p.log.String(), bad) {
			p.t.Errorf("the log has %q", bad)
		}
	}
}

// TestASGIHangs stops a server whose application hangs in its startup or shutdown: that is
// cancelled and may clean up, what does not obey is left behind in time, and the log says where it
// waits.
func TestASGIHangs(t *testing.T) {
	for _, loop := range loops {
		for _, preload := range []bool{false, true} {
			args := []string{"--loop", loop, "--graceful-timeout", "8"}
			name := loop
			if preload {
				args, name = append(args, "--preload"), name+"/preload"
			}
			stopped := func(t *testing.T, how string, more ...string) *probe {
				t.Helper()
				p := launchProbe(t, append(append(args, more...), "-e", "PROBE_LIFESPAN="+how)...)
				p.await("startup")
				if strings.HasPrefix(how, "shutdown") {
					p.waitLog("msg=serving")
				}
				time.Sleep(50 * time.Millisecond) // most come to where it waits; those that do not are as good
				p.signal(syscall.SIGTERM)
				return p
			}
			startup := []string{"the application's startup is cancelled, for the worker is to leave; it waits here:", "in connection", "in connects"}
			t.Run(name+"/hangs", func(t *testing.T) {
				p := stopped(t, "hangs", "--graceful-timeout", "3600")
				p.leftWell(startup...)
				if n := p.await("cancelled"); n.string("error") != "CancelledError" {
					t.Error(n)
				}
			})
			t.Run(name+"/swallows", func(t *testing.T) {
				p := stopped(t, "swallows")
				p.leftWell(append(startup, "the application's startup goes on although it is cancelled, and is left behind")...)
			})
			t.Run(name+"/cleans", func(t *testing.T) {
				p := stopped(t, "cleans", "--graceful-timeout", "60")
				p.leftWell(startup...)
				p.await("cleaned")
			})
			if preload {
				continue
			}
			t.Run(name+"/shutdown swallows", func(t *testing.T) {
				p := stopped(t, "shutdown swallows")
				p.leftWell("the application's shutdown takes too long, and is cancelled; it waits here:", "in connects",
					"the application's shutdown goes on although it is cancelled, and is left behind")
			})
		}
		t.Run(loop+"/shutdown slow", func(t *testing.T) { // it has all of its time: --timeout is of requests
			p := startProbe(t, "--loop", loop, "--timeout", "2", "-e", "PROBE_LIFESPAN=shutdown slow")
			p.signal(syscall.SIGTERM)
			p.leftWell()
			p.await("shutdown done")
		})
		t.Run(loop+"/shutdown gathers", func(t *testing.T) { // all tasks, cancels them, waits for them, and goes on
			p := startProbe(t, "--loop", loop, "-e", "PROBE_LIFESPAN=shutdown gathers")
			p.signal(syscall.SIGHUP)
			p.await("gathered")
			p.signal(syscall.SIGTERM)
			p.leftWell()
			p.await("gathered", 2)
		})
		for _, how := range []string{"blocks", "shutdown blocks"} { // nothing but a signal gets through to it
			t.Run(loop+"/"+how, func(t *testing.T) {
				p := launchProbe(t, "--loop", loop, "--graceful-timeout", "4", "-e", "PROBE_LIFESPAN="+how)
				p.await("startup")
				if how != "blocks" {
					p.waitLog("msg=serving")
				}
				p.signal(syscall.SIGTERM)
				p.exitStatus()
				for _, want := range []string{"was told to leave does not", "in hangs", "in lifespan"} {
					if !strings.Contains(p.log.String(), want) {
						t.Errorf("%q is not in the log", want)
					}
				}
			})
		}
	}
}

// TestASGIOwnHandler stops a server whose application has a handler of its own for SIGTERM, and is
// still in its startup: it has time to end what it has begun, in its own way, or to get ready, and
// what goes on all the same is cancelled in the middle of the time.
func TestASGIOwnHandler(t *testing.T) {
	for _, loop := range loops {
		for _, preload := range []bool{false, true} {
			stopped := func(t *testing.T, how, grace string) *probe {
				t.Helper()
				args := []string{"--loop", loop, "--graceful-timeout", grace, "-e", "PROBE_LIFESPAN=handles, " + how}
				if preload {
					args = append(args, "--preload")
				}
				p := launchProbe(t, args...)
				p.await("handles")
				p.signal(syscall.SIGTERM)
				return p
			}
			name := fmt.Sprintf("%s/preload %v/", loop, preload)
			t.Run(name+"gets ready", func(t *testing.T) {
				p := stopped(t, "signal()", "60")
				p.leftWell()
				p.await("cleaned")
				p.await("shutdown")
			})
			t.Run(name+"gives up", func(t *testing.T) {
				p := stopped(t, "gives up", "60")
				p.await("told")
				p.leftWell("while the worker was to leave: the application's startup failed: it was told to leave")
				p.await("cleaned")
			})
			t.Run(name+"exits", func(t *testing.T) { // which ends the startup as our own handler does
				p := stopped(t, "exits", "60")
				p.leftWell("the application's startup is cancelled, for the worker is to leave; it waits here:", "in connects")
				p.await("cleaned")
			})
			t.Run(name+"goes on", func(t *testing.T) {
				p := stopped(t, "goes on", "8")
				p.await("told")
				p.leftWell("the application's startup is cancelled, for the worker is to leave; it waits here:", "in handles")
				p.await("cancelled")
			})
		}
	}
}

// TestASGIHangingReload stops a server while a new generation hangs in its startup, and the old one
// serves.
func TestASGIHangingReload(t *testing.T) {
	for _, loop := range loops {
		for _, preload := range []string{"", "--preload"} {
			t.Run(loop+preload, func(t *testing.T) {
				args := []string{"--loop", loop, "-w", "2", "--graceful-timeout", "3600"}
				if preload != "" {
					args = append(args, preload)
				}
				p := startProbe(t, args...)
				p.await("startup", 2)
				old := p.workers()
				if err := os.WriteFile(p.file+".lifespan", []byte("hangs"), 0o644); err != nil {
					t.Fatal(err)
				}
				p.signal(syscall.SIGHUP)
				p.await("startup", 4)
				if _, b := p.get("/pid"); b != fmt.Sprint(old[0]) && b != fmt.Sprint(old[1]) {
					t.Errorf("served by %s, not one of %v", b, old)
				}
				p.signal(syscall.SIGTERM)
				p.leftWell("the application's startup is cancelled", "in connects")
				p.await("cancelled", 2)
				p.await("shutdown", 2)
			})
		}
	}
}

// TestASGIReload replaces workers under load: no request fails, each lifespan ends, and
// after its requests; a new application that does not start changes nothing.
func TestASGIReload(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			p := startProbe(t, "-w", "2", "--loop", loop)
			p.await("startup", 2)
			c := p.ask("GET /slow?2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			p.await("slow begun")
			p.underLoad(func() {
				p.signal(syscall.SIGHUP)
				p.waitLog("msg=reloaded")
			})
			if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "slow") {
				t.Errorf("a request that was under way: %q, %v", b, err)
			}
			p.await("shutdown", 2)
			worker := p.await("slow answered")["pid"]
			for _, n := range p.noted("shutdown") {
				if n["pid"] == worker && n["at"].(float64) < p.await("slow answered")["at"].(float64) {
					t.Error("the lifespan has ended before a request")
				}
			}
			if n := len(p.noted("startup")); n != 4 {
				t.Errorf("%d workers have started, want 4", n)
			}
		})
	}
}

// TestASGIStop ends a server with all kinds of work open: streams are told at once,
// background work and jobs of the executor end, and lifespan is last.
func TestASGIStop(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			p := startProbe(t, "--loop", loop)
			sse := bufio.NewReader(p.ask(getHead("/sse")))
			until(t, sse, "data: x")
			p.ask(getHead("/background"))
			p.ask(getHead("/executor"))
			p.await("background begun")
			began := time.Now()
			p.signal(syscall.SIGTERM)
			told := p.await("sse told")
			p.exitStatus()
			if b, err := io.ReadAll(sse); err != nil {
				t.Errorf("the stream's end: %.100q, %v", b, err)
			}
			if d := time.UnixMicro(int64(told["at"].(float64) * 1e6)).Sub(began); d > 2*time.Second {
				t.Errorf("the stream was told after %v", d)
			}
			ends := p.await("shutdown")["at"].(float64)
			for _, event := range []string{"sse ends", "background done"} {
				if n := p.await(event); n["at"].(float64) > ends {
					t.Errorf("%s came after lifespan.shutdown", event)
				}
			}
			p.await("executor done")
		})
	}
}

// TestASGIStopNow ends at once, by SIGQUIT or a second SIGINT, and while it ends already: what
// runs is cancelled, also behind its response, and then comes lifespan.shutdown.
func TestASGIStopNow(t *testing.T) {
	for name, signals := range map[string][]syscall.Signal{"QUIT": {syscall.SIGQUIT}, "INT, INT": {syscall.SIGINT, syscall.SIGINT}, "TERM, QUIT": {syscall.SIGTERM, syscall.SIGQUIT}} {
		for _, loop := range loops {
			t.Run(name+"/"+loop, func(t *testing.T) {
				p := startProbe(t, "--loop", loop)
				until(t, bufio.NewReader(p.ask(getHead("/silent"))), "begun")
				for _, path := range []string{"/slow?60", "/wait", "/background"} {
					p.ask(getHead(path))
				}
				for _, event := range []string{"slow begun", "waiting", "background begun"} {
					p.await(event)
				}
				for i, s := range signals {
					if i > 0 {
						p.waitLog("stopping")
						time.Sleep(1100 * time.Millisecond) // before that it is the first one's echo
					}
					p.signal(s)
				}
				p.exitStatus()
				all := p.noted("")
				if last := all[len(all)-1]; last.string("event") != "shutdown" && last.string("event") != "background" {
					t.Errorf("the last was %v", last)
				}
				p.await("shutdown")
				if n := p.await("slow cancelled"); n.string("error") != "CancelledError" {
					t.Error(n)
				}
				p.await("disconnect")
				p.await("silent cancelled")
				if strings.Contains(p.log.String(), "Traceback") || strings.Contains(p.log.String(), "RuntimeError") {
					t.Error("that requests were told to go is in the log as an error")
				}
			})
		}
	}
}

// TestASGIStopSilent ends a server whose stream neither listens nor sends: it is
// cancelled in time for the end to be graceful.
func TestASGIStopSilent(t *testing.T) {
	p := startProbe(t, "--graceful-timeout", "4")
	until(t, bufio.NewReader(p.ask(getHead("/silent"))), "begun")
	p.signal(syscall.SIGTERM)
	if status := p.exitStatus(); status != 0 {
		t.Errorf("ended with %d", status)
	}
	p.await("silent cancelled")
	p.await("shutdown")
}

// TestASGIRecycled replaces a worker after its last request, under load.
func TestASGIRecycled(t *testing.T) {
	p := startProbe(t, "-w", "2", "--max-requests", "200", "--max-requests-jitter", "50")
	p.underLoad(func() { p.await("shutdown", 2) })
}

// TestASGIKilled goes on when a worker is killed.
func TestASGIKilled(t *testing.T) {
	p := startProbe(t, "-w", "2")
	p.await("startup", 2)
	if err := syscall.Kill(p.workers()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.await("startup", 3)
	if _, b := p.get("/"); b != "hello" {
		t.Errorf("served %q", b)
	}
}

// TestASGITimeout cancels a request that takes too long, answers 504, and keeps the
// worker; of a loop that is blocked the worker is replaced.
func TestASGITimeout(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			p := startProbe(t, "--timeout", "1", "--loop", loop)
			if out := p.raw("GET /slow?30 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 504") {
				t.Errorf("answered %q", out)
			}
			p.await("slow cancelled")
			if n := len(p.noted("startup")); n != 1 {
				t.Errorf("%d workers have started", n)
			}
			c := p.ask(getHead("/block?30"))
			if b, _ := bufio.NewReader(c).ReadString('\n'); b != "" && !strings.HasPrefix(b, "HTTP/1.1 50") {
				t.Errorf("of a loop that is blocked: %q", b)
			}
			p.eventually("service", func() bool {
				out, err := client.Get("http://" + p.addr + "/")
				if err != nil {
					return false
				}
				out.Body.Close()
				return out.StatusCode == 200
			})
		})
	}
}

// TestASGIInterrupt has a request block the loop for longer than --timeout, in code that an
// exception can end: it is answered 504, or cut, and the worker lives. What blocks and is no
// request costs the worker.
func TestASGIInterrupt(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			p := startProbe(t, "--timeout", "1", "--loop", loop)
			for i, want := range []string{"504", "begun"} {
				path := map[string]string{"504": "/spin", "begun": "/spin?begun"}[want]
				out := p.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				if !strings.Contains(out, want) || strings.HasSuffix(out, "0\r\n\r\n") {
					t.Errorf("%s: %q", path, out)
				}
				if n := p.await("spin ended", i+1); n.string("error") != "RequestTimeout" {
					t.Error(n)
				}
			}
			if _, b := p.get("/"); b != "hello" {
				t.Errorf("after that: %q", b)
			}
			if n := len(p.noted("startup")); n != 1 {
				t.Errorf("%d workers have started", n)
			}
			for i, path := range []string{"/spin?behind", "/spin?callback"} {
				if out := p.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(out, "answered") {
					t.Errorf("%s: %q", path, out)
				}
				p.await("spins", i+3)
				p.ask(getHead("/")) // of a loop that is not ours it is seen when somebody waits for it
				p.waitLog("an event loop is blocked for longer than --timeout, and not by a request", i+1)
				p.await("startup", i+2)
			}
			if _, b := p.get("/"); b != "hello" {
				t.Errorf("at the end: %q", b)
			}
		})
	}
}

// TestASGIBlocked has one of two loops blocked, by a request or by something else: clients
// of the other, and those whose connections can go there, do not wait for it, and the log
// says who blocks.
func TestASGIBlocked(t *testing.T) {
	for _, loop := range loops {
		for path, says := range map[string]string{"/block": "/block", "/block/callback": "in hold"} {
			t.Run(loop+path, func(t *testing.T) {
				p := startProbe(t, "-w", "2", "--loop", loop)
				p.await("startup", 2)
				keptAlive := make([]net.Conn, 8)
				for i := range keptAlive {
					keptAlive[i] = p.ask(getHead("/pid"))
					until(t, bufio.NewReader(keptAlive[i]), "")
				}
				c := p.ask("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				blocked := p.await("blocking")
				for _, k := range keptAlive { // of which some are the blocked one's
					_, _ = io.WriteString(k, "GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				}
				var served []string
				for _, k := range keptAlive {
					b, err := io.ReadAll(k)
					if err != nil {
						t.Error(err)
					}
					served = append(served, string(b))
				}
				for len(served) < 20 {
					_, b := p.get("/pid")
					served = append(served, b)
				}
				for _, b := range served {
					if strings.HasSuffix(b, "\n"+fmt.Sprint(blocked.number("pid"))) || b == fmt.Sprint(blocked.number("pid")) {
						t.Errorf("a request went to the loop that is blocked: %q", b)
					}
				}
				p.waitLog("the event loop is blocked")
				p.waitLog(says)
				if len(p.noted("blocked")) > 0 {
					t.Error("they have waited for the loop that is blocked")
				}
				if err := os.WriteFile(p.file+".free", nil, 0o644); err != nil {
					t.Fatal(err)
				}
				if b, _ := io.ReadAll(c); !strings.Contains(string(b), "blocked") {
					t.Errorf("the request itself: %q", b)
				}
				p.eventually("the metric", func() bool { return p.metric("hostler_loop_lag_seconds_count", "") > 0 })
				p.eventually("the metric", func() bool { return p.metric("hostler_loop_blocks_total", "") > 0 })
			})
		}
	}
}

// TestASGIBlockedMeanwhile: what comes while a loop is blocked is not lost. A WebSocket's ping is
// answered, and the socket closed, when its worker is to leave; of a client that leaves the
// application is told once the loop is back; a reload has others serve at once, and the blocking
// request itself is answered by a worker that leaves, at a reload as at a stop.
func TestASGIBlockedMeanwhile(t *testing.T) {
	for _, loop := range loops {
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
			t.Run(fmt.Sprint(loop, "/", sig), func(t *testing.T) {
				p := startProbe(t, "--loop", loop, "--timeout", "0", "--graceful-timeout", "40", "--pythonpath", "..")
				w := p.openSocket(t, "/", false)
				w.send(frameText, "before")
				w.want(frameText, "before")
				leaves := p.ask(getHead("/wait"))
				p.await("waiting")
				c := p.ask("GET /block HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				blocked := p.await("blocking")
				w.send(framePing, "are you there")
				w.want(framePong, "are you there")
				leaves.Close()
				p.signal(sig)
				if sig == syscall.SIGHUP {
					p.waitLog("msg=reloaded")
					if _, b := p.get("/pid"); b == fmt.Sprint(blocked.number("pid")) {
						t.Error("a request went to the loop that is blocked")
					}
				} else {
					p.waitLog("msg=stopping")
				}
				w.want(frameClose, map[syscall.Signal]string{syscall.SIGHUP: "\x03\xf4", syscall.SIGTERM: "\x03\xe9"}[sig])
				if len(p.noted("blocked")) > 0 {
					t.Fatal("the loop was not blocked any more")
				}
				if err := os.WriteFile(p.file+".free", nil, 0o644); err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "blocked") {
					t.Errorf("the request itself: %q, %v", b, err)
				}
				p.await("disconnect")
				p.await("shutdown")
				if sig == syscall.SIGTERM {
					p.leftWell()
				}
			})
		}
	}
}
