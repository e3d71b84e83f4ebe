package spawn

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// child is a process of ours, or one that is about to be: it has a control socket
// from the start, and a pid later. One that is given up before has ended for all who
// wait for it; should the process come all the same, it is killed.
type child struct {
	control *os.File // non-blocking, in the runtime's poller
	words   string   // the kinds of message that it may send
	status  chan ending
	begun   chan struct{} // closed when the pid is known, or there will be none
	// named gets the pid of a process that says itself that it is there (a forked
	// one), from the kernel. Nil: whoever starts the process knows its pid.
	named func(pid int) error
	told  func()     // is called for a signal that comes before the pid; may be nil
	apps  AppMetrics // takes what it shares of the application's metrics; may be nil

	mu      sync.Mutex
	pid     int            // 0: not known yet
	early   syscall.Signal // what it was sent before that
	group   bool           // takes those in its group along
	ended   bool           // from here on the pid may belong to somebody else
	closed  bool           // the control socket is not needed any more
	reading bool           // but somebody reads there, or waits for the process to say its name
}

// lateWords is how many messages of a process are read that are still there when its time to
// say something is over: an end, for whoever holds its socket may go on.
const lateWords = 64

// mostWords is how long all that may take: there may be lateWords of them, each talkEvery
// behind the other.
const mostWords = 5 * time.Second

// ending is how a process has ended.
type ending struct {
	status syscall.WaitStatus
	cpu    float64 // seconds of CPU time that it has used
	why    string  // it was not forked, because of that; "": it was, or nobody wanted it
	err    error   // it could not be started
}

// newChild makes a control socket, and the child that will be at its other end.
// The caller closes that end, whatever comes.
func (s *Spawner) newChild(config *protocol.WorkerConfig) (c *child, theirs int, err error) {
	// CLOEXEC on both ends: a worker must not hold another worker's end, or that
	// one would not see the master die.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("cannot make a control socket: %w", err)
	}
	// Room for the longest traceback, whatever the system's default is.
	_ = unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 4*protocol.MaxMessage)
	// The kernel says beside each message whose it is.
	err = unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		err = unix.SetNonblock(pair[0], true)
	}
	if err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, -1, fmt.Errorf("cannot make a control socket: %w", err)
	}
	c = &child{
		control: os.NewFile(uintptr(pair[0]), "control"),
		words:   wordsOf(config),
		status:  make(chan ending, 1),
		begun:   make(chan struct{}),
	}
	if s.AppMetrics != nil {
		c.apps = s.AppMetrics(config)
	}
	return c, pair[1], nil
}

// PID implements Process.
func (c *child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// begin notes down the pid, and sends the process what it was sent before. It
// returns false if the child has ended already.
func (c *child) begin(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.pid = pid
	close(c.begun)
	if c.early != 0 {
		_ = syscall.Kill(pid, c.early)
	}
	return true
}

// end is called when the process has been reaped. Only the first end counts.
func (c *child) end(e ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(e)
}

// never is called when it is clear that there will be no process. If there is one,
// it goes on.
func (c *child) never(e ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid == 0 {
		c.endLocked(e)
	}
}

func (c *child) endLocked(e ending) {
	if c.ended {
		return
	}
	c.ended = true
	if c.pid == 0 {
		close(c.begun)
	}
	c.status <- e
}

func (c *child) hasEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// signalled returns the signal that a process not there yet has been sent.
func (c *child) signalled() syscall.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.early
}

// Signal implements Process. It never hits a process that got the pid later. One
// that is not there yet gets the signal when it is; whoever kills it need not wait
// for that.
func (c *child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return os.ErrProcessDone
	case c.pid != 0:
		return syscall.Kill(c.pid, sig)
	}
	c.early = sig
	if c.told != nil {
		go c.told() // not here: the mold's lock comes before ours
	}
	if sig == syscall.SIGKILL {
		c.endLocked(ending{status: syscall.WaitStatus(sig)})
	}
	return nil
}

// takeGroup has all that is in the process's group killed when it ends.
func (c *child) takeGroup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.group = true
}

// beforeReaping kills the group of a process that has ended, if that is wanted. As
// long as it has not been reaped nobody else has its number.
func (c *child) beforeReaping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group && c.pid > FirstProcess && !c.ended && isZombie(c.pid) {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	}
}

// killGroup kills the process and all that it has forked and that is in its group.
func (c *child) killGroup() {
	_ = c.Signal(syscall.SIGKILL) // it may have left its group
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid > FirstProcess && !c.ended {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	}
}

// Send implements Process.
func (c *child) Send(m protocol.Message) error { return c.sendWith(m) }

// SendFile implements Process.
func (c *child) SendFile(m protocol.Message, fd int) error { return c.sendWith(m, fd) }

// sendWith is Send with descriptors beside the message.
func (c *child) sendWith(m protocol.Message, fds ...int) error {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach the worker: %w", err)
	}
	packet := m.Append(nil)
	var sendErr error
	err = raw.Control(func(n uintptr) {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		sendErr = unix.Sendmsg(int(n), packet, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("cannot reach the worker: %w", err)
	}
	return nil
}

// Close implements Process.
func (c *child) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if !c.reading {
		go c.control.Close() // see package apart
		return
	}
	// Whoever holds the other end must not keep ours open for good. (Nor may Close wait
	// for who reads: see listen.)
	_ = c.control.SetReadDeadline(time.Now().Add(forkTime))
}

