package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The exchange is a SOCK_SEQPACKET pair that all workers of a server share, of
// all its generations and across upgrades of the binary. A worker that gives a
// connection away puts it into one end; whoever has room for it waits at the
// other. A packet is received by exactly one process, so a connection never has
// two owners, and one that nobody has taken yet survives the death of them all.

// MaxHandoverData bounds the unanswered bytes that may travel with a connection.
const MaxHandoverData = 64 << 10

// maxHandover bounds a packet: the data, two strings and an address.
const maxHandover = MaxHandoverData + 1024

// Handover is a connection on its way from one worker to another.
type Handover struct {
	FD        int            // not part of the encoding: it travels beside it
	Hops      uint8          // how often it has moved since its last answer
	Served    bool           // it has had an answer already
	Awaits    bool           // it has to begin with the PROXY protocol's header, and has not yet
	Anonymous bool           // a proxy does not know whose it is: Peer is the proxy's
	Shakes    bool           // it has to begin with a TLS handshake, and has not yet
	From      uint64         // who gives it away, and which of its packets this is: no two are alike
	Arrived   int64          // when the request in Data was whole, CLOCK_MONOTONIC ns; 0: it is not
	Listener  Listener       // where it was accepted
	Peer      netip.AddrPort // the client, as far as is known; not valid: the peer of a unix socket
	Data      []byte         // what has been read of it and not been answered
}

// ErrHandover reports a packet that is no connection.
var ErrHandover = errors.New("malformed hand-over")

// handoverKind is the first byte of a packet; a change of the layout changes it,
// for two versions of hostler share an exchange during an upgrade.
const handoverKind = 'D'

// handoverFlags is the number of bools in a Handover.
const handoverFlags = 4

// Append encodes h, but for FD, at the end of dst.
func (h *Handover) Append(dst []byte) []byte {
	flags := byte(0)
	for i, set := range [handoverFlags]bool{h.Served, h.Awaits, h.Anonymous, h.Shakes} {
		if set {
			flags |= 1 << i
		}
	}
	dst = append(dst, handoverKind, h.Hops, flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Arrived))
	dst = binary.LittleEndian.AppendUint64(dst, h.From)
	for _, s := range [...]string{h.Listener.Network, h.Listener.Host, h.Listener.Port} {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(s)))
		dst = append(dst, s...)
	}
	at := len(dst)
	dst = append(dst, 0, 0)
	if h.Peer.IsValid() {
		dst, _ = h.Peer.AppendBinary(dst) // of AddrPort: cannot fail
	}
	binary.LittleEndian.PutUint16(dst[at:], uint16(len(dst)-at-2))
	return append(dst, h.Data...)
}

// ParseHandover decodes a packet. Data aliases p; FD is -1.
func ParseHandover(p []byte) (Handover, error) { return parseHandover(p, &Listener{}) }

// parseHandover does so for who has had a packet of a connection of this listener's before:
// most have the same, whose name is not made again.
func parseHandover(p []byte, last *Listener) (Handover, error) {
	bad := func(what string) (Handover, error) { return Handover{}, fmt.Errorf("%s: %w", what, ErrHandover) }
	const fixed = 3 + 8 + 8
	if len(p) < fixed || p[0] != handoverKind || p[2] >= 1<<handoverFlags {
		return bad("unknown kind")
	}
	h := Handover{FD: -1, Hops: p[1], Served: p[2]&1 != 0, Awaits: p[2]&2 != 0, Anonymous: p[2]&4 != 0, Shakes: p[2]&8 != 0,
		Arrived: int64(binary.LittleEndian.Uint64(p[3:])), From: binary.LittleEndian.Uint64(p[11:])}
	p = p[fixed:]
	var part [4][]byte
	for i := range part {
		if len(p) < 2 {
			return bad("cut short")
		}
		n := int(binary.LittleEndian.Uint16(p))
		if p = p[2:]; n > len(p) {
			return bad("cut short")
		}
		part[i], p = p[:n], p[n:]
	}
	if string(part[0]) != last.Network || string(part[1]) != last.Host || string(part[2]) != last.Port {
		*last = Listener{Network: string(part[0]), Host: string(part[1]), Port: string(part[2])}
	}
	h.Listener = *last
	if len(part[3]) > 0 {
		if err := h.Peer.UnmarshalBinary(part[3]); err != nil || !h.Peer.IsValid() { // a port alone is none
			return bad("no address")
		}
	}
	if len(p) > MaxHandoverData {
		return bad("too long")
	}
	h.Data = p
	return h, nil
}

// NewExchange makes an exchange. The caller owns both ends.
func NewExchange() (out, in int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("cannot make an exchange for connections: %w", err)
	}
	return pair[0], pair[1], nil
}

// SendHandover puts h into the exchange, without waiting: EAGAIN says that it is
// full. The caller keeps h.FD, and is to close it if, and only if, the result is nil.
func SendHandover(out int, h *Handover) error {
	var room [1024]byte // of a request without a body
	data := h.Append(room[:0])
	beside := right{Cmsghdr: unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS}, fd: int32(h.FD)}
	beside.SetLen(unix.CmsgLen(4))
	for {
		err := unix.Sendmsg(out, data, unsafe.Slice((*byte)(unsafe.Pointer(&beside)), unsafe.Sizeof(beside)), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot hand a connection over: %w", err)
		}
		return nil
	}
}

// right is a descriptor beside a packet, as the kernel has it.
type right struct {
	unix.Cmsghdr
	fd int32
}

// nudgeKind is a packet that carries nothing: see Receiver.Receive.
const nudgeKind = 'N'

// ErrExchangeEnded says that somebody has shut the exchange down, which is for all
// and for good.
var ErrExchangeEnded = errors.New("the exchange has ended")

