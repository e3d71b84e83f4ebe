package master

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// lastWords is how long the rest of a dead worker's messages is waited for when
// the socket does not end, because a child that the application forked holds it.
const lastWords = 50 * time.Millisecond

// spawner starts real processes and reaps them.
type spawner struct {
	log        *slog.Logger
	bootstrap  string
	library    int    // file descriptor of the worker library
	scoreboard int    // file descriptor of the scoreboard
	exchange   [2]int // descriptors of both ends, see protocol.NewExchange
	stdin      *os.File

	requests chan spawnRequest
	childs   chan os.Signal
	done     chan struct{}
	wg       sync.WaitGroup

	// foreign is not 0 while somebody else in this process has children of his
	// own, which are not ours to reap.
	foreign atomic.Int32

	mu        sync.Mutex
	kids      map[int]*child   // by pid; those not yet reaped
	molds     map[int]*mold    // by generation
	subreaper bool             // orphans among our descendants become our children
	strangers map[int]stranger // those that ended before they were known
}

type spawnRequest struct {
	child  *child
	python string
	argv   []string
	attr   *syscall.ProcAttr
	reply  chan<- error
}

var _ starter = (*spawner)(nil)

// newSpawner returns a spawner that gives every worker the library and the
// scoreboard behind these file descriptors. They must stay open until Close.
func newSpawner(log *slog.Logger, bootstrap string, library, scoreboard int) (*spawner, error) {
	// Workers are in process groups of their own; one that read from the
	// terminal would be stopped by SIGTTIN.
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("cannot start workers: %w", err)
	}
	s := &spawner{
		log: log, bootstrap: bootstrap, library: library, scoreboard: scoreboard, stdin: null,
		exchange: [2]int{rawFD(null), rawFD(null)}, // a worker that only checks the application needs none
		requests: make(chan spawnRequest),
		childs:   make(chan os.Signal, 1),
		done:     make(chan struct{}),
		// The kernel makes process 1 the parent of every orphan, asked or not.
		subreaper: os.Getpid() == firstProcess,
		strangers: make(map[int]stranger),
		kids:      make(map[int]*child),
		molds:     make(map[int]*mold),
	}
	signal.Notify(s.childs, syscall.SIGCHLD)
	s.wg.Add(2)
	go s.forkLoop()
	go s.reapLoop()
	return s, nil
}

// Close ends the spawner. Processes that are still there get SIGTERM from the
// kernel, as the thread that started them ends.
func (s *spawner) Close() {
	signal.Stop(s.childs)
	close(s.done)
	s.wg.Wait()
	s.stdin.Close()
}

// forkLoop starts processes from one thread that lives as long as the spawner:
// the parent-death signal is sent when the parent *thread* ends
// (golang/go#27505), and Go ends threads as it likes. The thread is never
// unlocked, so it is not reused for anything else.
func (s *spawner) forkLoop() {
	defer s.wg.Done()
	runtime.LockOSThread()
	for {
		select {
		case r := <-s.requests:
			r.reply <- s.forkExec(r)
		case <-s.done:
			return
		}
	}
}

// forkExec holds the lock, so that reap does not take the new process for a
// stranger.
func (s *spawner) forkExec(r spawnRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(r.python, r.argv, r.attr)
	if err != nil {
		return err
	}
	r.child.pid = pid
	s.kids[pid] = r.child
	return nil
}

// reapLoop collects exit states. It asks for its own children by pid: an
// upgrade waits for the new master itself.
func (s *spawner) reapLoop() {
	defer s.wg.Done()
	for {
		select {
		case <-s.childs:
			s.reap()
		case <-s.done:
			return
		}
	}
}

// reap reports all processes that have ended by now. Signals coalesce, so one
// SIGCHLD may stand for many.
func (s *spawner) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, c := range s.kids {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR || err == nil && got == 0:
			continue
		case err != nil:
			// ECHILD: somebody else took the state. That the process is gone is
			// all that can be said.
			s.log.Error("cannot learn how a worker ended", "pid", pid, "error", err)
		}
		delete(s.kids, pid)
		c.ended(ws)
	}
	if s.subreaper && s.foreign.Load() == 0 {
		s.reapStrangers()
	}
}

// Start implements starter.
func (s *spawner) Start(spec processSpec, to func(report)) (process, error) {
	if spec.config.Preload && !spec.config.Check {
		return s.startForked(spec, to)
	}
	return s.startFresh(spec, to)
}

