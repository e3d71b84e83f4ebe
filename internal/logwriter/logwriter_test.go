package logwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fdOf returns a descriptor of f's that outlives it.
func fdOf(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func openFile(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func flush(t *testing.T, w *Writer) {
	t.Helper()
	if !w.Flush(20 * time.Second) {
		t.Fatal("lines are not written")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Lines of several threads are all there, whole, and each thread's in order.
func TestLinesKeepTheirOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := New(Options{FD: openFile(t, path), Gather: time.Millisecond, Size: 64 << 10})
	defer w.Close()
	const threads, each = 4, 500
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			for j := range each {
				w.Append(fmt.Appendf(nil, "%d %d\n", i, j))
			}
		})
	}
	wg.Wait()
	flush(t, w)
	var next [threads]int
	for line := range strings.Lines(read(t, path)) {
		var i, j int
		if n, err := fmt.Sscanf(line, "%d %d\n", &i, &j); n != 2 || err != nil || j != next[i] {
			t.Fatalf("line %q, %v", line, err)
		}
		next[i]++
	}
	if next != [threads]int{each, each, each, each} {
		t.Errorf("lines: %v", next)
	}
}

// A line comes soon, without a second one behind it.
func TestLineComesByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := New(Options{FD: openFile(t, path), Gather: time.Millisecond})
	defer w.Close()
	for i := range 3 {
		w.Append([]byte("a line\n"))
		eventually(t, "a line", func() bool { return strings.Count(read(t, path), "\n") == i+1 })
	}
}

// A pipe that nobody reads holds nobody up. What is lost is counted and said; what
// was there before comes in order when somebody reads again.
func TestStalledPipe(t *testing.T) {
	r, f, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var lost atomic.Uint64
	type loss struct {
		n   uint64
		why error
	}
	said := make(chan loss, 10)
	w := New(Options{FD: fdOf(t, f), Size: 64 << 10, Gather: time.Millisecond,
		Lost: func(n uint64) { lost.Add(n) }, Say: func(n uint64, why error) { said <- loss{n, why} }})
	f.Close()
	const n = 50_000
	for i := range n {
		w.Append(fmt.Appendf(nil, "line %d\n", i))
	}
	if w.Flush(10 * time.Millisecond) {
		t.Error("flushed into a full pipe")
	}
	select {
	case l := <-said:
		if l.n == 0 || !errors.Is(l.why, ErrFull) {
			t.Errorf("said: %d lines, %v", l.n, l.why)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody says that lines are lost")
	}
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	last, got := -1, 0
	for line := range strings.Lines(string(b)) {
		var i int
		if k, err := fmt.Sscanf(line, "line %d\n", &i); k != 1 || err != nil || i <= last {
			t.Fatalf("line %q behind %d", line, last)
		}
		last, got = i, got+1
	}
	if uint64(got)+lost.Load() != n || got < 5000 {
		t.Errorf("%d lines came, %d are counted as lost, of %d", got, lost.Load(), n)
	}
}

// With nobody to read at all, a Reopen and a Close take effect all the same.
func TestReopenOfStalledPipe(t *testing.T) {
	r, f, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := New(Options{FD: fdOf(t, f), Size: 64 << 10})
	for range 20_000 {
		w.Append([]byte("into the pipe\n"))
	}
	path := filepath.Join(t.TempDir(), "log")
	w.Reopen(openFile(t, path))
	w.Append([]byte("dropped, for the buffer may be full\n"))
	flush(t, w)
	w.Append([]byte("into the file\n"))
	flush(t, w)
	if got := read(t, path); !strings.HasSuffix(got, "into the file\n") || strings.Contains(got, "pipe") {
		t.Errorf("the file has %q", got)
	}
	f.Close()
	w.Close()
}

// A reader that has gone costs lines, and no more than that.
func TestReaderGone(t *testing.T) {
	r, f, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var lost atomic.Uint64
	said := make(chan error, 10)
	w := New(Options{FD: fdOf(t, f), Lost: func(n uint64) { lost.Add(n) }, Say: func(_ uint64, why error) { said <- why }})
	f.Close()
	defer w.Close()
	w.Append([]byte("one\ntwo\n"))
	flush(t, w)
	if err := <-said; !errors.Is(err, unix.EPIPE) || lost.Load() != 2 {
		t.Errorf("said: %v, and %d lines lost", err, lost.Load())
	}
}

// Lines before a Reopen are in the old file, those after it in the new one.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	w := New(Options{FD: -1, Gather: time.Millisecond})
	defer w.Close()
	w.Append([]byte("0\n")) // waits for the first file
	const files = 20
	for i := range files {
		w.Reopen(openFile(t, name(i)))
		for j := range 3 {
			w.Append(fmt.Appendf(nil, "%d of %d\n", j, i))
		}
	}
	flush(t, w)
	for i := range files {
		want := fmt.Sprintf("0 of %d\n1 of %d\n2 of %d\n", i, i, i)
		if i == 0 {
			want = "0\n" + want
		}
		if got := read(t, name(i)); got != want {
			t.Errorf("file %d has %q", i, got)
		}
	}
}

