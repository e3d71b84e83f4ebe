package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hostler/protocol"
)

// profilePatience is how much longer than asked for a profile may take. A worker
// whose GIL is held for so long cannot be looked at.
const profilePatience = 3 * time.Second

// profiling is a profile that is being taken. It belongs to the state goroutine.
type profiling struct {
	id   uint64
	wait []*profiled
	left int           // of them that have not ended
	done chan struct{} // closed when none is left
}

// profiled is a worker's part in it.
type profiled struct {
	worker  *worker
	number  int
	pid     int
	text    []byte
	result  *protocol.WorkerProfile
	missing string // why there is none; "": it is still to come, or has
}

// Profile finds out what the Python threads of a worker, or of all for 0, are at
// during the time d, by looking rate times a second. Workers that end meanwhile, or
// that nobody can look into, are named.
func (m *Master) Profile(ctx context.Context, number int, d time.Duration, rate int) (*protocol.Profile, error) {
	var p *profiling
	var err error
	// What has begun must be ended: both happen for whoever does not wait, too.
	lasting := context.WithoutCancel(ctx)
	if ended := m.ask(lasting, func(s *supervisor) { p, err = s.beginProfile(number, d, rate) }); ended != nil {
		return nil, ended
	}
	if err != nil {
		return nil, err
	}
	patience := time.NewTimer(d + profilePatience)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
	case <-ctx.Done():
	case <-m.sup.gone:
		return nil, errStopping
	}
	var result *protocol.Profile
	if ended := m.ask(lasting, func(s *supervisor) { result = s.endProfile(p) }); ended != nil {
		return nil, ended
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return result, nil
}

func (s *supervisor) beginProfile(number int, d time.Duration, rate int) (*profiling, error) {
	if s.profile != nil {
		return nil, errors.New("a profile is being taken already")
	}
	s.profiles++
	p := &profiling{id: s.profiles, done: make(chan struct{})}
	text, err := json.Marshal(protocol.ProfileRequest{ID: p.id, Seconds: d.Seconds(), Rate: rate})
	if err != nil {
		return nil, fmt.Errorf("cannot ask for a profile: %w", err)
	}
	for _, w := range s.workers {
		if w.state != stateServing || number != 0 && w.number() != number {
			continue
		}
		part := &profiled{worker: w, number: w.number(), pid: w.proc.PID()}
		if w.proc.Send(protocol.Message{Kind: protocol.KindProfile, Text: string(text)}) != nil {
			part.missing = "it does not listen"
		} else {
			p.left++
		}
		p.wait = append(p.wait, part)
	}
	switch {
	case len(p.wait) == 0 && number != 0:
		return nil, fmt.Errorf("no worker %d serves", number)
	case len(p.wait) == 0:
		return nil, errors.New("no worker serves")
	case p.left == 0:
		close(p.done)
	}
	s.profile = p
	return p, nil
}

// profileCame takes a part of what w has found; "" ends it.
func (s *supervisor) profileCame(w *worker, text string) {
	part := s.profile.of(w)
	if part == nil {
		return // of one that nobody waits for any more
	}
	if text != "" {
		if len(part.text)+len(text) <= protocol.MaxProfile {
			part.text = append(part.text, text...)
		}
		return
	}
	result, err := protocol.ParseProfile(string(part.text))
	part.text = nil
	// Anything else is of an earlier one, which was given up.
	if err == nil && result.ID == s.profile.id {
		result.Worker, result.PID, result.Generation = part.number, part.pid, w.gen.number
		part.result = &result
		s.profile.ended()
	}
}

// of returns the part that w still has to play.
func (p *profiling) of(w *worker) *profiled {
	if p == nil {
		return nil
	}
	for _, part := range p.wait {
		if part.worker == w && part.result == nil && part.missing == "" {
			return part
		}
	}
	return nil
}

func (p *profiling) missed(part *profiled, why string) {
	part.missing = why
	p.ended()
}

func (p *profiling) ended() {
	if p.left--; p.left == 0 {
		close(p.done)
	}
}

// profileLost is called when w has exited.
func (s *supervisor) profileLost(w *worker) {
	if part := s.profile.of(w); part != nil {
		s.profile.missed(part, "it has ended")
	}
}

func (s *supervisor) endProfile(p *profiling) *protocol.Profile {
	s.profile = nil
	result := &protocol.Profile{Workers: []protocol.WorkerProfile{}}
	for _, part := range p.wait {
		switch {
		case part.result != nil:
			result.Workers = append(result.Workers, *part.result)
		default:
			why := part.missing
			if why == "" {
				why = "it has not answered: something holds its GIL"
			}
			result.Missing = append(result.Missing, protocol.MissingProfile{Worker: part.number, PID: part.pid, Why: why})
		}
	}
	return result
}
