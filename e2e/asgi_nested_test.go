package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestASGINested: nest_asyncio has the loop run inside a step of its own, which the engine
// bears, and serves others meanwhile; patched before the loop is made, and after.
func TestASGINested(t *testing.T) {
	found, names := pythons(t)
	n := 0
	for _, name := range names {
		packages := asgiPackages(t, found[name])
		if _, err := os.Stat(filepath.Join(packages, "nest_asyncio.py")); packages == "" || err != nil {
			t.Logf("%s: there is no nest_asyncio for it", name)
			continue
		}
		n++
		args := []string{"--python", found[name], "--chdir", filepath.Join(apps, "asgi"), "-e", "PYTHONPATH=" + packages, "-w", "1", "--graceful-timeout", "20"}
		t.Run(strings.Fields(name)[0]+"/import", func(t *testing.T) {
			s := start(t, append(args, "-e", "WHEN=import", "--preload", "nested:app")...)
			s.waitLog("preload: an event loop has been made already (asyncio.unix_events._UnixSelectorEventLoop)")
			nested(t, s)
		})
		t.Run(strings.Fields(name)[0]+"/request", func(t *testing.T) {
			nested(t, start(t, append(args, "-e", "WHEN=request", "nested:app")...))
		})
	}
	if n == 0 {
		t.Error("no CPython here has nest_asyncio")
	}
}

func nested(t *testing.T, s *server) {
	want := func(path, want string) {
		t.Helper()
		if status, body := s.get(path); status != 200 || body != want {
			t.Errorf("%s: %d %q, not %q", path, status, body, want)
		}
	}
	for range 2 {
		want("/sleeps", "ok")
		want("/own_task", "by a task")
	}
	// The body comes when the application waits for it in there.
	body, w := io.Pipe()
	go func() {
		for range 20 {
			io.WriteString(w, strings.Repeat("x", 50_000))
		}
		w.Close()
	}()
	r, err := http.Post("http://"+s.addr+"/body", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(r.Body)
	if r.Body.Close(); string(got) != "1000000" {
		t.Errorf("of a body arrived %q", got)
	}
	// Whoever waits is let go on by another request, which comes while the loop is run
	// inside the steps of all who wait.
	const crowd = 10
	answers := make(chan string, crowd)
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			_, body := s.get("/waits")
			answers <- body
		})
	}
	gone := 0
	s.eventually("all have gone on", func() bool {
		_, body := s.get("/go")
		more := 0
		if _, err := fmt.Sscan(body, &more); err != nil {
			t.Fatalf("/go: %q", body)
		}
		gone += more
		return gone == crowd
	})
	wg.Wait()
	for range crowd {
		if body := <-answers; body != "gone on" {
			t.Errorf("/waits: %q", body)
		}
	}
	if status, _ := s.get("/raises"); status != 500 {
		t.Errorf("/raises: %d", status)
	}
	s.waitLog("ValueError: meant, within")
	if _, body := s.get("/stream"); len(body) != 10_000_000 {
		t.Errorf("of a stream arrived %d bytes", len(body))
	}
	ws := s.websocket("/", "")
	for i := range 20 {
		ws.say(0x81, fmt.Sprint(i))
		ws.want(fmt.Sprintf("1 %d", i))
		want("/sleeps", "ok")
	}
	s.signal(syscall.SIGHUP)
	ws.want("close 1012 ")
	ws.say(0x88, "\x03\xf4")
	s.waitLog("msg=reloaded")
	want("/sleeps", "ok")
	s.stop()
	for _, bad := range []string{"Exception ignored", "Cannot enter into task", "was never retrieved", "killed"} {
		if strings.Contains(s.log.String(), bad) {
			t.Errorf("the log has %q", bad)
		}
	}
}