// smallDisk returns a directory with room for some kilobytes.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16k"); err != nil {
		if os.Geteuid() != 0 {
			t.Skip("only root can mount a small disk")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// When a disk that was full has room again, lines come on whole: also the one that
// it had taken a part of.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(smallDisk(t), "log")
	ballast := path + ".ballast"
	if err := os.WriteFile(ballast, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Uint64
	said := make(chan error, 10)
	w := New(Options{FD: openFile(t, path), Lost: func(n uint64) { lost.Add(n) }, Say: func(_ uint64, why error) { said <- why }})
	defer w.Close()
	line := []byte(strings.Repeat("x", 96) + "end\n")
	const n = 500
	for range n {
		w.Append(line)
	}
	flush(t, w)
	if err := <-said; !errors.Is(err, unix.ENOSPC) {
		t.Errorf("said: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a whole last line", func() bool { return strings.HasSuffix(read(t, path), "end\n") })
	w.Append(line)
	flush(t, w)
	got := read(t, path)
	lines := bytes.Count([]byte(got), line)
	if len(got) != lines*len(line) {
		t.Errorf("%d bytes are no %d lines", len(got), lines)
	}
	if uint64(lines)+lost.Load() != n+1 || lines < 100 {
		t.Errorf("%d lines are there, %d lost, of %d", lines, lost.Load(), n+1)
	}
}

// What a pipe gets at a time is whole records, as long as they are not too long.
func TestCut(t *testing.T) {
	b := []byte(strings.Repeat("a\n", 1500) + strings.Repeat("b\n", 1000) + strings.Repeat("c", 5000) + "\n" + "d\n")
	ends := []int{3000, 5000, 10001, len(b)}
	var got []int
	for at := 0; at < len(b); {
		at = cut(b, ends, at)
		got = append(got, at)
	}
	if fmt.Sprint(got) != fmt.Sprint([]int{3000, 5000, 10001, len(b)}) {
		t.Errorf("cut at %v", got)
	}
	long := []byte(strings.Repeat("0123456\n", 1000)) // one record
	if to := cut(long, []int{len(long)}, 0); to != 4096 {
		t.Errorf("a long record is cut at %d", to)
	}
	if to := cut(long, nil, 4); to != 4096 {
		t.Errorf("lines are cut at %d", to)
	}
}

// A log tells in itself what it has lost, once it takes lines again.
func TestSaysItself(t *testing.T) {
	r, f, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var w *Writer
	ready := make(chan struct{})
	w = New(Options{FD: fdOf(t, f), Size: 8 << 10, Self: true, Records: true, Say: func(n uint64, why error) {
		<-ready
		w.Append(fmt.Appendf(nil, "lost %d lines: %v\n", n, why))
	}})
	f.Close()
	for i := range 20_000 {
		w.Append(fmt.Appendf(nil, "line %d\n", i))
	}
	close(ready)
	var got []byte
	for !bytes.Contains(got, []byte("lost ")) {
		b := make([]byte, 4096)
		n, err := r.Read(b)
		if err != nil {
			t.Fatalf("%v after %d bytes", err, len(got))
		}
		got = append(got, b[:n]...)
	}
	w.Close()
}

func TestAppendAllocatesNothing(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := New(Options{FD: fd, Gather: time.Millisecond})
	defer w.Close()
	line := []byte("a line of the access log\n")
	w.Append(line)
	flush(t, w)
	if n := testing.AllocsPerRun(10_000, func() { w.Append(line) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// Users need not care whether a Writer is closed.
func TestClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	fd := openFile(t, path)
	var lost atomic.Uint64
	w := New(Options{FD: fd, Lost: func(n uint64) { lost.Add(n) }})
	w.Append([]byte("in time\n"))
	w.Close()
	eventually(t, "the descriptor's end", func() bool { return unix.Fsync(fd) == unix.EBADF })
	w.Append([]byte("too late\n"))
	if got := read(t, path); got != "in time\n" || lost.Load() != 1 || w.Flush(time.Second) {
		t.Errorf("the file has %q, lost: %d", got, lost.Load())
	}
	New(Options{FD: -1}).Close()
}

func BenchmarkAppend(b *testing.B) {
	w := New(Options{FD: openFileB(b), Gather: 10 * time.Millisecond})
	defer w.Close()
	line := []byte(`127.0.0.1 - - [28/Nov/2026:11:00:00 +0000] "GET /hello HTTP/1.1" 200 13 "-" "curl/8.0" 123` + "\n")
	b.ReportAllocs()
	for b.Loop() {
		w.Append(line)
	}
}

func openFileB(b *testing.B) int {
	fd, err := unix.Open(filepath.Join(b.TempDir(), "log"), unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	return fd
}
