package master

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hostler/settings"
)

// checkPlaces returns what would keep a server from starting, of certificates, files and
// addresses. It makes no file, and nobody could connect meanwhile. A server with the same
// settings may be running: what is taken is none of its matter.
func checkPlaces(set *Settings) error {
	var errs []error
	if set.TLS.On() {
		_, err := readCertificates(&set.TLS, nil)
		errs = append(errs, err)
		if len(set.TLS.ACME.Certs) > 0 {
			errs = append(errs, storeOf(&set.TLS.ACME).Check())
		}
	}
	if _, err := readErrorPages(set.ErrorPages); err != nil {
		errs = append(errs, err)
	}
	logs := newLogFiles(set)
	for what, path := range map[string]string{"access log": logs.access.path, "error log": logs.errors.path} {
		if err := checkFile(path); err != nil {
			errs = append(errs, fmt.Errorf("cannot write the %s: %w", what, err))
		}
	}
	if set.PIDFile != "" { // another file takes its place
		if err := checkWritable(filepath.Dir(set.PIDFile)); err != nil {
			errs = append(errs, fmt.Errorf("cannot write the pid file: %w", err))
		}
	}
	if set.CtlSocket == settings.CtlAuto {
		// A server goes on without.
	} else if err := checkSocket(set.CtlSocket); err != nil {
		errs = append(errs, fmt.Errorf("cannot make the control socket: %w", err))
	}
	if set.SpoolDir != "" && set.User == "" { // else it is for another to write there
		if err := checkWritable(set.SpoolDir); err != nil {
			errs = append(errs, fmt.Errorf("cannot spool: %w", err))
		}
	}
	binds := slices.Concat(set.Binds, set.Redirects)
	if set.AdminGiven && set.Admin != (settings.Bind{}) {
		binds = append(binds, set.Admin)
	}
	for _, b := range binds {
		if err := checkBind(b); err != nil {
			errs = append(errs, fmt.Errorf("cannot bind %s: %w", b, err))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(errs...)
}

// checkFile looks whether path can be written, or made; "": there is none.
func checkFile(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkWritable(filepath.Dir(path))
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory", path)
	}
	return access(path, unix.W_OK)
}

// checkSocket looks whether a socket can be made at path; "": there is none.
func checkSocket(path string) error {
	if path == "" || path[0] == '@' {
		return nil
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket", path)
	}
	return checkWritable(filepath.Dir(path))
}

// checkWritable looks whether files can be made in dir.
func checkWritable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	}
	return access(dir, unix.W_OK|unix.X_OK)
}

func access(path string, how uint32) error {
	if err := unix.Access(path, how); err != nil {
		return &fs.PathError{Op: "access", Path: path, Err: err}
	}
	return nil
}

// checkBind looks whether b is an address of this machine, that we may have. The socket
// never listens.
func checkBind(b settings.Bind) error {
	switch b.Network {
	case "unix":
		return checkSocket(b.Address)
	case "fd": // it is the server's that is to be started
		return nil
	}
	addr, err := net.ResolveTCPAddr(goNetwork(b), b.Address)
	if err != nil {
		return bindCause(err)
	}
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: addr.Port})
	if ip := addr.IP.To4(); ip != nil {
		sa = &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}
	} else if len(addr.IP) > 0 {
		six := &unix.SockaddrInet6{Port: addr.Port, Addr: [16]byte(addr.IP)}
		if i, err := net.InterfaceByName(addr.Zone); err == nil {
			six.ZoneId = uint32(i.Index)
		}
		family, sa = unix.AF_INET6, six
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, sa); err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return portRefused(err)
	}
	return nil
}
