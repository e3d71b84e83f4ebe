// Package filewatch tells when files change, in the ways that editors and version
// control change them: written in place, replaced by a rename, deleted and made
// again together with their directory.
//
// What is watched are the directories of the files, since a file that is replaced
// takes its own watch along. An event is only a reason to look: a file counts as
// changed when its time, size or identity did, so neither readers nor chmod count,
// and nothing else in the directory (__pycache__, logs, a database).
package filewatch

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing may happen before a change is reported: an editor
	// or a checkout does many things at a time.
	quiet = 80 * time.Millisecond
	// latest bounds the wait for that.
	latest = 400 * time.Millisecond
	// again is how often a directory that is missing is looked for.
	again = 250 * time.Millisecond
	// poll is how often all files are looked at without an event: some file systems
	// send none (shared with a virtual machine, over a network), and none tells when
	// a directory further up is renamed.
	poll = 2 * time.Second
)

// Watcher watches. Its methods may be called from any goroutine.
type Watcher struct {
	commands   chan func(*state)
	quit, over chan struct{}
}

// signature tells one state of a file from another.
type signature struct {
	modified time.Time
	size     int64
	inode    uint64
}

// state belongs to one goroutine.
type state struct {
	log     *slog.Logger
	fs      *fsnotify.Watcher
	files   map[string]signature // the zero one: it is not there
	aliases map[string]string    // where a symbolic link leads → the name that is watched
	dirs    map[string]bool      // wanted → watched
	trees   []string             // everything in them counts
	loose   bool
	full    bool // the kernel's limit has been reported

	dirty    map[string]bool // files to look at
	changed  map[string]bool
	due      time.Time // when to look; zero: nothing is dirty
	deadline time.Time
}

// New starts a Watcher. Changes are reported, sorted, from a goroutine of its own.
func New(log *slog.Logger, changed func(paths []string)) (*Watcher, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch files: %w", err)
	}
	w := &Watcher{commands: make(chan func(*state)), quit: make(chan struct{}), over: make(chan struct{})}
	s := &state{log: log, fs: n, files: make(map[string]signature), aliases: make(map[string]string), dirs: make(map[string]bool),
		dirty: make(map[string]bool), changed: make(map[string]bool)}
	go w.run(s, changed)
	return w, nil
}

// Close ends it. Nothing is reported afterwards.
func (w *Watcher) Close() {
	close(w.quit)
	<-w.over
}

// do runs f in the goroutine that owns the state and returns when it has.
func (w *Watcher) do(f func(*state)) {
	done := make(chan struct{})
	select {
	case w.commands <- func(s *state) { f(s); close(done) }:
		<-done
	case <-w.over:
	}
}

// Add watches files, by absolute paths, too. One that has been changed after since
// counts as changed now: whoever read it has read something else.
func (w *Watcher) Add(files []string, since time.Time) {
	w.do(func(s *state) {
		now := time.Now()
		for _, f := range files {
			s.addFile(f)
			if m := s.files[f].modified; m.After(since) && !m.After(now) {
				s.change(f)
			}
		}
	})
}

// AddTree watches a file, or all that is in a directory or will be, however deep.
func (w *Watcher) AddTree(path string) {
	w.do(func(s *state) {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			s.trees = append(s.trees, path)
			s.addTree(path, false)
			return
		}
		s.addFile(path)
	})
}

// AddDir watches a directory for Loose.
func (w *Watcher) AddDir(dir string) { w.do(func(s *state) { s.addDir(dir) }) }

// Loose makes every .py file in a watched directory count, the unknown ones too, or
// not any more: where an import has failed nobody knows what it would have read.
func (w *Watcher) Loose(on bool) { w.do(func(s *state) { s.loose = on }) }

func (w *Watcher) run(s *state, changed func([]string)) {
	defer close(w.over)
	defer s.fs.Close()
	polls := time.NewTicker(poll)
	defer polls.Stop()
	for {
		wait := time.Hour
		if !s.due.IsZero() {
			wait = time.Until(s.due)
		}
		if s.missing() {
			wait = min(wait, again)
		}
		select {
		case f := <-w.commands:
			f(s)
		case ev := <-s.fs.Events:
			s.event(ev)
		case err := <-s.fs.Errors:
			// Events were lost; or nobody knows what.
			s.log.Debug("watching files", "error", err)
			s.everything()
		case <-time.After(max(wait, 0)):
			s.find()
			if paths := s.settle(); len(paths) > 0 {
				changed(paths)
			}
		case <-polls.C:
			s.poll()
		case <-w.quit:
			return
		}
	}
}

func look(path string) signature {
	st, err := os.Stat(path)
	if err != nil {
		return signature{}
	}
	g := signature{modified: st.ModTime(), size: st.Size()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		g.inode = sys.Ino
	}
	return g
}

