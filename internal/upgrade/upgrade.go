// Package upgrade starts another binary in this one's place and hands it open files.
//
// What the two say to each other is what github.com/cloudflare/tableflip has made
// of it, since a binary that is replaced, or replaces this one, may use that: the new
// one finds the variable in its environment, on descriptor 3 a pipe for a byte that
// says that it is ready, on 4 one with the files' names, whose end says that the old
// one has gone, and from 5 on the files.
package upgrade

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Variable is in the environment of a binary that has been handed files.
const Variable = "TABLEFLIP_HAS_PARENT_7DIU3"

const (
	readyByte = 42
	fdReady   = 3
	fdNames   = 4
	fdFiles   = 5
)

// Key is what a file is called.
type Key [3]string

// ListenerKey is the name of a listening socket.
func ListenerKey(network, address string) Key { return Key{"listener", network, address} }

// FileKey is the name of any other file.
func FileKey(name string) Key { return Key{"fd", name} }

// Upgrader is this binary's place in the row of those that replace each other. A
// process has one.
type Upgrader struct {
	dir   string        // where this binary was started, and the next will be
	ready *os.File      // where to say that this binary is; nil: nobody waits
	left  chan struct{} // closed when the binary before us has gone; nil: there was none
	quit  chan struct{} // closed by Close

	mu        sync.Mutex
	inherited map[Key]int
	kept      map[Key]int // for the next binary
	state     state
	alive     *os.File // its end, which is ours, tells the next binary that we have gone
}

type state int

const (
	stateStarting state = iota
	stateReady
	stateUpgrading
	stateReplaced
	stateClosed
)

// New returns an Upgrader with what the binary before this one has handed over, if
// there was one.
func New() (*Upgrader, error) {
	dir, err := os.Getwd()
	if err != nil {
		dir = "" // removed; the next binary has what is left of it
	}
	u := &Upgrader{dir: dir, quit: make(chan struct{}), inherited: make(map[Key]int), kept: make(map[Key]int)}
	if os.Getenv(Variable) == "" {
		return u, nil
	}
	// No child of ours shall hold them.
	unix.CloseOnExec(fdReady)
	unix.CloseOnExec(fdNames)
	u.ready = os.NewFile(fdReady, "ready")
	names := os.NewFile(fdNames, "names")
	if u.ready == nil || names == nil {
		return nil, fmt.Errorf("%s is set, but nobody has handed files over", Variable)
	}
	var keys [][]string
	if err := gob.NewDecoder(names).Decode(&keys); err != nil {
		return nil, fmt.Errorf("cannot learn what was handed over: %w", err)
	}
	for i, parts := range keys {
		var k Key
		copy(k[:], parts)
		unix.CloseOnExec(fdFiles + i)
		u.inherited[k] = fdFiles + i
	}
	u.left = make(chan struct{})
	go func() {
		defer close(u.left)
		defer names.Close()
		_, _ = io.Copy(io.Discard, names) // nobody writes; whatever ends it, there is no old binary then
	}()
	return u, nil
}

// HasParent says whether another binary has started this one in its place.
func (u *Upgrader) HasParent() bool { return u.left != nil }

// Take returns a file that was handed over, which is the caller's from here on; false:
// there is none of that name.
func (u *Upgrader) Take(k Key) (fd int, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fd, ok = u.inherited[k]
	delete(u.inherited, k)
	return fd, ok
}

// File returns a copy of a file that was handed over, and keeps it for the next
// binary; nil: there is none of that name.
func (u *Upgrader) File(name string) (*os.File, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	k := FileKey(name)
	fd, ok := u.inherited[k]
	if !ok {
		return nil, nil
	}
	dup, err := duplicate(fd)
	if err != nil {
		return nil, err
	}
	delete(u.inherited, k)
	u.keep(k, fd)
	return os.NewFile(uintptr(dup), name), nil
}

// AddFile keeps a copy of f for the next binary, in the place of one of that name.
func (u *Upgrader) AddFile(name string, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var dup int
	var dupErr error
	if err := raw.Control(func(fd uintptr) { dup, dupErr = duplicate(int(fd)) }); err != nil {
		return err
	}
	if dupErr != nil {
		return dupErr
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keep(FileKey(name), dup)
	return nil
}

func (u *Upgrader) keep(k Key, fd int) {
	if old, ok := u.kept[k]; ok {
		unix.Close(old)
	}
	u.kept[k] = fd
}

func duplicate(fd int) (int, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return -1, fmt.Errorf("cannot copy a descriptor: %w", err)
	}
	return dup, nil
}

// Ready tells the binary before this one that it may go, and returns what of its
// files nobody has taken. They are the caller's.
func (u *Upgrader) Ready() (unused map[Key]int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == stateStarting {
		u.state = stateReady
	}
	unused, u.inherited = u.inherited, nil
	if u.ready == nil {
		return unused, nil
	}
	defer func() { u.ready = nil }()
	defer u.ready.Close()
	_, err = u.ready.Write([]byte{readyByte})
	return unused, err
}

