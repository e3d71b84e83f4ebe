package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"hostler/internal/unixsocket"
)

// A server whose settings name no control socket has one in a directory that is its
// user's alone, called after its process: 4711.sock. Nobody else can put anything
// there, which is why hostler ctl may look for servers there, and why it looks nowhere
// else.

// Places are where such directories may be.
type Places struct {
	Env  func(name string) string
	UID  int
	Root string // before all paths; "" but in tests
}

// ThesePlaces are those of this process.
func ThesePlaces(env func(string) string) Places { return Places{Env: env, UID: os.Geteuid()} }

// place is one of them.
type place struct {
	dir     string
	parent  string // has to be ours, too; "": it is root's, or sticky
	service bool   // it is the service manager's
	make    bool   // a server may make it; else that is for the service manager
	foreign bool   // for hostler ctl it may belong to anybody: only root can have made it
}

func (p Places) all() (all []place) {
	run := filepath.Join(p.Root, "/run/hostler")
	if dir, _, _ := strings.Cut(p.Env("RUNTIME_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		all = append(all, place{dir: dir, service: true})
	}
	all = append(all, place{dir: run, make: p.UID == 0, foreign: p.UID == 0})
	if p.UID != 0 { // root's may be another user's, by sudo
		for _, dir := range []string{p.Env("XDG_RUNTIME_DIR"), filepath.Join(p.Root, fmt.Sprintf("/run/user/%d", p.UID))} {
			if filepath.IsAbs(dir) {
				all = append(all, place{dir: filepath.Join(dir, "hostler"), parent: dir, make: true})
			}
		}
	}
	return append(all, place{dir: filepath.Join(p.Root, fmt.Sprintf("/tmp/hostler-%d", p.UID)), make: true})
}

// Directory returns the first directory that a server may have its socket in. It is
// made, if it is not there.
func (p Places) Directory() (string, error) {
	var errs []error
	for _, at := range p.all() {
		if at.parent != "" {
			if err := p.check(at.parent, os.Stat, false); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if at.make {
			if err := os.Mkdir(at.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				errs = append(errs, err)
				continue
			}
		}
		err := p.check(at.dir, os.Lstat, false)
		if err == nil {
			return at.dir, nil
		}
		errs = append(errs, err)
	}
	return "", errs[len(errs)-1] // of the place that nearly everybody has
}

// check says why a directory is none that only its owner, who has to be us unless
// foreign, may write to.
func (p Places) check(dir string, stat func(string) (fs.FileInfo, error), foreign bool) error {
	st, err := stat(dir)
	if err != nil {
		return err
	}
	owner := int(st.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !st.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	case owner != p.UID && !foreign:
		return fmt.Errorf("%s belongs to somebody else", dir)
	case st.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s", dir)
	}
	return nil
}

// Path returns the path of this process's socket, and clears away what servers that
// are dead have left beside it.
func (p Places) Path() (string, error) {
	dir, err := p.Directory()
	if err != nil {
		return "", err
	}
	for _, path := range sockets(dir) {
		_ = unixsocket.Clear(path) // an error is a server that lives
	}
	return filepath.Join(dir, fmt.Sprintf("%d.sock", os.Getpid())), nil
}

// ours are the names that servers' sockets have.
var ours = regexp.MustCompile(`^[0-9]+\.sock$`)

// sockets are those in dir that may be servers'.
func sockets(dir string) (paths []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if ours.MatchString(e.Name()) || e.Name() == "ctl.sock" {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// Found is a server that answers.
type Found struct {
	Path, App string
	PID       int
}

// askTime is how long a server may take to say what it is.
const askTime = 2 * time.Second

// Running returns the servers that have their sockets in these places. What a service
// runs means the service's own.
func (p Places) Running(ctx context.Context) (all []Found) {
	seen := make(map[string]bool)
	for _, at := range p.all() {
		if seen[at.dir] || p.check(at.dir, os.Lstat, at.foreign) != nil {
			continue
		}
		seen[at.dir] = true
		for _, path := range sockets(at.dir) {
			if f, ok := ask(ctx, path); ok {
				all = append(all, f)
			}
		}
		if at.service {
			break
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return a.PID - b.PID })
	return all
}

func ask(ctx context.Context, path string) (Found, bool) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	b, err := NewClient(path).Do(ctx, "GET", "status", nil)
	if err != nil {
		return Found{}, false
	}
	var st Status
	if json.Unmarshal(b, &st) != nil {
		return Found{}, false
	}
	return Found{Path: path, App: st.Master.App, PID: st.Master.PID}, true
}
