// Package upgrade starts another binary in this one's place and hands it open files,
// by tableflip. What it adds is that files can be given for one upgrade only, and
// taken back: tableflip keeps each under its name for good, and sockets as listeners,
// whose files it removes in the end. So all are plain files to it, and what is not to
// be kept any more is replaced by the null device.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// Variable is in the environment of a binary that has been handed files.
const Variable = "TABLEFLIP_HAS_PARENT_7DIU3"

// tableflip's pipes to the binary before this one, which it leaves open across exec.
const (
	fdReady = 3
	fdNames = 4
)

// Key is what a file is called.
type Key string

// ListenerKey is the name of a listening socket.
func ListenerKey(network, address string) Key { return Key("listener " + network + " " + address) }

// FileKey is the name of any other file.
func FileKey(name string) Key { return Key("file " + name) }

// Name returns the name that FileKey was given; false: it is another's key.
func (k Key) Name() (name string, ok bool) { return strings.CutPrefix(string(k), "file ") }

// Upgrader is this binary's place in the row of those that replace each other. A
// process has one.
type Upgrader struct {
	flip *tableflip.Upgrader
	null *os.File

	mu       sync.Mutex // held during an upgrade
	replaced bool       // by another binary
}

// New returns an Upgrader with what the binary before this one has handed over, if
// there was one. A new binary has timeout to get ready.
func New(timeout time.Duration) (*Upgrader, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	flip, err := tableflip.New(tableflip.Options{UpgradeTimeout: timeout})
	if err != nil {
		null.Close()
		return nil, err
	}
	if flip.HasParent() {
		unix.CloseOnExec(fdReady)
		unix.CloseOnExec(fdNames)
	}
	return &Upgrader{flip: flip, null: null}, nil
}

// HasParent reports whether another binary has started this one in its place.
func (u *Upgrader) HasParent() bool { return u.flip.HasParent() }

// Take returns a file that was handed over, which is the caller's from here on; false:
// there is none of that name.
func (u *Upgrader) Take(k Key) (fd int, ok bool) {
	f, err := u.flip.File(string(k))
	if f == nil || err != nil {
		return -1, false
	}
	defer f.Close()
	if u.forget(k) != nil {
		return -1, false
	}
	return descriptor(f)
}

// descriptor returns a copy of f's; false: f stands for no file, or there can be none.
func descriptor(f *os.File) (fd int, ok bool) {
	var st unix.Stat_t
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, false
	}
	err = raw.Control(func(n uintptr) {
		if ok = unix.Fstat(int(n), &st) == nil && !isNull(&st); ok {
			fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 10)
			ok = err == nil
		}
	})
	return fd, ok && err == nil
}

func isNull(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// forget has the null device handed over under a name. tableflip's own descriptor of
// what was there is closed when the garbage is collected.
func (u *Upgrader) forget(k Key) error { return u.flip.AddFile(string(k), u.null) }

// File returns a copy of a file that was handed over, and keeps it for the next
// binary; nil: there is none of that name.
func (u *Upgrader) File(name string) (*os.File, error) { return u.flip.File(string(FileKey(name))) }

// AddFile keeps a copy of f for the next binary, in the place of one of that name.
func (u *Upgrader) AddFile(name string, f *os.File) error {
	return u.flip.AddFile(string(FileKey(name)), f)
}

// leftBehind is the pipe in which a binary is told what of its files the next one has
// not taken.
const leftBehind = Key("file left behind")

// Ready tells the binary before this one that it may go, and returns what of its
// files nobody has taken. They are the caller's. Told says that the other binary knows
// which they are.
func (u *Upgrader) Ready() (unused map[Key]int, told bool, err error) {
	unused = make(map[Key]int)
	if u.HasParent() {
		files, err := u.flip.Files()
		if err != nil { // the binary before us has to hear of us all the same
			return unused, false, errors.Join(fmt.Errorf("cannot look at what was handed over: %w", err), u.flip.Ready())
		}
		for _, f := range files {
			k := Key(strings.TrimSuffix(strings.TrimPrefix(f.Name(), "fd:"), ":"))
			if fd, ok := descriptor(f); ok {
				unused[k] = fd
			}
			f.Close()
			_ = u.forget(k) // what cannot be forgotten is handed on once more
		}
		go runtime.GC() // see forget
		told = tellLeft(unused)
	}
	return unused, told, u.flip.Ready()
}

// tellLeft says in the pipe, which goes, what else is in unused.
func tellLeft(unused map[Key]int) bool {
	w, ok := unused[leftBehind]
	if !ok {
		return false // a binary that does not ask
	}
	delete(unused, leftBehind)
	defer unix.Close(w)
	var names []byte
	for k := range unused {
		names = append(append(names, k...), '\n')
	}
	n, err := unix.Write(w, names) // whole, or there is no room for so much
	return err == nil && n == len(names)
}

// WaitForParent returns when the binary before this one has gone.
func (u *Upgrader) WaitForParent(ctx context.Context) error { return u.flip.WaitForParent(ctx) }

// Close gives up what is kept, and any upgrade. It reports whether another binary has
// replaced this one by then.
func (u *Upgrader) Close() (replaced bool) {
	u.flip.Stop()
	<-u.flip.Exit()
	u.mu.Lock() // an upgrade that has just ended may not have said so
	defer u.mu.Unlock()
	u.null.Close()
	return u.replaced
}

// Upgrade starts the binary again, with what is kept and more, and returns when the
// new one is ready; from then on nothing is kept here. The descriptors in more stay
// the caller's. Left are those that the new binary has not taken, as it says.
func (u *Upgrader) Upgrade(more map[Key]int) (left []Key, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var pipe [2]int
	if err = unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	if err = u.addAll(more); err == nil {
		err = u.addAll(map[Key]int{leftBehind: pipe[1]})
	}
	unix.Close(pipe[1])
	if err == nil {
		err = u.flip.Upgrade()
	}
	if err == nil {
		left = heardLeft(pipe[0])
	}
	if u.replaced = u.replaced || err == nil; !u.replaced {
		for k := range more {
			err = errors.Join(err, u.forget(k))
		}
		err = errors.Join(err, u.forget(leftBehind))
		runtime.GC() // see forget
	}
	return left, err
}

// heardLeft returns what a new binary that is ready has said.
func heardLeft(r int) (left []Key) {
	names := make([]byte, 64<<10)
	n, err := unix.Read(r, names)
	if err != nil || n <= 0 {
		return nil
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:n]), "\n"), "\n") {
		left = append(left, Key(name))
	}
	return left
}

func (u *Upgrader) addAll(more map[Key]int) error {
	for k, fd := range more {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return fmt.Errorf("cannot copy a descriptor: %w", err)
		}
		f := os.NewFile(uintptr(dup), string(k))
		err = u.flip.AddFile(string(k), f)
		f.Close()
		if err != nil {
			return fmt.Errorf("cannot hand a file over: %w", err)
		}
	}
	return nil
}
