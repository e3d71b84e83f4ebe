package worker

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pollSet is the epoll set in which connections at rest are, and the eventfd by which
// whoever waits in epoll_wait(2) is made to look around.
type pollSet struct{ fd, wakefd int }

// wakeEvent is the eventfd in the set: no connection's.
var wakeEvent = unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -1}

func newPollSet() (*pollSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create an epoll set: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot create an eventfd: %w", err)
	}
	s := &pollSet{fd: fd, wakefd: wakefd}
	if err := s.control(unix.EPOLL_CTL_ADD, wakefd, wakeEvent); err != nil {
		return nil, fmt.Errorf("cannot watch the eventfd: %w", err)
	}
	return s, nil
}

// control is epoll_ctl(2).
func (s *pollSet) control(op, fd int, ev unix.EpollEvent) error {
	return unix.EpollCtl(s.fd, op, fd, &ev)
}

// intact says that both descriptors are there, and ours: the eventfd is in the set.
func (s *pollSet) intact() bool {
	return s.control(unix.EPOLL_CTL_ADD, s.wakefd, wakeEvent) == unix.EEXIST
}

// poke makes epoll_wait return.
func (s *pollSet) poke() {
	one := [8]byte{1}
	// Fails only when the counter is full, which wakes just as well.
	_, _ = unix.Write(s.wakefd, one[:])
}

// readable reports whether something is ready in the set, or gets ready within a time.
func (s *pollSet) readable(within time.Duration) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, int(within.Milliseconds()))
	return n > 0 || err != nil && err != unix.EINTR
}

// insist makes the set readable for good, or no longer.
func (s *pollSet) insist(on bool) {
	ev := wakeEvent
	if on {
		ev.Events &^= unix.EPOLLET
		s.poke()
	}
	// Fails only for want of memory, or where the application has closed the descriptor, of
	// which own.check tells.
	_ = s.control(unix.EPOLL_CTL_MOD, s.wakefd, ev)
}

// poll takes what is ready, without waiting.
func (s *pollSet) poll(evs []unix.EpollEvent) int { return pollEvents(s.fd, evs) }

const maxEvents = 64
