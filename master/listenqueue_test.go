package master

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/settings"
)

// A real socket: three clients that nobody accepts, and a queue of seven.
func TestListenQueueOfASocket(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	l := &listener{Bind: settings.Bind{Network: "tcp"}, fd: fd}
	if q := l.readQueue(fd); q.known {
		t.Errorf("a socket that does not listen has a queue: %+v", q)
	}
	if err := unix.Listen(fd, 7); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}
	for range 3 {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	want := listenQueue{depth: 3, limit: 7, known: true}
	q := l.readQueue(fd)
	for end := time.Now().Add(30 * time.Second); q != want && time.Now().Before(end); q = l.readQueue(fd) {
		time.Sleep(time.Millisecond) // the last acknowledgement is on its way
	}
	if q != want {
		t.Errorf("%+v, want %+v", q, want)
	}
	l.Network = "unix"
	if q := l.readQueue(fd); q.known {
		t.Errorf("a unix socket: %+v", q)
	}
}

// What the look once a second has seen is in the snapshot, and only of sockets whose
// queue is known.
func TestListenQueuesAreShown(t *testing.T) {
	set := testSettings()
	set.Binds = []settings.Bind{{Network: "tcp", Address: "127.0.0.1:8000"}, {Network: "unix", Address: "/run/x.sock"}}
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		for _, depth := range []int{3, 0} {
			r.host.mu.Lock()
			r.host.queues = map[string]listenQueue{"127.0.0.1:8000": {depth: depth, limit: 2048, known: true}}
			r.host.mu.Unlock()
			r.pass(2 * lookEvery)
			want := []protocol.ListenQueue{{Address: "127.0.0.1:8000", Depth: depth, Limit: 2048}}
			if got := r.view().ListenQueues; !slices.Equal(got, want) {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
	})
}
