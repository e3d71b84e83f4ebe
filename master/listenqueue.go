package master

import "golang.org/x/sys/unix"

// listenQueue is how many connections wait to be accepted from a socket, and how many
// may; it is not known of unix sockets.
type listenQueue struct {
	depth, limit int
	known        bool
}

// readQueue asks the kernel. Of a socket that listens, the field for
// packets without acknowledgement is the queue, and that for those with one its limit, as
// in ss(8) (tcp_get_info of net/ipv4/tcp.c).
func (l *listener) readQueue(fd int) listenQueue {
	if l.Network != "tcp" {
		return listenQueue{}
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	const listens = 10 // TCP_LISTEN
	if err != nil || info.State != listens {
		return listenQueue{}
	}
	return listenQueue{depth: int(info.Unacked), limit: int(info.Sacked), known: true}
}
