package master

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// What the service manager (systemd, or whoever set NOTIFY_SOCKET) is told, see
// sd_notify(3). The state goroutine decides, systemHost sends.

// managerVariables are for the master and the binary after it. A worker that had
// them could speak for the service, and a hostler started by the application
// would take descriptors for sockets that are none.
var managerVariables = [...]string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}

// watchdogLeast is how long a worker may be silent at least before it does not
// count as serving: it gives a sign of life four times a second, but a machine
// may be busy.
const watchdogLeast = time.Second

// notify tells the service manager about our state, if there is one that wants to
// know. It never waits: if the manager has no room now, a goroutine does, and what is
// said later may come sooner.
func notify(log *slog.Logger, state string) {
	err := notifyNow(state)
	switch {
	case err == unix.EAGAIN:
		go func() {
			if _, err := daemon.SdNotify(false, state); err != nil {
				log.Warn("cannot notify the service manager", "error", err)
			}
		}()
	case err != nil:
		log.Warn("cannot notify the service manager", "error", err)
	}
}

func notifyNow(state string) error {
	to := os.Getenv("NOTIFY_SOCKET")
	if to == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte(state), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: to})
}

// watchdogInterval is how often the service manager wants to hear from us; 0: it
// does not.
func watchdogInterval(log *slog.Logger) time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("going on without the service manager's watchdog", "error", err)
	}
	// WATCHDOG_PID names the first master. The binary that takes over from us
	// has our duty, and another pid.
	os.Unsetenv("WATCHDOG_PID")
	if d == 0 {
		os.Unsetenv("WATCHDOG_USEC")
	}
	return d
}

// managed reports whether it is us who speak for the service: from when we serve
// until another binary does.
func (s *supervisor) managed() bool { return s.current != nil && !s.upgraded }

// notifyReloading begins a reload as notify-reload units have it. The time tells
// the manager that this is the answer to its own SIGHUP.
func (s *supervisor) notifyReloading() {
	if s.managed() {
		s.host.Notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, s.clock.mono()/int64(time.Microsecond)))
	}
}

// notifyReloaded ends it, whatever came of it: STATUS says. A reload that has
// been put off is still to come.
func (s *supervisor) notifyReloaded() {
	if !s.again {
		s.host.Notify(daemon.SdNotifyReady)
	}
}

// notifyStatus tells in one line how we are, if that has changed.
func (s *supervisor) notifyStatus() {
	if !s.managed() {
		return
	}
	_, ready := s.count(s.current)
	text := fmt.Sprintf("%d of %d workers serve, generation %d", ready, s.target(s.set), s.current.number)
	switch {
	case s.phase >= phaseStopping:
		text = fmt.Sprintf("stopping, %d workers are still there", len(s.workers))
	case s.next != nil:
		text += fmt.Sprintf("; generation %d boots", s.next.number)
	case !s.stats.reloadOK:
		text += "; the last reload failed"
	}
	if text != s.said {
		s.said = text
		s.host.Notify("STATUS=" + text)
	}
}

// feed tells the watchdog that we live, while at least one worker serves.
func (s *supervisor) feed(now time.Time, mono int64) {
	if s.watchdog <= 0 || s.phase != phaseServing || now.Before(s.feedAt()) {
		return
	}
	silence := max(s.watchdog/3, watchdogLeast)
	for _, w := range s.workers {
		if w.state == stateServing && (now.Sub(w.ready) < silence || time.Duration(mono-w.board.Gauges.Heartbeat.Load()) < silence) {
			s.host.Notify(daemon.SdNotifyWatchdog)
			break
		}
	}
	s.fed = now
}

// feedAt is when the watchdog is due. One of three feeds may be late or lost.
func (s *supervisor) feedAt() time.Time { return s.fed.Add(s.watchdog / 3) }

// forManager reports whether an environment variable is the service manager's word
// to the master.
func forManager(kv string) bool {
	name, _, _ := strings.Cut(kv, "=")
	for _, v := range managerVariables {
		if name == v {
			return true
		}
	}
	return false
}
