package master

import (
	"errors"
	"fmt"
	"slices"

	"hostler/protocol"
)

// carried is what the next binary is to know, beside the sockets.
type carried struct {
	env     []string // assignments
	tickets []byte   // the keys of session tickets; secret; empty: there are none
}

// upgrade starts another binary in this one's place. The error says why it
// cannot be begun; how it ends is told to waitUpgrade.
func (s *supervisor) upgrade() error {
	why := ""
	switch {
	case s.phase != phaseServing:
		why = "the server is starting or stopping"
	case s.trial != nil:
		why = "a canary is under way, until " + s.trial.until.Format("15:04:05")
	case s.reloading():
		why = "a reload is under way"
	case s.upgrading:
		why = "an upgrade is under way"
	case s.first:
		why = "this is process 1, and the new binary would end with it; replace the container"
	}
	if why != "" {
		err := errors.New("cannot upgrade now: " + why)
		s.log.Error(err.Error())
		return err
	}
	replace, err := s.host.Upgrade(carried{s.carryScale(), s.tickets.carry()}, slices.Concat(s.retiring, s.current.listeners))
	if err != nil {
		s.log.Error("cannot upgrade", "error", err)
		return err
	}
	s.upgrading = true
	s.note(protocol.Event{Kind: "upgrade_started"})
	s.log.Info("upgrading: starting the new binary")
	go func() {
		left, err := replace()
		s.post(upgradeEvent{left, err})
	}()
	return nil
}

// upgradeEnded is called when another binary serves, without the addresses that are left,
// or has failed.
func (s *supervisor) upgradeEnded(left []*listener, err error) {
	s.upgrading = false
	if err != nil {
		s.answerAll(&s.waitUpgrade, fmt.Errorf("the upgrade failed, and the old binary serves on: %w (what the new one has said is in the error log)", err))
		s.stats.upgrades["failure"]++
		s.note(protocol.Event{Kind: "upgrade_failed", Text: err.Error()})
		if s.phase == phaseServing {
			s.log.Error("the upgrade failed; this binary serves on", "error", err)
		}
		s.reloadAgain()
		return
	}
	s.answerAll(&s.waitUpgrade, nil)
	s.stats.upgrades["success"]++
	s.upgraded = true
	s.note(protocol.Event{Kind: "upgraded", Text: "another binary serves"})
	s.log.Info("the new binary serves; leaving")
	// With time for Python's end and for a hook, since nobody waits for it.
	kill := s.clock.now().Add(s.set.GracefulTimeout + graceMargin)
	s.within(kill, kill.Add(hookLeave))
	mode := protocol.DrainReplaced
	if slices.ContainsFunc(s.current.listeners, func(l *listener) bool { return slices.Contains(left, l) }) {
		mode = protocol.DrainStop // nobody else will take what is in its queue
	}
	s.leave(mode, s.set.GracefulTimeout)
}
