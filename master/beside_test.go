package master

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/upgrade"
	"hostler/settings"
)

// noSockets is a binary that was handed nothing.
type noSockets struct{}

func (noSockets) Take(upgrade.Key) (int, bool) { return -1, false }

// TestListenBeside: whatever of ours is in the way of an address, in its own words or
// as a part of it, it is opened; what others have is not taken.
func TestListenBeside(t *testing.T) {
	for _, c := range []struct {
		have, want  string
		same, keeps bool // it is the same socket; the other is still to be accepted from
	}{
		{"127.0.0.1:", "0.0.0.0:", false, true},
		{"0.0.0.0:", "127.0.0.1:", false, false},
		{"127.0.0.1:", "localhost:", true, false},
		{"localhost:", "127.0.0.1:", true, false},
		{"127.0.0.1:", ":", false, true},
		{":", "127.0.0.1:", false, false},
		{":", "[::]:", true, false},
		{"0.0.0.0:", "[::]:", false, true},
		{"[::]:", "0.0.0.0:", false, false},
		{"[::1]:", "[::]:", false, true},
		{"127.0.0.1:", "127.0.0.2:", false, false},
	} {
		bind := func(a, port string) settings.Bind { return settings.Bind{Network: "tcp", Address: a + port} }
		have, err := listen(noSockets{}, bind(c.have, "0"), 5, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.have, err)
		}
		want := bind(c.want, have.info.Port)
		waits, err := net.Dial("tcp", dialable(have)) // in the queue
		if err != nil {
			t.Fatal(err)
		}
		if c.have != "127.0.0.1:" || c.want != "127.0.0.2:" {
			if _, err := listen(noSockets{}, want, 5, nil); err == nil {
				t.Errorf("%s beside somebody else's %s: it is bound", c.want, c.have)
			}
		}
		l, err := listen(noSockets{}, want, 5, []*listener{have})
		if err != nil {
			t.Errorf("%s beside %s: %v", c.want, c.have, err)
			continue
		}
		if same := l.shares == have; same != c.same {
			t.Errorf("%s beside %s: the same socket: %v", c.want, c.have, same)
		}
		for _, o := range []*listener{have, l} {
			if on, err := unix.GetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil || on != 0 {
				t.Errorf("%s beside %s: others may bind %s", c.want, c.have, o)
			}
		}
		g := &generation{listeners: []*listener{l}}
		g.keepCovered([]*listener{have})
		if keeps := len(g.listeners) == 2; keeps != c.keeps {
			t.Errorf("%s beside %s: the old one stays: %v", c.want, c.have, keeps)
		}
		l.takeOver()
		if c.same {
			have.retire(slog.New(slog.DiscardHandler))
			if l.lost() != "" {
				t.Errorf("%s is shut down with %s", c.want, c.have)
			}
			have = l
		}
		if n := acceptAll(have.fd); n != 1 {
			t.Errorf("%s beside %s: %d connections are in the queue", c.want, c.have, n)
		}
		waits.Close()
		l.close()
		if have != l {
			have.close()
		}
	}
}

// dialable is where a listener can be reached.
func dialable(l *listener) string {
	a, _ := l.addrPort()
	if !a.Addr().IsUnspecified() {
		return a.String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
}

// acceptAll counts what is in a queue.
func acceptAll(fd int) (n int) {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && n == 0; {
		_ = unix.SetNonblock(fd, true)
		for {
			c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			unix.Close(c)
			n++
		}
	}
	return n
}

// TestSharedFile: the path of a socket in other words is the same socket, with its file.
func TestSharedFile(t *testing.T) {
	dir := t.TempDir()
	have, err := listen(noSockets{}, settings.Bind{Network: "unix", Address: dir + "/s"}, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen(noSockets{}, settings.Bind{Network: "unix", Address: dir + "/../" + dir[len(dir)-3:] + "/s"}, 5, []*listener{have})
	if err != nil {
		t.Fatal(err)
	}
	l.takeOver()
	have.retire(slog.New(slog.DiscardHandler))
	if why := l.lost(); why != "" {
		t.Error(why)
	}
	c, err := net.Dial("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.retire(slog.New(slog.DiscardHandler))
	if _, err := net.Dial("unix", dir+"/s"); err == nil {
		t.Error("the file is left")
	}
}
