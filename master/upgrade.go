package master

import (
	"errors"
	"slices"

	"hostler/protocol"
)

// upgrade starts another binary in this one's place. The error says why it
// cannot be begun; how it ends is told to waitUpgrade.
func (s *supervisor) upgrade() error {
	why := ""
	switch {
	case s.phase != phaseServing:
		why = "the server is starting or stopping"
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
	replace, err := s.host.Upgrade(s.carryScale(), slices.Concat(s.retiring, s.current.listeners))
	if err != nil {
		s.log.Error("cannot upgrade", "error", err)
		return err
	}
	s.upgrading = true
	s.note(protocol.Event{Kind: "upgrade_started"})
	s.log.Info("upgrading: starting the new binary")
	go func() { s.post(upgradeEvent{replace()}) }()
	return nil
}

func (s *supervisor) upgradeEnded(err error) {
	s.upgrading = false
	s.answerAll(&s.waitUpgrade, err)
	if err != nil {
		s.stats.upgrades["failure"]++
		s.note(protocol.Event{Kind: "upgrade_failed", Text: err.Error()})
		if s.phase == phaseServing {
			s.log.Error("the upgrade failed; this binary serves on", "error", err)
		}
		s.reloadAgain()
		return
	}
	s.stats.upgrades["success"]++
	s.upgraded = true
	s.note(protocol.Event{Kind: "upgraded", Text: "another binary serves"})
	s.log.Info("the new binary serves; leaving")
	// With time for Python's end and for a hook, since nobody waits for it.
	kill := s.clock.now().Add(s.set.GracefulTimeout + graceMargin)
	s.within(kill, kill.Add(hookLeave))
	s.leave(protocol.DrainReplaced, s.set.GracefulTimeout)
}
