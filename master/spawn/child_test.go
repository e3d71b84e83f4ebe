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
