package spawn

import (
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"hostler/protocol"
)

// TestCloseWaits: when the spawner has ended, so have its processes, and nobody has the
// sockets that they had.
func TestCloseWaits(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	libs := NewLibraries(log, func(Libc) (*io.SectionReader, error) { return section("none"), nil }, t.TempDir())
	s, err := New(log, "exec sleep 1000", 0, libs, 0)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{}, 1)
	spec := Spec{Python: "/bin/sh", Config: &protocol.WorkerConfig{}, Secrets: -1, Pages: -1, Errors: -1}
	p, err := s.Start(spec, func(r Report) {
		if r.Begun {
			begun <- struct{}{}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-begun:
	case <-time.After(time.Minute):
		t.Fatal("it does not begin")
	}
	pid := p.PID()
	s.Close()
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d is there: %v", pid, err)
	}
}
