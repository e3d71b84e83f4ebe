package worker

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/logwriter"
)

// A log that nobody reads costs its lines and nothing else: every request is
// answered, and each line is written or counted.
func TestStalledAccessLog(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	r := newRig(t, testConfig(), func(c *call) { c.ok("x") })
	fd, err := unix.FcntlInt(pw.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	pw.Close()
	lost := &r.slot.Counters.AccessLogErrors
	r.access.to = logwriter.New(logwriter.Options{FD: fd, Gather: accessGather, Lost: func(n uint64) { lost.Add(n) }})
	r.start()
	const n = 1000
	target := "/" + strings.Repeat("x", 4000)
	c := r.dial()
	rd := responses(t, c)
	for i := range n {
		send(t, c, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if p, err := rd.read(false); err != nil || p.status != 200 {
			t.Fatalf("request %d: %v, %v", i, p, err)
		}
	}
	r.stopNow()
	r.access.to.Close()
	var all strings.Builder
	_ = pr.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := pr.WriteTo(&all); err != nil {
		t.Fatal(err)
	}
	got := strings.Count(all.String(), target+` HTTP/1.1" 200 `)
	if uint64(got)+lost.Load() != n || got < 200 || lost.Load() == 0 {
		t.Errorf("%d lines are there, %d lost, of %d", got, lost.Load(), n)
	}
}
