package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxProfile bounds what a worker's profile may take, in bytes. The sampler
	// (worker/bootstrap/_hostler/profile.py) keeps below it by itself.
	MaxProfile = 5 << 20
	// MaxProfileTime and MaxProfileRate bound a request.
	MaxProfileTime = 10 * time.Minute
	MaxProfileRate = 1000
)

// ProfileRequest asks a worker for a profile.
type ProfileRequest struct {
	ID      uint64  `json:"id"` // comes back with the answer, which may be late
	Seconds float64 `json:"seconds"`
	Rate    int     `json:"rate"` // samples a second
}

// WorkerProfile is where the threads of a worker were while it was looked at.
type WorkerProfile struct {
	Worker     int `json:"worker"`
	PID        int `json:"pid"`
	Generation int `json:"generation"`

	ID      uint64  `json:"id"`
	Samples int     `json:"samples"`
	Seconds float64 `json:"seconds"`      // that it lasted
	Cost    float64 `json:"cost_seconds"` // CPU time that the sampling took
	Cut     float64 `json:"cut_seconds"`  // thread seconds of stacks that took so little that they were left out
	// Stacks are folded stacks, a line each: frames from the outermost on, with
	// semicolons between them, a blank, and microseconds of a thread's time.
	Stacks string `json:"stacks"`
}

// ErrProfile reports a malformed profile.
var ErrProfile = errors.New("malformed profile")

// ParseProfile reads what a worker has sent: a line of JSON, and the stacks, which it
// does not look into.
func ParseProfile(text string) (WorkerProfile, error) {
	var p WorkerProfile
	head, stacks, ok := strings.Cut(text, "\n")
	if !ok {
		return p, fmt.Errorf("no line: %w", ErrProfile)
	}
	if err := json.Unmarshal([]byte(head), &p); err != nil {
		return p, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	p.Stacks = stacks
	return p, nil
}

// FoldedStack takes a line of folded stacks apart.
func FoldedStack(line string) (stack string, n int64, ok bool) {
	line = strings.TrimSuffix(line, "\n")
	i := strings.LastIndexByte(line, ' ')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(line[i+1:], 10, 64)
	return line[:i], n, err == nil && n >= 0
}

// MissingProfile is a worker that was asked for a profile and has sent none.
type MissingProfile struct {
	Worker int    `json:"worker"`
	PID    int    `json:"pid"`
	Why    string `json:"why"`
}

// Profile is that of the whole server.
type Profile struct {
	Workers []WorkerProfile  `json:"workers"`
	Missing []MissingProfile `json:"missing,omitempty"`
}
