package spawn

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/relay"
	"hostler/protocol"
)

// closeTime is how long the end of the spawner may take.
const closeTime = time.Second // for processes, and again for what they have forked

// LastWords is how long the rest of a dead worker's messages is waited for when
// the socket does not end, because a child that the application forked holds it.
const LastWords = 50 * time.Millisecond

// AbortGrace is how long faulthandler may take to write the tracebacks of a boot that
// hangs.
const AbortGrace = time.Second

// mostStarts is how many processes may wait to be started. There are not so many
// unless the kernel, or a file system, makes one wait for good.
const mostStarts = 4 * protocol.MaxSlots

// Spawner starts real processes and reaps them. Its methods may be called from any
// goroutine, and wait for nothing but Close and EndOrphans.
type Spawner struct {
	// Exchange is the descriptors of both ends, see protocol.NewExchange; without it
	// processes get the null device. It is set before the first Start, as Molded is.
	Exchange [2]int
	// AppMetrics returns what takes the metrics of a process that is started with these
	// settings. It may be nil, and return nil: then they are taken by nobody.
	AppMetrics func(*protocol.WorkerConfig) AppMetrics
	// Molded is told of molds that begin and end, in that order. It may be nil.
	Molded func(MoldEvent)

	log        *slog.Logger
	bootstrap  string
	modules    int // file descriptor of the Python modules
	libraries  *Libraries
	scoreboard int // file descriptor of the scoreboard
	stdin      *os.File

	requests chan spawnRequest
	childs   chan os.Signal
	done     chan struct{}
	over     sync.WaitGroup

	// foreign counts who else in this process has children of his own, which are
	// not ours to reap: see Apart.
	foreign atomic.Int32

	// mu is never held while anything waits: the state goroutine takes it.
	mu        sync.Mutex
	kids      map[int]*child   // by pid; those not yet reaped
	molds     map[int]*mold    // by generation
	starting  bool             // a process is being started: a child may be one that we do not know yet
	subreaper bool             // orphans among our descendants become our children
	strangers map[int]stranger // those that ended before they were known
	theirs    map[uint32]bool  // the users of processes that are another principal's
	sockets   map[string]bool  // listening sockets that those have had, as /proc calls them
	last      bool             // nobody else goes on with these
}

// spawnRequest is a process to be started. It has descriptors of its own.
type spawnRequest struct {
	child  *child
	python string
	argv   []string
	dir    string // where it is started; "": where the master is
	attr   *syscall.ProcAttr
	owned  []int
}

func (r *spawnRequest) close() {
	for _, fd := range r.owned {
		unix.Close(fd)
	}
}

var _ Starter = (*Spawner)(nil)

// New returns a spawner that gives every worker the Python modules and the
// scoreboard behind these file descriptors, which must stay open until Close, and one of
// the libraries, which are the spawner's.
func New(log *slog.Logger, bootstrap string, modules int, libs *Libraries, scoreboard int) (*Spawner, error) {
	// Workers are in process groups of their own; one that read from the
	// terminal would be stopped by SIGTTIN.
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("cannot start workers: %w", err)
	}
	s := &Spawner{
		log: log, bootstrap: bootstrap, modules: modules, libraries: libs, scoreboard: scoreboard, stdin: null,
		Exchange: [2]int{RawFD(null), RawFD(null)}, // a worker that only checks the application needs none
		requests: make(chan spawnRequest, mostStarts),
		childs:   make(chan os.Signal, 1),
		done:     make(chan struct{}),
		// The kernel makes process 1 the parent of every orphan, asked or not.
		subreaper: os.Getpid() == FirstProcess,
		strangers: make(map[int]stranger),
		theirs:    make(map[uint32]bool),
		sockets:   make(map[string]bool),
		kids:      make(map[int]*child),
		molds:     make(map[int]*mold),
	}
	signal.Notify(s.childs, syscall.SIGCHLD)
	s.over.Add(2)
	go s.forkLoop()
	go s.reapLoop()
	return s, nil
}

// Close ends the spawner. Processes that are still there are killed, and waited for: a
// mold has the listening sockets, and who starts the server again wants their addresses.
// What the kernel keeps from ending, a start for one, is left to it.
func (s *Spawner) Close() {
	s.mu.Lock()
	for _, c := range s.kids {
		_ = c.Signal(syscall.SIGKILL)
	}
	s.mu.Unlock()
	end := time.Now().Add(closeTime)
	for s.anyLeft() && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
	s.endAllHolders(closeTime)
	signal.Stop(s.childs)
	close(s.done)
	over := make(chan struct{})
	go func() {
		s.over.Wait()
		s.stdin.Close()
		s.libraries.close()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(max(time.Until(end), closeTime/4)): // orphans may have taken all the time
		s.log.Warn("leaving a process behind that could not be started yet")
	}
}