// WaitForParent returns when the binary before this one has gone.
func (u *Upgrader) WaitForParent(ctx context.Context) error {
	if u.left == nil {
		return nil
	}
	select {
	case <-u.left:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close gives up what is kept, and any upgrade.
func (u *Upgrader) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == stateClosed {
		return
	}
	u.state = stateClosed
	close(u.quit)
	u.closeFiles()
}

func (u *Upgrader) closeFiles() {
	for _, files := range []map[Key]int{u.kept, u.inherited} {
		for _, fd := range files {
			unix.Close(fd)
		}
		clear(files)
	}
}

// begin says whether an upgrade can begin now.
func (u *Upgrader) begin() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch u.state {
	case stateStarting:
		return errors.New("this binary is not ready yet")
	case stateUpgrading:
		return errors.New("an upgrade is under way")
	case stateReplaced:
		return errors.New("another binary has taken over already")
	case stateClosed:
		return errStopping
	}
	if u.left != nil {
		select {
		case <-u.left:
		default:
			return errors.New("the binary before this one has not left yet")
		}
	}
	u.state = stateUpgrading
	return nil
}

var errStopping = errors.New("the server is stopping")

// Upgrade starts the binary again, with what is kept and more, and returns when the
// new one is ready; from then on nothing is kept here. The descriptors in more stay
// the caller's.
func (u *Upgrader) Upgrade(timeout time.Duration, more map[Key]int) error {
	if err := u.begin(); err != nil {
		return err
	}
	alive, err := u.replace(timeout, more)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		u.alive = alive // if this were closed, or collected, the next binary would think us gone
		u.closeFiles()
		u.state = stateReplaced
	case u.state == stateUpgrading:
		u.state = stateReady
	}
	return err
}

// replace starts the new binary and waits for its word.
func (u *Upgrader) replace(timeout time.Duration, more map[Key]int) (alive *os.File, err error) {
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer readyR.Close()
	namesR, namesW, err := os.Pipe()
	if err != nil {
		readyW.Close()
		return nil, err
	}
	process, names, err := u.start(readyW, namesR, more)
	readyW.Close()
	namesR.Close()
	if err != nil {
		namesW.Close()
		return nil, fmt.Errorf("cannot start the new binary: %w", err)
	}
	ready, exited := make(chan bool, 1), make(chan error, 1)
	go func() {
		var word [1]byte
		err := gob.NewEncoder(namesW).Encode(names)
		if err == nil {
			_, err = io.ReadFull(readyR, word[:])
		}
		ready <- err == nil && word[0] == readyByte
	}()
	go func() {
		state, err := process.Wait()
		if err == nil {
			err = errors.New(state.String())
		}
		exited <- err
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	end := func(err error) (*os.File, error) {
		_ = process.Kill() // it may have gone already
		namesW.Close()
		return nil, err
	}
	for {
		select {
		case ok := <-ready:
			if ok {
				return namesW, nil
			}
			ready = nil // it is ending, and how is what we want to know
		case err := <-exited:
			return end(fmt.Errorf("the new binary, process %d, ended before it served: %w", process.Pid, err))
		case <-timer.C:
			return end(fmt.Errorf("the new binary, process %d, did not serve within %v", process.Pid, timeout))
		case <-u.quit:
			return end(errStopping)
		}
	}
}

// start starts the new binary and returns the names of the files that it gets.
func (u *Upgrader) start(readyW, namesR *os.File, more map[Key]int) (*os.Process, [][]string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return nil, nil, err
	}
	// Raw numbers: File.Fd would switch descriptions that others share to blocking.
	files := []uintptr{0, 1, 2}
	for _, f := range []*os.File{readyW, namesR} {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { files = append(files, fd) })
		}
		if err != nil {
			return nil, nil, err
		}
	}
	u.mu.Lock() // nothing is closed before it is handed over
	defer u.mu.Unlock()
	if u.state != stateUpgrading {
		return nil, nil, errStopping
	}
	names := [][]string{}
	for _, from := range []map[Key]int{u.kept, more} {
		for k, fd := range from {
			names = append(names, k[:])
			files = append(files, uintptr(fd))
		}
	}
	env := os.Environ()
	if os.Getenv(Variable) == "" {
		env = append(env, Variable+"=yes")
	}
	pid, _, err := syscall.StartProcess(path, append([]string{path}, os.Args[1:]...), &syscall.ProcAttr{Dir: u.dir, Env: env, Files: files})
	if err != nil {
		return nil, nil, err
	}
	process, err := os.FindProcess(pid)
	return process, names, err
}
