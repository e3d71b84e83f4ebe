package worker

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

// seldomPause is how long a seldom says no more.
const seldomPause = 10 * time.Second

// seldom is a line of the log that clients, other workers or the application can
// cause without end: it is there once in a while, with how often it was not.
type seldom struct {
	pause  time.Duration // 0: seldomPause
	mu     sync.Mutex
	next   time.Time
	missed int
}

func (s *seldom) say(log *slog.Logger, level slog.Level, msg string, args ...any) {
	now := time.Now()
	s.mu.Lock()
	if now.Before(s.next) {
		s.missed++
		s.mu.Unlock()
		return
	}
	missed := s.missed
	s.next, s.missed = now.Add(cmp.Or(s.pause, seldomPause)), 0
	s.mu.Unlock()
	if missed > 0 {
		args = append(args, "suppressed", missed)
	}
	log.Log(context.Background(), level, msg, args...)
}
