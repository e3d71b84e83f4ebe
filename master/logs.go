package master

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/accesslog"
	"hostler/internal/logfile"
	"hostler/internal/logwriter"
	"hostler/internal/relay"
	"hostler/master/spawn"
	"hostler/protocol"
)

// Log files are opened by the master alone, apart from the state goroutine (a disk may
// hang), and handed to the other processes as descriptors: workers need no rights on
// the directory, and where they have some, package logfile sees to it that they gain
// nothing by them.

// lastLines is how long the last lines of a log may take.
const lastLines = 500 * time.Millisecond

// logFiles are the log files of a generation. The descriptors keep their numbers
// when the files are opened anew.
type logFiles struct {
	access, errors logFile
	format         *accesslog.Format

	version int               // of what is behind the descriptors
	lines   *logwriter.Writer // for our own lines in the access log; nil: there were none
}

// logFile is one of them.
type logFile struct {
	what string // for messages
	path string // "": it is no file that could be opened anew
	fd   int    // -1: there is none
	own  int    // the same, for our own lines
}

// newLogFiles returns what set names; nothing is open yet.
func newLogFiles(set *Settings) *logFiles {
	dir := absolute(set.dir, set.Chdir)
	if real, err := filepath.EvalSymlinks(dir); err == nil { // see pin
		dir = real
	}
	format, err := accesslog.Parse(cmp.Or(set.AccessLogFormat, accesslog.Combined))
	if err != nil {
		panic(err) // it has been looked at
	}
	return &logFiles{
		format: format,
		access: newLogFile("access log", set.AccessLog, dir),
		errors: newLogFile("error log", set.ErrorLog, dir),
	}
}

// open opens files for the first time.
func (f *logFiles) open(workers *syscall.Credential) error {
	for _, l := range []*logFile{&f.access, &f.errors} {
		if err := l.open(workers); err != nil {
			f.close()
			return err
		}
	}
	return nil
}

func newLogFile(what, path, dir string) logFile {
	if path == "-" {
		path = ""
	}
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return logFile{what: what, path: path, fd: -1, own: -1}
}

// any reports whether there is a file.
func (f *logFiles) any() bool { return f.access.path != "" || f.errors.path != "" }

func (l *logFile) open(workers *syscall.Credential) (err error) {
	if l.path == "" {
		return nil
	}
	if std, ok := logfile.Standard(l.path); ok {
		l.path = ""
		l.own, err = dup(std)
	} else {
		l.own, err = logfile.Open(l.path, workers)
	}
	if err == nil {
		l.fd, err = forWorkers(l.own, workers)
	}
	if err != nil {
		return fmt.Errorf("cannot open the %s: %w", l.what, err)
	}
	return nil
}

// forWorkers returns another descriptor of a log. If they are another principal, it is
// another open file.
func forWorkers(fd int, workers *syscall.Credential) (int, error) {
	if workers != nil {
		return relay.Open(fd)
	}
	return dup(fd)
}

// reopen opens files anew, in place of those that are open. Where it cannot, the old
// one stays.
func (f *logFiles) reopen(workers *syscall.Credential) error {
	var failed []error
	for _, l := range []*logFile{&f.access, &f.errors} {
		if l.path == "" {
			continue
		}
		if err := l.reopen(workers); err != nil {
			failed = append(failed, fmt.Errorf("the %s stays as it was: %w", l.what, err))
		}
	}
	return errors.Join(failed...)
}

func (l *logFile) reopen(workers *syscall.Credential) error {
	own, err := logfile.Open(l.path, workers)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	fd, err := forWorkers(own, workers)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(unix.Dup3(own, l.own, unix.O_CLOEXEC), unix.Dup3(fd, l.fd, unix.O_CLOEXEC))
}

// close may take as long as open.
func (f *logFiles) close() {
	for _, l := range []*logFile{&f.access, &f.errors} {
		for _, fd := range []int{l.fd, l.own} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}
}

// straighten undoes what workers may have done to the flags of files that all have.
func (f *logFiles) straighten() {
	for _, l := range []*logFile{&f.access, &f.errors} {
		if l.path != "" && l.fd >= 0 {
			_ = logfile.Straighten(l.fd) // or in a second
		}
	}
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10) }

// reopenLogs opens all log files anew.
func (s *supervisor) reopenLogs() {
	s.log.Info("reopening log files")
	all := s.generations()
	s.files.doOnce("reopening log files", func() {
		seen := make(map[*logFiles]bool)
		for _, g := range all {
			if f := g.logs; f.any() && !seen[f] {
				seen[f] = true
				err := f.reopen(g.identity)
				s.post(thenEvent{func() { s.logsReopened(g, err) }})
			}
		}
	})
}

