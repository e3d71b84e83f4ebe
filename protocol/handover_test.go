package protocol

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var handovers = []Handover{
	{FD: -1, Data: []byte{}},
	{FD: -1, Hops: 3, From: 77, Served: true, Arrived: 1 << 60, Listener: Listener{Network: "tcp", Host: "::1", Port: "8000"},
		Peer: netip.MustParseAddrPort("[2001:db8::1]:40000"), Data: []byte("GET / HTTP/1.1\r\n")},
	{FD: -1, Listener: Listener{Network: "unix", Host: "/run/shop.sock", Port: ""}, Data: bytes.Repeat([]byte("x"), MaxHandoverData)},
	{FD: -1, Awaits: true, Listener: Listener{Network: "tcp", Host: "a", Port: "1"}, Data: []byte("PROXY ")},
	{FD: -1, Shakes: true, Listener: Listener{Network: "tcp", Host: "a", Port: "1"}, Data: []byte{}},
	{FD: -1, Served: true, Anonymous: true, Listener: Listener{Network: "tcp", Host: "a", Port: "1"}, Data: []byte{}},
	{FD: -1, Listener: Listener{Network: "tcp", Host: "", Port: "1"}, Peer: netip.MustParseAddrPort("127.0.0.1:1"), Data: []byte{0}},
}

// portAlone is a packet whose peer is a port without an address.
var portAlone = []byte("D0\x010000000000000000\x00\x00\x00\x00\x03\x00000\x02\x0000")

func TestHandoverRoundTrip(t *testing.T) {
	for _, h := range handovers {
		got, err := ParseHandover(h.Append(nil))
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("%.200v became %.200v, %v", h, got, err)
		}
	}
}

func TestParseHandoverRefuses(t *testing.T) {
	whole := handovers[1].Append(nil)
	head := len(whole) - len(handovers[1].Data)
	for i := range head {
		if _, err := ParseHandover(whole[:i]); !errors.Is(err, ErrHandover) {
			t.Errorf("cut after %d of %d bytes: %v", i, head, err)
		}
	}
	if _, err := ParseHandover(portAlone); !errors.Is(err, ErrHandover) {
		t.Errorf("a port without an address: %v", err)
	}
	long := handovers[2]
	long.Data = append(bytes.Clone(long.Data), 'x')
	if _, err := ParseHandover(long.Append(nil)); !errors.Is(err, ErrHandover) {
		t.Errorf("too much data: %v", err)
	}
}

func FuzzParseHandover(f *testing.F) {
	for _, h := range handovers {
		f.Add(h.Append(nil))
	}
	f.Add(portAlone)
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := ParseHandover(p)
		if err != nil {
			if !errors.Is(err, ErrHandover) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		again, err := ParseHandover(h.Append(nil))
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("%v became %v, %v", h, again, err)
		}
	})
}

func exchange(t *testing.T) (out, in int) {
	t.Helper()
	out, in, err := NewExchange()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(out); unix.Close(in) })
	return out, in
}

// client returns both ends of a connection.
func client(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func TestExchange(t *testing.T) {
	out, in := exchange(t)
	w, r := client(t)
	from := NewReceiver(out, in)
	for _, h := range handovers {
		h.FD = int(w.Fd())
		if err := SendHandover(out, &h); err != nil {
			t.Fatal(err)
		}
		got, err := from.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if got.FD == h.FD {
			t.Error("the same descriptor")
		}
		if flags, err := unix.FcntlInt(uintptr(got.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("close-on-exec: %v, %v", flags, err)
		}
		if _, err := unix.Write(got.FD, []byte("x")); err != nil {
			t.Error(err)
		}
		unix.Close(got.FD)
	}
	w.Close()
	var all [10]byte
	if n, _ := r.Read(all[:]); n != len(handovers) {
		t.Errorf("%d of %d descriptors were the connection", n, len(handovers))
	}
}

// Where workers are busy, connections move with every few requests. None leaves garbage, of
// which Go would keep megabytes in each worker.
func TestExchangeAllocates(t *testing.T) {
	out, in := exchange(t)
	from := NewReceiver(out, in)
	c, _ := client(t)
	for _, h := range handovers {
		h.FD = int(c.Fd())
		if len(h.Data) > 512 {
			continue
		}
		if n := testing.AllocsPerRun(100, func() {
			err := SendHandover(out, &h)
			got, err2 := from.Receive()
			if err != nil || err2 != nil || got.Peer != h.Peer {
				t.Fatal(got, err, err2)
			}
			unix.Close(got.FD)
		}); n != 0 {
			t.Errorf("%v: %v allocations", h.Peer, n)
		}
	}
}

func TestExchangeFull(t *testing.T) {
	out, in := exchange(t)
	h := handovers[1]
	c, _ := client(t)
	h.FD = int(c.Fd())
	sent := 0
	for {
		err := SendHandover(out, &h)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent++
	}
	if sent < 20 {
		t.Errorf("full after %d connections", sent)
	}
	from := NewReceiver(out, in)
	for range sent {
		got, err := from.Receive()
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(got.FD)
	}
}

// What else may lie in an exchange harms nobody, and leaves no descriptor open.
func TestExchangeRubbish(t *testing.T) {
	out, in := exchange(t)
	from := NewReceiver(out, in)
	good := handovers[1].Append(nil)
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil || unix.Listen(listener, 1) != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	before := openFiles(t)
	for _, c := range []struct {
		packet []byte
		fds    []int
	}{
		{[]byte("C"), []int{0}}, {good, nil}, {good, []int{0, 1}}, {good, make([]int, 40)}, {[]byte("x"), make([]int, 3)},
		{good, []int{out}}, {good, []int{in}}, {good, []int{listener}}, {good, []int{0}}, {nil, []int{0}},
		{make([]byte, 2*maxHandover), nil}, {make([]byte, 2*maxHandover), []int{0, 1}},
	} {
		if err := unix.Sendmsg(out, c.packet, unix.UnixRights(c.fds...), nil, 0); err != nil {
			t.Fatal(err)
		}
		if h, err := from.Receive(); err == nil {
			t.Errorf("%q with %v was taken: %v", c.packet, c.fds, h)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors became %d", before, after)
	}
}

// A receiver without room for a descriptor leaves the connection to others, and
// wakes one.
func TestExchangeWithoutDescriptors(t *testing.T) {
	out, in := exchange(t)
	full, other := NewReceiver(out, in), NewReceiver(out, in)
	h := handovers[1]
	c, _ := client(t)
	h.FD = int(c.Fd())
	if err := SendHandover(out, &h); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// No number is below 1 and free.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := full.Receive()
	if back := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); back != nil {
		t.Fatal(back)
	}
	if err != ErrNoDescriptor {
		t.Fatalf("without room: %v", err)
	}
	got, err := other.Receive()
	if err != nil {
		t.Fatalf("the connection is lost: %v", err)
	}
	unix.Close(got.FD)
	if got.Peer != h.Peer || !bytes.Equal(got.Data, h.Data) {
		t.Errorf("%v became %v", h, got)
	}
	if _, err := other.Receive(); err != unix.EINTR {
		t.Errorf("what was there to wake another one: %v", err)
	}
}

// A receiver that loses its last descriptor between its look and its taking has the one
// of the look, whoever the peer is.
func TestExchangeLastDescriptor(t *testing.T) {
	out, in := exchange(t)
	from := NewReceiver(out, in)
	for _, h := range handovers {
		c, _ := client(t)
		h.FD = int(c.Fd())
		if err := SendHandover(out, &h); err != nil {
			t.Fatal(err)
		}
		got, err := withDescriptors(t, 1, from.Receive)
		if err != nil {
			t.Fatalf("one from %v by %v is lost: %v", h.Peer, h.Listener, err)
		}
		unix.Close(got.FD)
	}
}

// withDescriptors calls f while there is room for n descriptors and no more.
func withDescriptors(t *testing.T, n int, f func() (Handover, error)) (Handover, error) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	next := 0 // the lowest number that is free, n times
	var taken []int
	for range n {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		taken, next = append(taken, fd), fd
	}
	closeAll(taken)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next + 1), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	return f()
}

