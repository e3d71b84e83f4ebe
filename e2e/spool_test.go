package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUploadsAreSpooled: whichever way a large body comes, and however it is read, it
// is whole for the application; one thread is enough for many that are half way.
func TestUploadsAreSpooled(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--spool-dir", dir, "uploads:app"}
	plain := start(t, append([]string{"--http2-cleartext"}, args...)...)
	secure := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), args...)...)
	want := filler(5_000_000)
	for _, way := range []struct {
		s      *server
		c      *http.Client
		scheme string
	}{{plain, client, "http"}, {plain, h2client(), "http"}, {secure, secure.secure(false, nil), "https"}, {secure, secure.secure(true, nil), "https"}} {
		for _, page := range []string{"/", "/lines"} {
			for _, r := range []io.Reader{strings.NewReader(want), noLength{strings.NewReader(want)}} {
				u := way.s.upload(way.c, way.scheme, page, "text/plain", r, want)
				if u.Length == nil || *u.Length != "5000000" || u.Encoding != nil || !u.Seekable || !u.Again ||
					u.Middle != want[2_500_000:2_500_003] || u.End != want[len(want)-3:] {
					t.Errorf("%s%s: %s", way.scheme, page, jsonOf(u))
				}
			}
		}
	}

	s := plain
	var half []*wire
	for i := range 10 {
		c, text := s.dial(), post("/", want)
		if i%2 == 1 {
			text = postChunked("/", want, 70_000)
		}
		c.send(text[:2_000_000])
		half = append(half, c)
	}
	s.eventually("ten files", func() bool { return s.metric("hostler_spool_files", "") == 10 })
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the files have names: %v %v", names, err)
	}
	for range 10 {
		if code, _ := s.get("/unread"); code != 200 {
			t.Errorf("%d beside the uploads", code)
		}
	}
	s.signal(syscall.SIGHUP) // what is half way stays where it is, and is answered
	s.waitLog("msg=reloaded")
	for i, c := range half[:8] {
		text := post("/", want)
		if i%2 == 1 {
			text = postChunked("/", want, 70_000)
		}
		c.send(text[2_000_000:])
		if r, b := c.answer("POST"); r.StatusCode != 200 || !strings.Contains(b, sha(want)) {
			t.Errorf("%d %.300s", r.StatusCode, b)
		}
	}
	half[8].Close()
	half[9].reset()
	s.waitLog("cause=reload") // the worker has left: no client is left to it
	s.eventually("no file", func() bool {
		return s.metric("hostler_spool_files", "") == 0 && s.metric("hostler_spool_bytes", "") == 0
	})
	if strings.Contains(s.log.String(), "request lost") || strings.Contains(s.log.String(), "killing it") {
		t.Error("the old worker was not left in peace")
	}
	if n := s.metric("hostler_spooled_bytes_total", ""); n < 40_000_000 {
		t.Errorf("%v bytes were counted", n)
	}
}

// TestManyUploads: what is on the disk is not in memory.
func TestManyUploads(t *testing.T) {
	s := start(t, "--spool-dir", t.TempDir(), "uploads:app")
	anonymous := func() int {
		n, _ := strconv.Atoi(strings.Fields(procField(s.workers()[0], "RssAnon"))[0])
		return n
	}
	before := anonymous()
	const each, clients = 12_000_000, 16
	text := post("/unread", filler(each))
	var all []*wire
	for range clients {
		c := s.dial()
		c.send(text[:len(text)-1])
		all = append(all, c)
	}
	s.eventually("it to be on the disk", func() bool { return s.metric("hostler_spool_bytes", "") > clients*each*9/10 })
	if n := anonymous() - before; n > 40_000 {
		t.Errorf("%d kB more in memory for %d kB of uploads", n, clients*each/1000)
	}
	for _, c := range all {
		c.send(text[len(text)-1:])
		if r, b := c.answer("POST"); r.StatusCode != 200 {
			t.Errorf("%d %s", r.StatusCode, b)
		}
	}
}