// generations are all that anybody belongs to.
func (s *supervisor) generations() []*generation {
	var all []*generation
	add := func(g *generation) {
		if g != nil && !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	add(s.current)
	add(s.next)
	for _, w := range s.workers {
		add(w.gen)
	}
	return all
}

// logsReopened tells everybody that there are other files.
func (s *supervisor) logsReopened(g *generation, err error) {
	f := g.logs
	if !slices.Contains(s.logs, f) {
		return // closed since
	}
	f.version++
	if err != nil {
		s.log.Error("cannot reopen log files", "error", err)
	}
	if f.lines != nil {
		f.lines.Close()
		f.lines = nil
	}
	if g == s.current {
		s.followErrorLog(f)
	}
	if f.errors.fd >= 0 {
		s.starter.ReopenLog(g.number, f.errors.fd)
		if g.helper != nil {
			s.sendLog(g.helper.proc, protocol.LogErrors, f.errors)
		}
	}
}

// followErrorLog makes an error log our standard error.
func (s *supervisor) followErrorLog(f *logFiles) {
	switch fd := f.errors.fd; {
	case s.errorLog == nil: // a test's
	case fd >= 0:
		fd, err := dup(f.errors.own)
		if err != nil {
			s.log.Error("the master's own error log stays where it was", "error", err)
			return
		}
		s.errorLog.Reopen(fd)
		s.ownErrors = true
	case s.ownErrors:
		s.log.Warn("standard error has been given up for the error log that was; that stays until a restart")
	}
}

// handLogs gives log files to the workers that have others. One that has no room for
// a message gets it the next time.
func (s *supervisor) handLogs() {
	for _, w := range s.workers {
		f := w.gen.logs
		if w.logs == f.version || w.state == stateKilled {
			continue
		}
		ok := f.access.fd < 0 || s.sendLog(w.proc, protocol.LogAccess, f.access)
		if f.version > 1 && f.errors.fd >= 0 { // the first it was born with
			ok = s.sendLog(w.proc, protocol.LogErrors, f.errors) && ok
		}
		if ok {
			w.logs = f.version
		}
	}
}

func (s *supervisor) sendLog(p spawn.Process, which string, l logFile) bool {
	err := p.SendFile(protocol.Message{Kind: protocol.KindReopen, Text: which}, l.fd)
	if err != nil {
		s.log.Debug("a process did not take a log file", "pid", p.PID(), "log", l.what, "error", err)
	}
	return err == nil
}

// closeLogs closes files that nobody needs any more.
func (s *supervisor) closeLogs() {
	all := s.generations()
	s.logs = slices.DeleteFunc(s.logs, func(f *logFiles) bool {
		if slices.ContainsFunc(all, func(g *generation) bool { return g.logs == f }) {
			return false
		}
		if f.lines != nil {
			f.lines.Close()
		}
		s.files.do("closing log files", f.close)
		return true
	})
}

// logAccess writes lines of our own to g's access log.
func (s *supervisor) logAccess(g *generation, lines []byte) {
	f := g.logs
	switch {
	case len(lines) == 0:
	case f.access.fd < 0:
		if g.set.AccessLog == "-" {
			_, _ = s.stdout.Write(lines) // never fails
		}
	default:
		if f.lines == nil {
			fd, err := dup(f.access.own)
			if err != nil {
				s.log.Error("requests that were lost are missing in the access log", "error", err)
				return
			}
			f.lines = newAccessLines(s, fd)
		}
		f.lines.Append(lines)
	}
}

// newAccessLines returns where the master's own lines of an access log go.
func newAccessLines(s *supervisor, fd int) *logwriter.Writer {
	return logwriter.New(logwriter.Options{FD: fd, Lost: func(n uint64) { s.lostAccess.Add(n) },
		Say: func(n uint64, why error) {
			s.log.Error("requests that were lost are missing in the access log", "lines", n, "error", why)
		}})
}

// logLost says how many lines of ours are lost. It may be called from any
// goroutine.
func (s *supervisor) logLost() protocol.LogLost {
	n := protocol.LogLost{Access: s.lostAccess.Load()}
	if s.errorLog != nil {
		n.Error = s.errorLog.Lost()
	}
	return n
}

// flushLogs gives the last lines a moment. The state goroutine has ended.
func (s *supervisor) flushLogs() {
	for _, f := range s.logs {
		if f.lines != nil {
			f.lines.Flush(lastLines)
		}
	}
	if w, ok := s.stdout.(*logwriter.Writer); ok {
		w.Flush(lastLines)
	}
}
