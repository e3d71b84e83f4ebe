package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often an application that sends nothing has it looked whether
	// its client is still there.
	lookEvery = int64(50 * time.Millisecond)
	// halfOpen is how long a client that has ended its side of the connection is
	// believed to wait for an answer all the same. Over TCP one that has gone looks
	// the same, until something is sent to it.
	halfOpen = int64(time.Second)
)

// stillWanted is Write where there is nothing to send: WriteGone if nobody waits for
// an answer any more, else WriteOK.
func (t *Thread) stillWanted() int {
	l := t.l
	r := &t.reply
	now := l.now()
	if now-r.looked < lookEvery {
		return WriteOK
	}
	r.looked = now
	if t.conn.left(now, &r.silent) {
		r.gone = true
		return WriteGone
	}
	return WriteOK
}

// leftSocket says whether the peer has left.
func leftSocket(fd int, now int64, silent *int64) bool {
	switch e := ended(fd); {
	case e == 0:
		return false
	case e != unix.POLLRDHUP:
		return true
	}
	if *silent == 0 {
		*silent = now
	}
	return now-*silent > halfOpen
}

// hungUp says whether a connection has ended in both directions.
func hungUp(fd int) bool { return ended(fd)&^unix.POLLRDHUP != 0 }

// ended says what has ended of a connection: unix.POLLRDHUP, the peer's side, and what
// poll(2) reports of both.
func ended(fd int) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(p, 0); n <= 0 || err != nil {
		return 0
	}
	return p[0].Revents
}