func (s *state) addFile(path string) {
	if _, known := s.files[path]; known {
		return
	}
	s.files[path] = look(path)
	s.addDir(filepath.Dir(path))
	if to, err := filepath.EvalSymlinks(path); err == nil && to != path {
		s.aliases[to] = path
		s.addDir(filepath.Dir(to))
	}
}

func (s *state) addDir(dir string) {
	if s.dirs[dir] {
		return
	}
	err := s.fs.Add(dir)
	s.dirs[dir] = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !s.full {
		s.full = true // once: the next has the same reason
		s.log.Warn("cannot watch all files; changes in some will not be noticed", "directory", dir, "error", err)
	}
}

// addTree watches a directory and those below it. What is found in one that has
// just come has changed.
func (s *state) addTree(dir string, fresh bool) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // gone again
		case path != dir && ignored(path):
			if e.IsDir() {
				return fs.SkipDir
			}
		case e.IsDir():
			s.addDir(path)
		case fresh:
			s.change(path)
		}
		return nil
	})
}

// ignored reports whether a path is nobody's work: bytecode, hidden files, editors'
// own.
func ignored(path string) bool {
	name := filepath.Base(path)
	return name == "__pycache__" || name == "4913" || strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		strings.HasSuffix(name, ".pyc") || strings.HasPrefix(name, "#")
}

func (s *state) event(ev fsnotify.Event) {
	name := ev.Name
	if to, ok := s.aliases[name]; ok {
		name = to
	}
	if _, ok := s.files[name]; ok {
		s.dirty[name] = true
		s.soon()
	}
	if ev.Op&^fsnotify.Chmod == 0 {
		return
	}
	if _, ok := s.dirs[name]; ok && ev.Has(fsnotify.Remove|fsnotify.Rename) {
		_ = s.fs.Remove(name) // the watch goes with a directory that is moved, and must not
		s.lost(name)
	}
	if s.loose && strings.HasSuffix(name, ".py") && s.dirs[filepath.Dir(name)] {
		s.change(name)
	}
	if !s.inTree(name) || ignored(name) {
		return
	}
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		if ev.Has(fsnotify.Create) {
			s.addTree(name, true)
		}
		return
	}
	s.change(name)
}

func (s *state) inTree(name string) bool {
	return slices.ContainsFunc(s.trees, func(t string) bool { return strings.HasPrefix(name, t+"/") })
}

// change notes down that path has changed.
func (s *state) change(path string) {
	s.changed[path] = true
	s.soon()
}

// soon puts off the report a little more.
func (s *state) soon() {
	now := time.Now()
	if s.due.IsZero() {
		s.deadline = now.Add(latest)
	}
	s.due = now.Add(quiet)
	if s.due.After(s.deadline) {
		s.due = s.deadline
	}
}

func (s *state) everything() {
	for f := range s.files {
		s.dirty[f] = true
	}
	s.soon()
}

// poll looks for changes of which there was no event. The watch of their directory
// is worth nothing, it seems.
func (s *state) poll() {
	for f, was := range s.files {
		if s.dirty[f] || look(f) == was {
			continue
		}
		s.dirty[f] = true
		s.soon()
		dir := filepath.Dir(f)
		_ = s.fs.Remove(dir) // it may be gone
		s.dirs[dir] = false
	}
}

func (s *state) missing() bool {
	for _, watched := range s.dirs {
		if !watched {
			return true
		}
	}
	return false
}

// lost is called when a directory is not watched any more.
func (s *state) lost(dir string) {
	s.dirs[dir] = false
	s.inDir(dir)
}

// inDir makes the files in a directory be looked at.
func (s *state) inDir(dir string) {
	for f := range s.files {
		if filepath.Dir(f) == dir {
			s.dirty[f] = true
			s.soon()
		}
	}
}

// find looks for directories that were missing.
func (s *state) find() {
	for dir, watched := range s.dirs {
		if watched {
			continue
		}
		if s.addDir(dir); !s.dirs[dir] {
			continue
		}
		s.inDir(dir)
		if s.inTree(dir) || slices.Contains(s.trees, dir) {
			s.addTree(dir, true)
		}
	}
}

// settle returns what has changed, when it is time.
func (s *state) settle() []string {
	if s.due.IsZero() || time.Now().Before(s.due) {
		return nil
	}
	s.due = time.Time{}
	for f := range s.dirty {
		if now := look(f); now != s.files[f] {
			s.files[f] = now
			s.changed[f] = true
		}
	}
	clear(s.dirty)
	paths := make([]string, 0, len(s.changed))
	for f := range s.changed {
		paths = append(paths, f)
		if _, ok := s.files[f]; ok {
			s.files[f] = look(f)
		}
	}
	clear(s.changed)
	slices.Sort(paths)
	return paths
}
