package main

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// death is the end of a worker that was not asked to leave in good order, or did
// not do so.
type death struct {
	pid int
	at  time.Time
	how string
}

const (
	// before is how much earlier than the connection was last seen alive a death
	// may be: an answer that had been sent arrives from a dead process, too.
	before = 300 * time.Millisecond
	// after is how much later than the failure a death may be noted down.
	after = 1500 * time.Millisecond
)

// blame finds for each failure the death that excuses it; those for which there
// is none are returned.
//
// Where the application had the request, the server's post mortem names it (lost,
// by number). A request that was on its way to a thread, or found that its idle
// connection was gone, is excused by a death between the moment in which the
// connection was good and the one in which it was not: connections move between
// workers, so nobody outside can tell whose it was.
func blame(failures []failure, deaths []death, lost map[uint64]int) (guilty []failure, named, timed int) {
	for _, f := range failures {
		if f.broken() {
			if _, ok := lost[f.id]; ok {
				named++
				continue
			}
			if excused(&f, deaths) {
				timed++
				continue
			}
		}
		guilty = append(guilty, f)
	}
	return guilty, named, timed
}

func excused(f *failure, deaths []death) bool {
	from, to := f.alive.Add(-before), f.at.Add(after)
	for _, d := range deaths {
		if !d.at.Before(from) && !d.at.After(to) {
			return true
		}
	}
	return false
}

var (
	logTime = regexp.MustCompile(`^time=(\S+)`)
	logPID  = regexp.MustCompile(` pid=(\d+)`)
	logID   = regexp.MustCompile(`target="?\S*[?&]id=(\d+)`)
)

// readLog takes deaths and lost requests from the server's error log.
func readLog(text string) (deaths []death, lost map[uint64]int) {
	lost = make(map[uint64]int)
	for line := range strings.Lines(text) {
		p := logPID.FindStringSubmatch(line)
		t := logTime.FindStringSubmatch(line)
		if p == nil || t == nil {
			continue
		}
		pid, _ := strconv.Atoi(p[1])
		switch {
		case strings.Contains(line, `msg="worker died"`), strings.Contains(line, `msg="worker killed"`):
			if at, err := time.Parse(time.RFC3339Nano, t[1]); err == nil {
				deaths = append(deaths, death{pid, at, strings.TrimSpace(line)})
			}
		case strings.Contains(line, `msg="request lost"`):
			if id := logID.FindStringSubmatch(line); id != nil {
				n, _ := strconv.ParseUint(id[1], 10, 64)
				lost[n] = pid
			}
		}
	}
	return deaths, lost
}
