package spawn

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// TestLastWords: what a process has said before its end is read also by who comes late to it,
// but somebody who goes on for ever is not listened to for ever.
func TestLastWords(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	c := &child{control: os.NewFile(uintptr(fds[0]), "control"), words: string(rune(protocol.KindReady)), pid: os.Getpid()}
	defer c.control.Close()
	if err := c.control.SetReadDeadline(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	ready := protocol.Message{Kind: protocol.KindReady}.Append(nil)
	heard := 0
	listen := func(again func()) {
		c.read(slog.New(slog.DiscardHandler), func(r Report) {
			if r.Message.Kind == protocol.KindReady {
				heard++
				again()
			}
		})
	}
	say := func() {
		if _, err := unix.Write(fds[1], ready); err != nil {
			t.Fatal(err)
		}
	}
	say()
	say()
	listen(func() {})
	if heard != 2 {
		t.Errorf("%d messages were heard of 2", heard)
	}
	heard = 0
	say()
	listen(say)
	if heard != lateWords {
		t.Errorf("%d messages were heard, and not %d", heard, lateWords)
	}
}

// slowMetrics is somebody to whom a descriptor was sent that he does not get rid of.
type slowMetrics struct{ took, end chan struct{} }

func (m slowMetrics) Take(fd int) {
	unix.Close(fd)
	close(m.took)
	<-m.end
}

func (slowMetrics) End() {}

// TestSlowToClose: the end of a process is reported, and its socket can be given up, while
// something that it sent is still being seen to. What is heard later is not reported.
func TestSlowToClose(t *testing.T) {
	s := &Spawner{log: slog.New(slog.DiscardHandler)}
	m := slowMetrics{make(chan struct{}), make(chan struct{})}
	s.AppMetrics = func(*protocol.WorkerConfig) AppMetrics { return m }
	c, theirs, err := s.newChild(&protocol.WorkerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	reports := make(chan Report, 10)
	go c.listen(s.log, func(r Report) { reports <- r })
	c.begin(os.Getpid())
	for _, m := range []protocol.Message{{Kind: protocol.KindMetrics}, {Kind: protocol.KindReady}} {
		if err := unix.Sendmsg(theirs, m.Append(nil), unix.UnixRights(theirs), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	<-m.took
	c.end(ending{})
	if r := <-reports; !r.Begun {
		t.Errorf("%+v", r)
	}
	if r := <-reports; !r.Exited {
		t.Errorf("%+v", r)
	}
	c.Close()
	close(m.end)
	for end := time.Now().Add(30 * time.Second); c.control.SetReadDeadline(time.Now()) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the control socket stays open")
		}
	}
	select {
	case r := <-reports:
		t.Errorf("%+v behind its end", r)
	default:
	}
}
