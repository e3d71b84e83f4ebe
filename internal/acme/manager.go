package acme

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"log/slog"
	"os"
	"strings"
	"time"

	"hostler/settings"
)

const (
	// asleep is the longest that a look at the storage is put off: another master may
	// have changed it, or somebody the clock.
	asleep = time.Hour
	// lockEvery is how often is tried to get the lock that another master has.
	lockEvery = time.Second
	// askAgain is when the authority is asked again about renewal that did not say when
	// it likes to be.
	askAgain = 6 * time.Hour
	// leastAge is how old a certificate is at least that the authority wants renewed, or
	// a third of its life: one that says so of each would be asked for ever.
	leastAge = 24 * time.Hour
)

// Options are what a Manager is made from. The functions are called from its goroutine.
type Options struct {
	Settings settings.ACME
	Store    *Store
	// Plain is set where requests on a plain address are answered, too.
	Plain   bool
	Version string // hostler's
	Log     *slog.Logger
	// Changed is called when there are other certificates in the store.
	Changed func()
	// Presented returns when whatever is validated is answered with the challenges that
	// are in the store now.
	Presented func(context.Context) error
	// Ended is called with the result of an order: names, and what went wrong.
	Ended func(names string, err error)
}

// Manager sees to it that there is a certificate for each of the settings' names.
type Manager struct {
	Options
	said map[string]string // by what it is about: what the log has of it
	why  map[string]string // by names: likewise, why there is no certificate
	look chan struct{}
	// member says to other masters that the store is in use; nil: it cannot.
	member *os.File
}

// NewManager returns a manager that has not begun.
func NewManager(o Options) *Manager {
	return &Manager{Options: o, said: make(map[string]string), why: make(map[string]string), look: make(chan struct{}, 1)}
}

// Look has the manager look at what is due, as he does from time to time.
func (m *Manager) Look() {
	select {
	case m.look <- struct{}{}:
	default:
	}
}

// Run gets and renews certificates until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	m.Store.clear()
	member, err := m.Store.join()
	if err != nil {
		m.say(m.Settings.Storage, "cannot tell others that the storage is in use", err)
	} else {
		defer member.Close()
		m.member = member
	}
	for ctx.Err() == nil {
		next := time.Now().Add(asleep)
		for _, c := range m.Settings.Certs {
			if at := m.see(ctx, c.Names()); at.Before(next) {
				next = at
			}
		}
		select {
		case <-ctx.Done():
		case <-m.look:
		case <-time.After(max(time.Until(next), lockEvery)):
		}
	}
}

// say logs a warning, unless it is what was last said about the same. A nil error takes it
// back.
func (m *Manager) say(about, message string, err error) {
	text := ""
	if err != nil {
		text = message + ": " + err.Error()
	}
	if m.said[about] != text && err != nil {
		m.Log.Warn(message, "names", about, "error", err)
	}
	m.said[about] = text
}

// have returns the certificate that there is for names. nil: it has to be ordered.
func (m *Manager) have(names []string) *x509.Certificate {
	pair, leaf, err := m.Store.Load(names)
	m.say(strings.Join(names, ","), "a certificate in the storage is of no use, and ordered anew", err)
	if pair == nil {
		return nil
	}
	if info, err := os.Stat(pair.Name); err == nil && info.Mode()&0o077 != 0 {
		m.Log.Warn("others could read the key of a certificate; they cannot any more", "file", pair.Name)
		if err := os.Chmod(pair.Name, 0o600); err != nil {
			m.Log.Warn("cannot change the mode of a key's file", "error", err)
		}
	}
	return leaf
}

// attempt returns what is known of the last order for names.
func (m *Manager) attempt(names []string) (a attempt) {
	now := time.Now()
	if err := m.Store.readJSON(names, attemptFile, &a); err != nil {
		m.Log.Warn("cannot tell when a certificate was last ordered: supposing that it was now", "error", err)
		a = attempt{Last: now, Failures: 1, Next: now.Add(refused(1))}
		if err := m.Store.writeJSON(names, attemptFile, a); err != nil {
			m.say(m.Settings.Storage, "cannot keep when a certificate was last ordered", err)
		}
	}
	if a.Last.After(now.Add(time.Hour)) {
		return attempt{} // the clock was wrong then
	}
	return a
}