// TestSpoolDiskFull fills a real disk, a small one in memory: the upload gets through
// all the same, and so does everybody else.
func TestSpoolDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir, err := os.MkdirTemp("", "hostler-spool") // not t.TempDir, which nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=3m,mode=777"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error("a file is still there: ", err)
		}
	}()
	s := start(t, "--threads", "2", "--http2-cleartext", "--spool-dir", dir, "--user", "nobody", "--python", "/usr/bin/python3", "uploads:app")
	defer s.stop()
	room := func() uint64 {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		return st.Bavail * uint64(st.Bsize)
	}
	free := room()
	large, small := filler(6_000_000), filler(1_500_000)
	for _, c := range []*http.Client{client, h2client()} {
		for _, r := range []io.Reader{strings.NewReader(large), noLength{strings.NewReader(large)}} {
			if u := s.upload(c, "http", "/", "text/plain", r, large); u.Seekable {
				t.Error("a body that did not fit was spooled")
			}
			if u := s.upload(c, "http", "/", "text/plain", noLength{strings.NewReader(small)}, small); !u.Seekable {
				t.Error("there is no room again")
			}
		}
	}
	s.waitLog("cannot be spooled")
	if n := s.metric("hostler_spool_failures_total", ""); n != 4 {
		t.Errorf("%v failures", n)
	}
	c := s.dial()
	c.send(post("/", large)[:2_000_000])
	s.eventually("a file", func() bool { return s.metric("hostler_spool_files", "") == 1 && room() < free })
	if err := syscall.Kill(s.workers()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually("nothing to be left of it", func() bool { return room() == free })
}

// TestSpoolDirs: where nothing can be written bodies stream, and the log says why.
func TestSpoolDirs(t *testing.T) {
	body := filler(3_000_000)
	for _, c := range []struct {
		args     []string
		seekable bool
		log      string
	}{
		{[]string{"--spool-dir", "/nowhere/at/all"}, false, "/nowhere/at/all"},
		{[]string{"--spool-limit", "0"}, false, ""},
		{[]string{"--spool-limit", "2m"}, false, ""},
		{[]string{"--stream-uploads", "/s*"}, true, ""},
		{[]string{"-e", "TMPDIR=/dev/shm"}, true, ""}, // not there, as it is in memory
	} {
		s := start(t, append(c.args, "uploads:app")...)
		for range 2 {
			if u := s.upload(client, "http", "/", "text/plain", strings.NewReader(body), body); u.Seekable != c.seekable {
				t.Errorf("%v: %s", c.args, jsonOf(u))
			}
		}
		if c.log != "" {
			s.waitLog(c.log)
			if n := strings.Count(s.log.String(), "cannot be spooled"); n != 1 {
				t.Errorf("%d lines in the log", n)
			}
		}
		s.stop()
	}
}

// TestStreamUploads: the application has a body's begin before its end is sent, and
// can refuse one that it is asked about first.
func TestStreamUploads(t *testing.T) {
	s := start(t, "--stream-uploads", "/stream*", "uploads:app")
	body := filler(3_000_000)
	c := s.dial()
	text := post("/stream", body)
	head := strings.Index(text, "\r\n\r\n") + 4
	c.send(strings.Replace(text[:head], "Host: a", "Host: a\r\nExpect: 100-continue", 1))
	if line, err := c.r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	if _, err := c.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c.send(text[head : head+1])
	time.Sleep(100 * time.Millisecond) // the application takes it
	c.send(text[head+1:])
	r, b := c.answer("POST")
	if r.StatusCode != 200 || !strings.Contains(b, fmt.Sprintf(`"size": %d`, len(body)-1)) && !strings.Contains(b, `"first": `) {
		t.Errorf("%d %s", r.StatusCode, b)
	}
	if !strings.Contains(b, `"seekable": false`) || !strings.Contains(b, `"CONTENT_LENGTH": "3000000"`) {
		t.Errorf("%s", b)
	}
}
