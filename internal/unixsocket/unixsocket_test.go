package unixsocket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hostler/internal/inode"
)

func listen(t *testing.T, path string) *inode.File {
	t.Helper()
	fd, file, err := Listen(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd); file.Close() })
	return file
}

// TestRights: a socket has its rights, whatever the umask, from when it is there; the
// umask of other threads stays.
func TestRights(t *testing.T) {
	dir := t.TempDir()
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	var others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := filepath.Join(dir, "file")
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o666)
			if err != nil {
				t.Error(err)
				return
			}
			st, _ := f.Stat()
			f.Close()
			if st.Mode().Perm() != 0o600 {
				t.Errorf("file %d has the rights %v", i, st.Mode().Perm())
				return
			}
			_ = os.Remove(name)
		}
	})
	for _, mode := range []os.FileMode{0o666, 0o600, 0o660} {
		for range 50 {
			path := filepath.Join(dir, "s")
			fd, file, err := Listen(path, mode)
			if err != nil {
				t.Fatal(err)
			}
			st, err := os.Lstat(path)
			if err != nil || st.Mode().Perm() != mode {
				t.Fatalf("rights %v, want %v (%v)", st.Mode(), mode, err)
			}
			if err := file.Remove(path); err != nil {
				t.Fatal(err)
			}
			file.Close()
			unix.Close(fd)
		}
	}
	close(stop)
	others.Wait()
}

// TestProcessUmask is for where seccomp forbids a thread's own umask.
func TestProcessUmask(t *testing.T) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	inside := 0
	if err := withProcessUmask(func() error { inside = unix.Umask(0); return nil }); err != nil || inside != 0 {
		t.Errorf("umask %o, %v", inside, err)
	}
	if after := unix.Umask(0o027); after != 0o027 {
		t.Errorf("umask %o afterwards", after)
	}
}

// TestOnlyOnesOwn: what has taken a socket's place is neither the socket nor removed.
func TestOnlyOnesOwn(t *testing.T) {
	for what, replace := range map[string]func(path string) error{
		"another socket": func(path string) error {
			_, file, err := Listen(path, 0o666)
			if err == nil {
				t.Cleanup(file.Close)
			}
			return err
		},
		"a file":      func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link":      func(path string) error { return os.Symlink(path+".moved", path) },
	} {
		path := filepath.Join(t.TempDir(), "s")
		file := listen(t, path)
		if !file.Has(path) {
			t.Fatal("does not know its own")
		}
		if err := os.Rename(path, path+".moved"); err != nil {
			t.Fatal(err)
		}
		if err := replace(path); err != nil {
			t.Fatal(err)
		}
		if file.Has(path) {
			t.Errorf("%s is taken for the socket", what)
		}
		if err := file.Remove(path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s is gone: %v", what, err)
		}
		if !file.Has(path + ".moved") {
			t.Errorf("%s: the socket itself is gone", what)
		}
	}
	// The inode of a socket that is removed is not given to the next.
	path := filepath.Join(t.TempDir(), "s")
	first := listen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
	if err := first.Remove(path); err != nil || first.Has(path) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("the next server's socket is gone")
	}
}

// TestClear: the file that a killed server left is removed, one that somebody listens
// on is not, and neither is what is no socket.
func TestClear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := Clear(path); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Clear(path); err != syscall.EADDRINUSE {
		t.Errorf("in use: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if err := Clear(path); err != nil {
		t.Errorf("stale: %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Error("it is still there")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, make := range map[string]func() error{
		"file": func() error { return os.WriteFile(path, nil, 0o600) },
		"link": func() error { return os.Symlink(secret, path) },
		"FIFO": func() error { return unix.Mkfifo(path, 0o600) },
		"dir":  func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if err := Clear(path); !errors.Is(err, ErrNoSocket) {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.Remove(path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestNames(t *testing.T) {
	long := filepath.Join(t.TempDir(), string(make([]byte, maxPath)))
	if _, _, err := Listen(long, 0o666); err != errTooLong {
		t.Errorf("too long: %v", err)
	}
	fd, file, err := Listen("@hostler-unixsocket-test", 0o666)
	if err != nil || file != nil {
		t.Fatalf("abstract: %v, %v", file, err)
	}
	unix.Close(fd)
}

// TestNoDescriptors: no client can send one, for who reads from it would wait until it is
// closed.
func TestNoDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS); err != nil {
		t.Skipf("before Linux 6.16: %v", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(fd, []byte("x"), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL); err != unix.EPERM {
		t.Errorf("sent: %v", err)
	}
}