// Receivers that are woken for the same packets share them.
func TestExchangeShared(t *testing.T) {
	out, in := exchange(t)
	const all, receivers = 400, 4
	c, _ := client(t)
	before := openFiles(t)
	seen := make(chan int64, all)
	var wg sync.WaitGroup
	for range receivers {
		wg.Go(func() {
			for from := NewReceiver(out, in); ; {
				h, err := from.Receive()
				if err == unix.EINTR {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				unix.Close(h.FD)
				if h.Arrived == -1 {
					return
				}
				seen <- h.Arrived
			}
		})
	}
	for i := range int64(all + receivers) {
		h := Handover{FD: int(c.Fd()), Arrived: i}
		if i >= all {
			h.Arrived = -1
		}
		for SendHandover(out, &h) != nil {
			time.Sleep(time.Millisecond)
		}
	}
	wg.Wait()
	close(seen)
	got := make(map[int64]int)
	for i := range seen {
		got[i]++
	}
	if len(got) != all || len(seen) > 0 {
		t.Errorf("%d of %d connections arrived", len(got), all)
	}
	for i, n := range got {
		if n != 1 {
			t.Errorf("connection %d arrived %d times", i, n)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors became %d", before, after)
	}
}

// An exchange that somebody has shut down says so, by whichever end; one with an empty
// packet in it has not ended.
func TestExchangeEnds(t *testing.T) {
	for _, end := range []struct {
		in  bool
		how int
	}{{false, unix.SHUT_RDWR}, {false, unix.SHUT_WR}, {true, unix.SHUT_RD}, {true, unix.SHUT_RDWR}} {
		out, in := exchange(t)
		from := NewReceiver(out, in)
		if err := unix.Sendmsg(out, []byte{}, nil, nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Receive(); !errors.Is(err, ErrHandover) {
			t.Errorf("an empty packet: %v", err)
		}
		fd := out
		if end.in {
			fd = in
		}
		if err := unix.Shutdown(fd, end.how); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Receive(); err != ErrExchangeEnded {
			t.Errorf("%+v: %v", end, err)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestExchangeUnasked: an option of the shared socket brings more than was sent, and a
// connection may be slow to close. Neither stays.
func TestExchangeUnasked(t *testing.T) {
	out, in := exchange(t)
	if err := unix.SetsockoptInt(in, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1); err != nil {
		t.Logf("the kernel knows no SO_PASSPIDFD: %v", err)
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	if err := unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	from, before := NewReceiver(out, in), openFiles(t)
	h := handovers[1]
	h.FD = c
	if err := SendHandover(out, &h); err != nil {
		t.Fatal(err)
	}
	got, err := from.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := unix.GetsockoptInt(got.FD, unix.SOL_SOCKET, unix.SO_LINGER); err != nil || b != 0 {
		t.Errorf("it lingers: %d, %v", b, err)
	}
	unix.Close(got.FD)
	if err := unix.Sendmsg(out, []byte("none"), unix.UnixRights(slices.Repeat([]int{c}, 250)...), nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Receive(); !errors.Is(err, ErrHandover) {
		t.Errorf("250 descriptors: %v", err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors became %d", before, after)
	}
}
