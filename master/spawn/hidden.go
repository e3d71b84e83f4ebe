package spawn

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A socket is still there though nobody has a descriptor of it, as long as it is on its
// way through another one, registered with io_uring, or in a table of descriptors that one
// thread has for itself. Nobody can see then who keeps it; but that it is there the kernel
// says.

// remain reports whether one of our listening sockets is still there that is to be gone; not
// known: where the kernel does not say, or they may be another binary's, or those of a worker
// that does not end. (Those of a service manager we have ourselves.)
func (s *Spawner) remain() (yes, known bool) {
	s.mu.Lock()
	last, ours := s.last && len(s.kids) == 0, maps.Clone(s.sockets)
	s.mu.Unlock()
	if !last {
		return false, false
	}
	there, err := allSockets()
	if err != nil {
		return false, false
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return false, false
	}
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		delete(there, to)
	}
	for name := range ours {
		if there[name] {
			return true, true
		}
	}
	return false, true
}

// Last says that nobody but our processes has our listening sockets: no other binary goes on
// with them.
func (s *Spawner) Last() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
}

// allSockets returns the sockets that have an address that others want, as /proc calls
// them: TCP's that listen, or are bound only, and Unix sockets.
func allSockets() (all map[string]bool, err error) {
	all = make(map[string]bool)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := tcpSockets(family, func(inode uint64) { all[socketName(inode)] = true }); err != nil {
			return nil, err
		}
	}
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if field := strings.Fields(lines.Text()); len(field) > 6 { // with an inode, and a name or none
			if inode, err := strconv.ParseUint(field[6], 10, 64); err == nil {
				all[socketName(inode)] = true
			}
		}
	}
	return all, lines.Err()
}

func socketName(inode uint64) string { return fmt.Sprintf("socket:[%d]", inode) }

const (
	tcpListen        = 10
	tcpBoundInactive = 13 // which only the kernel's answers to this know
	// Of struct inet_diag_req_v2 and struct inet_diag_msg.
	diagRequest     = 56
	diagAnswer      = 72
	diagAnswerInode = 68
)

// tcpSockets asks the kernel for the inodes of TCP sockets that others are not to have the
// address of.
func tcpSockets(family uint8, found func(inode uint64)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(closeTime / time.Second)})
	ask := make([]byte, unix.SizeofNlMsghdr+diagRequest)
	binary.NativeEndian.PutUint32(ask, uint32(len(ask)))
	binary.NativeEndian.PutUint16(ask[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(ask[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ask[unix.SizeofNlMsghdr], ask[unix.SizeofNlMsghdr+1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(ask[unix.SizeofNlMsghdr+4:], 1<<tcpListen|1<<tcpBoundInactive)
	if err := unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return nil
			case m.Header.Type == unix.NLMSG_ERROR:
				return unix.EOPNOTSUPP
			case len(m.Data) >= diagAnswer:
				found(uint64(binary.NativeEndian.Uint32(m.Data[diagAnswerInode:])))
			}
		}
	}
}