// newChild makes a control socket, and the child that will be at its other end.
// The caller closes that end, whatever comes.
func newChild(config *protocol.WorkerConfig) (c *child, theirs int, err error) {
	// CLOEXEC on both ends: a worker must not hold another worker's end, or that
	// one would not see the master die.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("cannot make a control socket: %w", err)
	}
	// Room for the longest traceback, whatever the system's default is.
	_ = unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 4*protocol.MaxMessage)
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, -1, fmt.Errorf("cannot make a control socket: %w", err)
	}
	return &child{
		control: os.NewFile(uintptr(pair[0]), "control"),
		words:   wordsOf(config),
		status:  make(chan syscall.WaitStatus, 1),
	}, pair[1], nil
}

// startFresh starts a worker, or a mold, in a new interpreter.
func (s *spawner) startFresh(spec processSpec, to func(report)) (*child, error) {
	arg, err := spec.config.Encode()
	if err != nil {
		return nil, err
	}
	c, theirs, err := newChild(spec.config)
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	// Raw numbers all through: os.File.Fd would switch the shared description
	// of a listener to blocking, for every process that has it (golang/go#29277).
	files := []uintptr{s.stdin.Fd(), 1, 2, uintptr(theirs), uintptr(s.scoreboard), uintptr(s.library),
		uintptr(s.exchange[0]), uintptr(s.exchange[1]), s.stdin.Fd()}
	if spec.secrets >= 0 {
		files[protocol.FDSecrets] = uintptr(spec.secrets)
	}
	for _, fd := range spec.listeners {
		files = append(files, uintptr(fd))
	}
	reply := make(chan error, 1)
	req := spawnRequest{
		child:  c,
		python: spec.python,
		argv:   []string{spec.python, "-c", s.bootstrap, arg},
		attr: &syscall.ProcAttr{
			Env:   spec.env,
			Files: files,
			Sys: &syscall.SysProcAttr{
				Setpgid:    true, // Ctrl-C in the terminal is for the master only
				Pdeathsig:  syscall.SIGTERM,
				Credential: spec.identity,
			},
		},
		reply: reply,
	}
	select {
	case s.requests <- req:
	case <-s.done:
		c.Close()
		return nil, errors.New("cannot start a worker: the master is ending")
	}
	if err := <-reply; err != nil {
		c.Close()
		if errors.Is(err, unix.EBADF) { // of dup3(2) in the child
			err = fmt.Errorf("%w: the limit of open files is below what it needs", err)
		}
		return nil, fmt.Errorf("cannot start %s: %w", spec.python, err)
	}
	go c.listen(s.log, to)
	return c, nil
}

// child is a real worker process.
type child struct {
	control *os.File // non-blocking, in the runtime's poller
	words   string   // the kinds of message that it may send
	status  chan syscall.WaitStatus

	mu     sync.Mutex
	pid    int            // 0: not forked yet
	early  syscall.Signal // what it was sent before that; told tells the mold so
	told   func()
	reaped bool
}

// PID implements process.
func (c *child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// ended is called once, when the process has been reaped.
func (c *child) ended(ws syscall.WaitStatus) {
	c.mu.Lock()
	c.reaped = true // from here on the pid may belong to somebody else
	c.mu.Unlock()
	c.status <- ws
}

// Signal implements process. It never hits a process that got the pid later.
func (c *child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return os.ErrProcessDone
	}
	if c.pid == 0 {
		c.early = sig
		go c.told() // not here: the mold's lock comes before ours
		return nil
	}
	return syscall.Kill(c.pid, sig)
}

// Send implements process.
func (c *child) Send(m protocol.Message) error { return c.sendWith(m) }

// SendFile implements process.
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

// Close implements process.
func (c *child) Close() { c.control.Close() }

// listen reports what the worker says, and last its end. A boot failure's text
// may still be in the socket when the process is gone already, which is why one
// goroutine does both.
func (c *child) listen(log *slog.Logger, to func(report)) {
	silent := make(chan struct{})
	go func() {
		defer close(silent)
		// Not Go's memory, which would be cleared, and so be there for each worker,
		// while most messages are short.
		buf, err := unix.Mmap(-1, 0, protocol.MaxMessage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			buf = make([]byte, protocol.MaxMessage)
		} else {
			defer func() { _ = unix.Munmap(buf) }() // cannot fail
		}
		h := hearing{log: log, pid: c.PID, words: c.words}
		defer h.end()
		for {
			n, err := c.control.Read(buf)
			if err != nil {
				return // end of file, or the deadline set below
			}
			if m, ok := h.parse(buf[:n]); ok {
				to(report{message: m})
			}
			h.pause()
		}
	}()
	ws := <-c.status
	if err := c.control.SetReadDeadline(time.Now().Add(lastWords)); err != nil {
		log.Error("cannot set a deadline on a control socket", "error", err)
	}
	<-silent
	to(report{exited: true, status: ws})
}