// see does what is due about the certificate for names, and returns when to look again.
func (m *Manager) see(ctx context.Context, names []string) time.Time {
	now, due := time.Now(), time.Time{}
	ask := now.Add(asleep)
	if leaf := m.have(names); leaf != nil {
		due, ask = m.renewal(ctx, names, leaf)
	}
	if now.Before(due) {
		return minTime(due, ask)
	}
	// While somebody orders nobody knows how that will end.
	lock, err := m.awaitLock(ctx)
	if err != nil {
		m.say(m.Settings.Storage, "cannot order certificates", err)
		return now.Add(refused(1))
	}
	if lock == nil {
		return now // ctx has ended
	}
	defer lock.Close()
	// Whoever had the lock may have done it meanwhile.
	if leaf := m.have(names); leaf != nil {
		if due, _ = m.renewal(ctx, names, leaf); time.Now().Before(due) {
			m.Changed()
			return minTime(due, now.Add(asleep))
		}
	}
	a := m.attempt(names)
	if time.Now().Before(a.Next) {
		return a.Next
	}
	return m.order(ctx, names, a)
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// awaitLock waits until nobody else orders. Nil: ctx has ended.
func (m *Manager) awaitLock(ctx context.Context) (*os.File, error) {
	for {
		lock, err := m.Store.lock()
		if lock != nil || err != nil {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(lockEvery):
		}
	}
}

// renewal returns when a certificate is to be renewed, and when to ask about it again.
func (m *Manager) renewal(ctx context.Context, names []string, leaf *x509.Certificate) (at, ask time.Time) {
	var r renewal
	_ = m.Store.readJSON(names, renewalFile, &r) // then it is asked for
	serial, now := leaf.SerialNumber.String(), time.Now()
	if r.Serial != serial || !now.Before(r.Ask) || r.Ask.After(now.Add(2*askAgain)) {
		r = renewal{Serial: serial, Ask: now.Add(askAgain)}
		if at, again, err := m.askRenewal(ctx, leaf); err != nil {
			m.Log.Debug("the authority does not say when to renew", "names", names, "error", err)
		} else {
			r.At = at
			if !again.IsZero() {
				r.Ask = minTime(maxTime(again, now.Add(time.Minute)), r.Ask)
			}
		}
		if ctx.Err() == nil {
			if err := m.Store.writeJSON(names, renewalFile, r); err != nil {
				m.say(m.Settings.Storage, "cannot keep when to renew a certificate", err)
			}
		}
	}
	return renewAt(leaf, r.At), r.Ask
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// renewAt is when to renew a certificate: when two thirds of its life are over, or a bit
// before that, so that many do not all come at once; or when the authority wants it.
func renewAt(leaf *x509.Certificate, wanted time.Time) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if wanted.IsZero() {
		sum := sha256.Sum256(leaf.Raw) // the same after a restart
		jitter := life / 20 / (1 << 16) * time.Duration(binary.BigEndian.Uint16(sum[:]))
		return leaf.NotBefore.Add(life/3*2 - jitter)
	}
	earliest, latest := leaf.NotBefore.Add(min(leastAge, life/3)), leaf.NotAfter.Add(-life/10)
	return minTime(maxTime(wanted, earliest), latest)
}

// refused is how long the authority is left alone after it, or its look at a name, has
// said no for the n-th time. An order may take two looks, and Let's Encrypt allows five
// an hour that fail, for an account and a name.
func refused(n int) time.Duration {
	waits := [...]time.Duration{0, time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}
	return waits[min(n, len(waits)-1)]
}

// doubled is least, doubled n-1 times, but ten minutes at most.
func doubled(least time.Duration, n int) time.Duration {
	return min(least<<min(n-1, 20), 10*time.Minute)
}

// order gets a certificate for names. The lock is held. It returns when to look again.
func (m *Manager) order(ctx context.Context, names []string, before attempt) time.Time {
	about, now := strings.Join(names, ","), time.Now()
	// If this is the last that is heard of us, somebody was asked in vain.
	a := attempt{Last: now, Failures: before.Failures + 1, Next: now.Add(refused(before.Failures + 1)), Error: "the server ended while it was ordered"}
	if err := m.Store.writeJSON(names, attemptFile, a); err != nil {
		m.say(m.Settings.Storage, "cannot order certificates: nothing can be kept in the storage", err)
		return a.Next
	}
	level := slog.LevelInfo
	if m.why[about] != "" {
		level = slog.LevelDebug // it has been said how that goes
	}
	m.Log.Log(ctx, level, "ordering a certificate", "names", about, "directory", m.Settings.Directory)
	what, err := m.obtain(ctx, names)
	after := attempt{Last: now}
	now = time.Now()
	switch {
	case err == nil:
		m.Log.Info("there is a new certificate", "names", about)
		delete(m.why, about)
	case ctx.Err() != nil:
		after = before
		after.Last, after.Interrupted = a.Last, before.Interrupted+1
		after.Next = now.Add(doubled(time.Second, after.Interrupted))
	case what.asked:
		after.Failures = a.Failures
		after.Next = maxTime(now.Add(refused(a.Failures)), what.notBefore)
	default:
		after.Failures, after.Unreached = before.Failures, before.Unreached+1
		after.Next = maxTime(now.Add(doubled(10*time.Second, after.Unreached)), what.notBefore)
	}
	if err != nil {
		after.Error = err.Error()
	}
	if err := m.Store.writeJSON(names, attemptFile, after); err != nil {
		m.say(m.Settings.Storage, "cannot keep when a certificate was last ordered", err)
	}
	if ctx.Err() != nil {
		return now
	}
	if err != nil {
		m.fail(about, err, after.Next)
	}
	m.Ended(about, err)
	m.Changed()
	return after.Next
}

// fail says, once, that there is no new certificate.
func (m *Manager) fail(about string, err error, next time.Time) {
	text := err.Error()
	level := slog.LevelError
	if m.why[about] == text {
		level = slog.LevelDebug
	}
	m.why[about] = text
	m.Log.Log(context.Background(), level, "cannot get a certificate; trying again", "names", about, "error", err, "next", next.Round(time.Second))
}