// anyLeft reports whether there is a process that has not been reaped.
func (s *Spawner) anyLeft() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kids) > 0
}

// forkLoop starts processes from one thread that lives as long as the spawner:
// the parent-death signal is sent when the parent *thread* ends
// (golang/go#27505), and Go ends threads as it likes. The thread is never
// unlocked, so it is not reused for anything else.
func (s *Spawner) forkLoop() {
	defer s.over.Done()
	runtime.LockOSThread()
	for {
		select {
		case r := <-s.requests:
			s.forkExec(&r)
			r.close()
		case <-s.done:
			return
		}
	}
}

// forkExec starts a process. That may take any time: the interpreter may be on a
// file system that does not answer. So there is no lock, and strangers are not
// reaped meanwhile, lest the new process is taken for one.
func (s *Spawner) forkExec(r *spawnRequest) {
	if r.child.hasEnded() { // not wanted any more
		return
	}
	if err := cmp.Or(s.giveLibrary(r), r.ownOutput()); err != nil {
		r.child.end(ending{err: err})
		return
	}
	s.mu.Lock()
	s.starting = true
	s.mu.Unlock()
	r.attr.Dir = elsewhere(r.dir)
	pid, err := syscall.ForkExec(r.python, r.argv, r.attr)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = false
	if err != nil {
		if _, gone := os.Stat(r.attr.Dir); r.attr.Dir != "" && gone != nil {
			r.child.end(ending{err: fmt.Errorf("cannot start a worker where its generation was started: %w", gone)})
			return
		}
		if errors.Is(err, unix.EBADF) { // of dup3(2) in the child
			err = fmt.Errorf("%w: the limit of open files is below what it needs", err)
		}
		r.child.end(ending{err: fmt.Errorf("cannot start %s: %w", r.python, err)})
		return
	}
	s.add(r.child, pid)
	s.reapLater()
}

// ownOutput gives a process that is another principal's than we are what is not ours for
// standard output and error: see package relay.
func (r *spawnRequest) ownOutput() error {
	if r.attr.Sys.Credential == nil {
		return nil
	}
	for n := 1; n <= 2; n++ {
		fd, err := relay.Open(int(r.attr.Files[n]))
		if err != nil {
			return fmt.Errorf("cannot give it an output: %w", err)
		}
		r.owned = append(r.owned, fd)
		r.attr.Files[n] = uintptr(fd)
	}
	return nil
}

// giveLibrary has the process find the library that its interpreter can load.
func (s *Spawner) giveLibrary(r *spawnRequest) error {
	libc := libcOf(r.python)
	lib, err := s.libraries.fd(libc)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", r.python, err)
	}
	r.attr.Files[protocol.FDLibrary] = uintptr(lib)
	if libc == Musl {
		r.attr.Env = preloading(r.attr.Env)
	}
	return nil
}

// add makes pid, which is our child and has not been reaped, the process of c. If c
// was given up before that, it is killed. Called with s.mu held.
func (s *Spawner) add(c *child, pid int) {
	s.kids[pid] = c
	delete(s.strangers, pid)
	if c.begin(pid) {
		return
	}
	s.kids[pid] = &child{pid: pid, status: make(chan ending, 1), begun: make(chan struct{})} // nobody waits for it
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// reapLoop collects exit states. It asks for its own children by pid: an
// upgrade waits for the new master itself.
func (s *Spawner) reapLoop() {
	defer s.over.Done()
	for {
		select {
		case <-s.childs:
			s.reap()
		case <-s.done:
			return
		}
	}
}

// Apart is called before somebody else in this process has children of his own, and end
// when they have ended.
func (s *Spawner) Apart() (end func()) {
	s.foreign.Add(1)
	return func() {
		s.foreign.Add(-1)
		s.reapLater() // orphans that have ended meanwhile
	}
}

// reapLater has the processes looked at that ended while they could not be.
func (s *Spawner) reapLater() {
	select {
	case s.childs <- syscall.SIGCHLD:
	default: // will be anyway
	}
}

// reap reports all processes that have ended by now. Signals coalesce, so one
// SIGCHLD may stand for many.
func (s *Spawner) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, c := range s.kids {
		c.beforeReaping()
		e, ended, err := reapChild(pid)
		switch {
		case err == syscall.EINTR || err == nil && !ended:
			continue
		case err != nil:
			// ECHILD: somebody else took the state. That the process is gone is
			// all that can be said.
			s.log.Error("cannot learn how a worker ended", "pid", pid, "error", err)
		}
		delete(s.kids, pid)
		c.end(e)
	}
	if s.subreaper && !s.starting && s.foreign.Load() == 0 {
		s.reapStrangers()
	}
}

