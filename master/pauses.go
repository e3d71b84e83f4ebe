package master

import "time"

// pausePause is how long nothing more is said of pauses, after a line.
const pausePause = 10 * time.Second

// overslept is called where what was due then is done now. If neither this process nor, most
// likely, any other has run in between, requests that run have not had that time, nor have
// those who boot or make a generation ready.
func (s *supervisor) overslept(due, now time.Time, mono int64) {
	late := s.pauses.Late(mono-int64(now.Sub(due)), mono)
	if late == 0 {
		return
	}
	for _, w := range s.workers {
		if w.state == stateBooting && !w.deadline.IsZero() {
			w.deadline = w.deadline.Add(late)
		}
	}
	if s.preparing != nil {
		s.preparing.deadline = s.preparing.deadline.Add(late)
	}
	if now.Sub(s.pauseSaid) >= pausePause {
		s.pauseSaid = now
		s.log.Warn("this process did not get to run: the machine or the container was paused, or others had the processors; no request is ended for that",
			"for", late.Round(time.Millisecond))
	}
}
