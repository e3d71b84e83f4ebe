// Package logwriter writes log lines so that nobody who has one ever waits for the
// place they go to: a pipe that nobody reads, a disk that hangs. Lines go into a
// buffer, under a lock that is held for a few instructions; one goroutine writes
// them, whole and in order, many with one write(2). What does not fit any more is
// dropped, counted, and said to be.
//
// A descriptor that others share (standard error, above all) cannot be made
// non-blocking without doing so for them. So a pipe, a socket or a terminal is
// asked for room before each write, and gets no more at once than it takes without
// tearing it (PIPE_BUF). Should the write block all the same, it is only the
// goroutine that waits.
package logwriter