// Start implements Starter.
func (s *Spawner) Start(spec Spec, to func(Report)) (Process, error) {
	if spec.Config.Preload && !spec.Config.Check {
		return s.startForked(spec, to)
	}
	return s.startFresh(spec, to)
}

// startFresh starts a worker, or a mold, in a new interpreter. Whether that works
// turns out later.
func (s *Spawner) startFresh(spec Spec, to func(Report)) (*child, error) {
	arg, err := spec.Config.Encode()
	if err != nil {
		return nil, err
	}
	c, theirs, err := s.newChild(spec.Config)
	if err != nil {
		return nil, err
	}
	s.noteSockets(spec)
	r := spawnRequest{child: c, python: spec.Python, owned: []int{theirs}}
	if spec.Config.Chdir == "" {
		r.dir = spec.Dir
	}
	// Those of a generation may be closed before it is the process's turn. Raw
	// numbers all through: os.File.Fd would switch the shared description of a
	// listener to blocking, for every process that has it (golang/go#29277).
	stderr, secrets, pages, listeners, err := r.keep(spec)
	if err != nil {
		r.close()
		c.Close()
		return nil, err
	}
	files := []uintptr{s.stdin.Fd(), 1, 2, uintptr(theirs), uintptr(s.scoreboard), s.stdin.Fd(),
		uintptr(s.Exchange[0]), uintptr(s.Exchange[1]), s.stdin.Fd(), s.stdin.Fd()}
	if stderr >= 0 {
		files[2] = uintptr(stderr)
	}
	if secrets >= 0 {
		files[protocol.FDSecrets] = uintptr(secrets)
	}
	if pages >= 0 {
		files[protocol.FDPages] = uintptr(pages)
	}
	// A worker that does not serve yet, and a mold, are of no use without us,
	// and might not notice; workers that serve change this.
	atOurEnd := syscall.SIGKILL
	if spec.Config.HooksOnly {
		atOurEnd = syscall.SIGTERM
	}
	files = append(files, listeners...)
	r.argv = []string{spec.Python, "-c", s.bootstrap, arg, strconv.Itoa(len(files))}
	r.attr = &syscall.ProcAttr{
		Env:   SafePath(spec.Env),
		Files: append(files, uintptr(s.modules)),
		Sys: &syscall.SysProcAttr{
			Setpgid: spec.Identity == nil, // Ctrl-C in the terminal is for the master only
			// Another user is not to type into the master's terminal (TIOCSTI), nor to
			// send it SIGCONT, as processes of a session may.
			Setsid:     spec.Identity != nil,
			Pdeathsig:  atOurEnd,
			Credential: spec.Identity,
		},
	}
	select {
	case s.requests <- r:
	default:
		r.close()
		c.Close()
		return nil, errors.New("cannot start a worker: too many wait to be started")
	}
	go c.listen(s.log, to)
	return c, nil
}

// SafePath returns env with a word in it that keeps a python from looking for modules in
// its working directory, which is the application's, before its program has begun: from
// 3.13 on, -c imports linecache. The program takes it out again. Pythons before 3.11 do
// not know it, nor need it.
func SafePath(env []string) []string {
	const name = "PYTHONSAFEPATH="
	for _, kv := range env {
		if strings.HasPrefix(kv, name) && kv != name {
			return env
		}
	}
	return append(slices.Clip(env), name+"hostler")
}

// keep copies the descriptors that are not the spawner's own.
func (r *spawnRequest) keep(spec Spec) (stderr, secrets, pages int, listeners []uintptr, err error) {
	keep := func(fd int) int {
		if fd < 0 {
			return fd
		}
		n, dupErr := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		if dupErr != nil {
			err = fmt.Errorf("cannot copy a descriptor for a worker: %w", dupErr)
			return -1
		}
		r.owned = append(r.owned, n)
		return n
	}
	stderr, secrets, pages = keep(spec.Errors), keep(spec.Secrets), keep(spec.Pages)
	for _, fd := range spec.Listeners {
		listeners = append(listeners, uintptr(keep(fd)))
	}
	return stderr, secrets, pages, listeners, err
}

// elsewhere returns the directory that a process of a generation has to change to; "":
// the master is there, and it inherits that (it may have no right to go there itself).
func elsewhere(dir string) string {
	if wd, err := unix.Getwd(); err == nil && wd == dir {
		return ""
	}
	return dir
}
