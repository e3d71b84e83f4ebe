package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/inode"
	"hostler/internal/unixsocket"
)

// socketMode lets the owner connect and nobody else: to connect means to write.
const socketMode = 0o600

// dialTimeout is for a server on this machine that accepts at once.
const dialTimeout = 2 * time.Second

// socket is a listening socket that can be renamed.
type socket struct {
	net.Listener
	path string // the final one

	mu        sync.Mutex
	file      *inode.File // nil: it has ended
	temporary string      // until it is published
}

// listen makes the socket for path under a temporary name. Takeover says that
// the server at path may be our parent, which we will replace.
func listen(path string, takeover bool) (*socket, error) {
	if err := checkFree(path, takeover); err != nil {
		return nil, err
	}
	// The process id is unique among those that could have this name now.
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := unixsocket.Clear(temporary); err != nil {
		return nil, err
	}
	fd, file, err := unixsocket.Listen(temporary, socketMode)
	if err != nil {
		return nil, err
	}
	s := &socket{path: path, file: file, temporary: temporary}
	f := os.NewFile(uintptr(fd), temporary)
	s.Listener, err = net.FileListener(f)
	f.Close()
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// checkFree returns an error if path is somebody else's.
func checkFree(path string, takeover bool) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode()&fs.ModeSocket == 0:
		return unixsocket.ErrNoSocket
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil // its server is dead
	}
	if err != nil {
		return err
	}
	defer c.Close()
	pid, err := peer(c)
	if err != nil {
		return err
	}
	if takeover && pid == os.Getppid() {
		return nil
	}
	return fmt.Errorf("process %d answers there", pid)
}

// peer returns the process that listens at the other end of c.
func peer(c net.Conn) (int, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var got error
	err = raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, got); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// publish gives the socket its final name, in the place of a socket that has
// it now.
func (s *socket) publish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.temporary == "" || s.file == nil {
		return nil
	}
	if !s.file.Has(s.temporary) {
		return errors.New("the socket's file has been removed, or replaced, before it got its name")
	}
	if err := os.Rename(s.temporary, s.path); err != nil {
		return err
	}
	s.temporary = ""
	return nil
}

func (s *socket) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.temporary == "" && s.file != nil && !s.file.Has(s.path)
}

// end removes the file if it is this socket's. The listener is closed by whom
// it serves.
func (s *socket) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.path
	if s.temporary != "" {
		path = s.temporary
	}
	if s.file != nil {
		_ = s.file.Remove(path) // what is left is stale, and replaced by the next server
		s.file.Close()
		s.file = nil
	}
}