// ErrNoDescriptor says that this process has no descriptor left for a connection.
var ErrNoDescriptor = errors.New("no descriptor is left")

// Receiver takes connections from an exchange. Where workers are busy they move with every
// few requests, so what this needs it keeps.
type Receiver struct {
	out, in   int
	look, own *packet
	listener  Listener // of the last connection
}

// packet is room for one, and what recvmsg(2) has put there.
type packet struct {
	to   unix.Msghdr
	iov  unix.Iovec
	fds  []int // that came with it
	cut  int   // what had no room: MSG_TRUNC, MSG_CTRUNC
	oob  [BesideRoom]byte
	data [maxHandover]byte
}

// NewReceiver returns a Receiver for the exchange with these ends.
func NewReceiver(out, in int) *Receiver {
	return &Receiver{out: out, in: in, look: new(packet), own: new(packet)}
}

// Receive waits for a connection. The caller owns its FD, which is
// close-on-exec. Data is valid until the next call. EINTR, and EAGAIN of a
// socket that does not wait, are returned as they are.
//
// The kernel drops a descriptor for which the receiver has no room, and so would
// close the connection. Therefore the packet is looked at first: a look has its own
// copy of the descriptor, or shows that there is no room, and then the packet stays
// for other receivers. Only one of them is woken for each packet, which was us; so
// another packet is sent after it, to wake the next.
func (r *Receiver) Receive() (Handover, error) {
	seen, err := r.look.receive(r.in, unix.MSG_PEEK)
	if err != nil {
		return Handover{}, err
	}
	fds, cut := r.look.fds, r.look.cut
	if len(seen) == 0 && len(fds) == 0 && HungUp(r.in) {
		return Handover{}, ErrExchangeEnded
	}
	// One that is too long is none of ours, and must not stay.
	if cut == unix.MSG_CTRUNC && len(fds) == 0 {
		_ = unix.Sendmsg(r.out, []byte{nudgeKind}, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // full: others are awake
		return Handover{}, ErrNoDescriptor
	}
	data, err := r.own.receive(r.in, unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN: // somebody else was faster
		closeAll(fds)
		return Handover{}, unix.EINTR
	case err != nil:
		closeAll(fds)
		return Handover{}, err
	case r.own.cut == unix.MSG_CTRUNC && len(r.own.fds) == 0 && bytes.Equal(data, seen):
		// The room has gone in this moment, but we have the first copy: no other
		// packet is like this one.
	default:
		// It may be another packet than we saw, which somebody else took.
		closeAll(fds)
		fds, cut = r.own.fds, r.own.cut
	}
	if len(data) == 1 && data[0] == nudgeKind && len(fds) == 0 {
		return Handover{}, unix.EINTR
	}
	h, err := parseHandover(data, &r.listener)
	switch {
	case err != nil:
	case len(fds) != 1 || cut != 0:
		err = fmt.Errorf("%d descriptors: %w", len(fds), ErrHandover)
	case !isConnection(fds[0]):
		err = fmt.Errorf("a descriptor that is no connection: %w", ErrHandover)
	}
	if err != nil {
		closeAll(fds)
		return Handover{}, err
	}
	h.FD = fds[0]
	return h, nil
}

// isConnection reports whether a descriptor may be a client's connection. To read from
// another, or to close it in good order, could do harm: it may be the exchange itself,
// or a listener.
func isConnection(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && listens == 0 && unix.SetNonblock(fd, true) == nil
}

// HungUp reports whether nothing more can come from a socket.
func HungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0
}

// receive is recvmsg(2) into p, whose data it returns.
func (p *packet) receive(in, how int) ([]byte, error) {
	p.iov.Base = &p.data[0]
	p.iov.SetLen(len(p.data))
	p.to = unix.Msghdr{Iov: &p.iov, Control: &p.oob[0]}
	p.to.SetIovlen(1)
	p.to.SetControllen(len(p.oob))
	n, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(in), uintptr(unsafe.Pointer(&p.to)), uintptr(unix.MSG_CMSG_CLOEXEC|how))
	if e != 0 {
		return nil, e
	}
	p.fds = appendRights(p.fds[:0], p.oob[:p.to.Controllen])
	p.cut = int(p.to.Flags) & (unix.MSG_TRUNC | unix.MSG_CTRUNC)
	return p.data[:n], nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// BesideRoom is room for all that can come beside a packet: as many descriptors as the
// kernel lets anybody send, and whatever else somebody has asked the socket for. What has
// no room is closed by the kernel, while we wait: see appendRights.
const BesideRoom = 2048

// Beside returns the descriptor that came with a message, which the caller owns, or
// -1. oob is what recvmsg(2) has returned beside the packet.
func Beside(oob []byte) int {
	fds := appendRights(nil, oob)
	if len(fds) == 0 {
		return -1
	}
	closeAll(fds[1:])
	return fds[0]
}

// appendRights appends all descriptors that came with a packet to fds, which is empty. Whoever
// sent them may mean ill: the last close(2) of a socket that lingers would hold us up for as
// long as its sender likes.
func appendRights(fds []int, oob []byte) []int {
	for len(oob) >= unix.CmsgLen(0) {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		switch {
		case header.Level != unix.SOL_SOCKET:
		case header.Type == unix.SCM_RIGHTS:
			for ; len(data) >= 4; data = data[4:] {
				fds = append(fds, int(int32(binary.NativeEndian.Uint32(data))))
			}
		case header.Type == unix.SCM_PIDFD && len(data) >= 4:
			unix.Close(int(int32(binary.NativeEndian.Uint32(data)))) // nobody here wants the sender's
		}
	}
	for _, fd := range fds {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}) // of what is no socket: nothing
	}
	return fds
}
