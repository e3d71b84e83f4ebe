package worker

import (
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls of the hot path, and memory that is not Go's. The calls are made
// without telling the scheduler: none of them waits, so there is nothing to tell.
// EINTR is tried again, and never returned.

// readFD is read(2) of a descriptor that does not block.
func readFD(fd int, b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), address(b), uintptr(len(b)))
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// unread reports whether there is input to read.
func hasInput(fd int) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n > 0 && err == nil
}

// sendFD is send(2).
func sendFD(fd int, b []byte, flags int) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			uintptr(unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT|flags), 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// sendParts is one sendmsg(2) of up to three parts.
func sendParts(fd int, a, b, c []byte) (int, error) {
	if len(b) == 0 && len(c) == 0 {
		return sendFD(fd, a, 0)
	}
	var iov [3]unix.Iovec
	k := 0
	for _, p := range [...][]byte{a, b, c} {
		if len(p) > 0 {
			iov[k].Base = &p[0]
			iov[k].SetLen(len(p))
			k++
		}
	}
	var m unix.Msghdr
	m.Iov = &iov[0]
	m.SetIovlen(k)
	for {
		n, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)),
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// sendFile is one sendfile(2) of up to n bytes of file, from off on.
func sendFile(fd, file int, off, n int64) (int, error) {
	for {
		from := off
		n, _, e := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(fd), uintptr(file), uintptr(unsafe.Pointer(&from)),
			uintptr(n), 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// pollEvents is epoll_wait(2) without waiting. It returns the number of events.
func pollEvents(epfd int, events []unix.EpollEvent) int {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch e {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}

// wakeFutex sets a futex word of this process, and wakes the thread that waits on it.
func wakeFutex(word *uint32) {
	atomic.StoreUint32(word, 1)
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)),
		1|128 /* FUTEX_WAKE | FUTEX_PRIVATE_FLAG */, 1, 0, 0, 0)
}

// bumpFutex adds to a futex word, and wakes all who sleep on it.
func bumpFutex(word *uint32) {
	atomic.AddUint32(word, 1)
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)),
		1|128 /* FUTEX_WAKE | FUTEX_PRIVATE_FLAG */, math.MaxInt32, 0, 0, 0)
}

// offHeap returns n bytes of zeroed memory that the collector does not know,
// page-aligned. Pages cost memory only once they are touched.
func offHeap(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

func address(b []byte) uintptr {
	if len(b) == 0 {
		return 0
	}
	return uintptr(unsafe.Pointer(&b[0]))
}

// bytesAt is the reverse of address, for memory outside the Go heap.
func bytesAt(p uintptr, n int) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
}

// BytesAt gives C memory a Go shape; p is not memory of the Go heap.
func BytesAt(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(p), n) }

// notSentMost is how many bytes the kernel keeps of a response beyond what it may send
// right now. Without a limit it takes megabytes for each client that does not read,
// and the time to find them. Of what a client takes quickly it keeps up to notSentQuick
// (see output.fit).
const (
	notSentMost  = 128 << 10
	notSentQuick = 1 << 20
)

// setOptions sets what connections have from their listener. None can fail in a
// way that matters.
func setOptions(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	limitUnsent(fd, notSentMost)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(probeAfter/time.Second))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(probeEvery/time.Second))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes)
}

// A client whose machine or network is gone says nothing, and who only waits for it would do
// so for ever: its machine is asked when nothing has come from it for probeAfter, and counts
// as gone when it has not answered probes times, one every probeEvery.
const (
	probeAfter = 30 * time.Second
	probeEvery = 10 * time.Second
	probes     = 3
)

// probe has a client's machine asked so. It is an option of each connection, as the master
// takes a listener that has it for spoiled.
func probe(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) }

// acknowledge has the kernel say at once that it has what has come, where nothing else will be
// said. A client whose kernel waits for that before it sends what follows (Nagle) would wait for
// 40 ms. A Unix socket refuses this.
func acknowledge(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }

func limitUnsent(fd, most int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, most)
}

// hungUp reports whether a connection has ended in both directions.
func hungUp(fd int) bool { return ended(fd)&^unix.POLLRDHUP != 0 }

// ended says what has ended of a connection: unix.POLLRDHUP, the peer's side, and what
// poll(2) reports of both.
func ended(fd int) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(p, 0); n <= 0 || err != nil {
		return 0
	}
	return p[0].Revents
}

// untaken is how many bytes in a socket the peer has not acknowledged, and so would lose
// by a reset. There is none where the peer's socket has them at once.
func untaken(fd int) int {
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || family == unix.AF_UNIX {
		return 0
	}
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// setPatience lets a thread that waits for a socket look around once in a while.
func setPatience(fd int) {
	tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
}
