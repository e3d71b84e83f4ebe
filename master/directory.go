package master

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// startDirectory returns the directory that the server was started in by the name it
// was given there: $PWD, where that is it. It may lead through a symbolic link, as to
// the current one of several releases, which leads elsewhere by the next reload. ""
// if it has no name.
func startDirectory() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// enter makes dir the master's directory, so that what settings name by relative paths
// is found where it leads now.
func enter(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.Chdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return noDirectory(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot use the directory where hostler was started: %w", err)
	}
	return nil
}

func noDirectory(dir string) error {
	return fmt.Errorf("the directory where hostler was started, %s, has been removed: start it in one that is there, or name one with --chdir, from / on", dir)
}

// leaveRemoved has the program begin anew, as the same process, at / if the directory
// where it was started has been removed, and the settings name another one. To change
// there is not enough: where a process has begun is where tableflip starts the next
// binary, and it does not begin without.
func leaveRemoved(set *Settings) error {
	if startDirectory() != "" {
		return nil
	}
	if !filepath.IsAbs(set.Chdir) {
		removed, _ := os.Readlink("/proc/self/cwd")
		return noDirectory(strings.TrimSuffix(removed, " (deleted)"))
	}
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(os.Chdir("/"), os.Setenv("PWD", "/"))
	}
	if err == nil {
		err = syscall.Exec(self, os.Args, os.Environ())
	}
	return fmt.Errorf("cannot leave the directory where hostler was started, which has been removed: %w", err)
}

// pin names the directories and files of a generation's own by where they are now: it
// keeps them, whatever links lead to later. start is startDirectory's.
func pin(set *Settings, start string) {
	wd, err := unix.Getwd()
	if err != nil || !filepath.IsAbs(wd) {
		return // it is gone; whoever needs it will say so
	}
	set.dir = wd
	paths := []*string{&set.PIDFile, &set.TLS.ClientCAs, &set.TLS.ACME.Storage, &set.TLS.ACME.CA, &set.TLS.ACME.EAB}
	if strings.ContainsRune(set.Python, filepath.Separator) {
		paths = append(paths, &set.Python)
	}
	for _, list := range []*[]string{&set.ReloadExtra, &set.TLS.Certs, &set.TLS.Keys} {
		*list = slices.Clone(*list) // config has it, too
		for i := range *list {
			paths = append(paths, &(*list)[i])
		}
	}
	set.Static = slices.Clone(set.Static)
	for i := range set.Static {
		paths = append(paths, &set.Static[i].Dir)
	}
	set.ErrorPages = slices.Clone(set.ErrorPages)
	for i := range set.ErrorPages {
		paths = append(paths, &set.ErrorPages[i].File)
	}
	for _, p := range paths {
		if *p == "" {
			continue
		}
		*p = absolute(wd, *p)
		if below, ok := strings.CutPrefix(*p, start+string(filepath.Separator)); ok && start != "" {
			*p = filepath.Join(wd, below)
		}
	}
	if set.Chdir == "" {
		return
	}
	// Where that cannot be, the workers say why.
	if dir, err := filepath.EvalSymlinks(absolute(wd, set.Chdir)); err == nil {
		set.Chdir = dir
	}
}