// listen reports what the process says, and last its end. A boot failure's text
// may still be in the socket when the process is gone already, which is why this
// waits for who reads; but not for long, for there are descriptors that are slow to
// close, and the process may have sent one.
func (c *child) listen(log *slog.Logger, to func(Report)) {
	c.mu.Lock()
	c.reading = true
	c.mu.Unlock()
	var order sync.Mutex
	over := false
	say := func(r Report) {
		order.Lock()
		defer order.Unlock()
		if !over {
			to(r)
		}
		over = over || r.Exited
	}
	silent := make(chan struct{})
	go func() {
		defer close(silent)
		defer c.doneReading()
		if c.await(log) {
			say(Report{Begun: true})
			c.read(log, say)
		}
	}()
	e := <-c.status
	if c.PID() != 0 {
		if err := c.control.SetReadDeadline(time.Now().Add(LastWords)); err != nil {
			log.Error("cannot set a deadline on a control socket", "error", err)
		}
		select {
		case <-silent:
		case <-time.After(mostWords):
			log.Error("a process has ended, and what it sent last is still being read: its descriptors are slow to close", "pid", c.PID())
		}
	}
	if e.why != "" {
		say(Report{Message: protocol.Message{Kind: protocol.KindBootFailed, Text: e.why}})
	}
	say(Report{Exited: true, Status: e.status, CPU: e.cpu, Err: e.err})
	if c.apps != nil {
		c.apps.End()
	}
}

// await returns true when the process is there, and false if there will be none.
func (c *child) await(log *slog.Logger) bool {
	if c.named != nil {
		c.awaitName(log)
	}
	<-c.begun
	return c.PID() != 0
}

// awaitName waits for a forked process to say that it is there. It does so also when
// nobody else waits any more: the process has to be killed then.
func (c *child) awaitName(log *slog.Logger) {
	buf := make([]byte, 64)
	h := hearing{log: log, words: protocol.Words(protocol.PartyNewborn)}
	defer h.end()
	for {
		n, pid, fd, err := c.receive(buf)
		if err != nil {
			return
		}
		closeIfAny(fd)
		if _, ok := h.parse(buf[:n], 0); !ok {
			h.pause()
			continue
		}
		if err := c.named(pid); err != nil {
			h.log.Error("a process says that it is a forked worker, and is not", "error", err)
			return
		}
		return
	}
}

// doneReading is the end of all reading.
func (c *child) doneReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if c.closed {
		go c.control.Close() // see package apart
	}
}

// read reports messages until there are no more.
func (c *child) read(log *slog.Logger, to func(Report)) {
	// Not Go's memory, which would be cleared, and so be there for each worker,
	// while most messages are short.
	buf, err := unix.Mmap(-1, 0, protocol.MaxMessage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		buf = make([]byte, protocol.MaxMessage)
	} else {
		defer func() { _ = unix.Munmap(buf) }() // cannot fail
	}
	h := hearing{log: log, pid: c.PID(), words: c.words}
	defer h.end()
	late := 0
	for {
		n, pid, fd, err := c.receive(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && late < lateWords {
			// On a busy machine we may be late ourselves: what is there was said in time.
			late++
			n, pid, fd, err = c.receiveNow(buf)
		}
		if err == io.EOF {
			to(Report{Deaf: true})
		}
		if err != nil {
			return // end of file, or a deadline
		}
		m, ok := h.parse(buf[:n], pid)
		if ok && m.Kind == protocol.KindMetrics && fd >= 0 && c.apps != nil {
			c.apps.Take(fd)
		} else {
			closeIfAny(fd)
		}
		if ok {
			to(Report{Message: m})
		}
		h.pause()
	}
}

func closeIfAny(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// receive reads a message, whose it is, and the descriptor that came with it, which is
// the caller's; -1: there was none. Of several the rest is closed.
func (c *child) receive(buf []byte) (n, pid, fd int, err error) {
	return c.receiveBy(buf, func(raw syscall.RawConn, try func(fd uintptr) bool) error { return raw.Read(try) })
}

// receiveNow is receive for a message that is there already, whatever the deadline.
func (c *child) receiveNow(buf []byte) (n, pid, fd int, err error) {
	return c.receiveBy(buf, func(raw syscall.RawConn, try func(fd uintptr) bool) error {
		return raw.Control(func(fd uintptr) { try(fd) })
	})
}

func (c *child) receiveBy(buf []byte, wait func(raw syscall.RawConn, try func(fd uintptr) bool) error) (n, pid, fd int, err error) {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return 0, 0, -1, err
	}
	beside := make([]byte, protocol.BesideRoom)
	var got int
	var recvErr error
	err = wait(raw, func(fd uintptr) bool {
		for {
			n, got, _, _, recvErr = unix.Recvmsg(int(fd), buf, beside, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
			if recvErr != unix.EINTR {
				return recvErr != unix.EAGAIN
			}
		}
	})
	switch err = errors.Join(err, recvErr); {
	case err != nil:
		return 0, 0, -1, err
	case n == 0 && got == 0:
		return 0, 0, -1, io.EOF
	}
	fd = protocol.Beside(beside[:got])
	all, err := unix.ParseSocketControlMessage(beside[:got])
	if err != nil {
		return n, 0, fd, nil
	}
	for i := range all {
		if who, err := unix.ParseUnixCredentials(&all[i]); err == nil {
			pid = int(who.Pid)
		}
	}
	return n, pid, fd, nil
}
