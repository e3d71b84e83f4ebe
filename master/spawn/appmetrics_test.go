package spawn

import (
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// taken is what a process shares.
type taken struct {
	fds   chan int
	ended chan struct{}
}

func (a *taken) Take(fd int) { a.fds <- fd }
func (a *taken) End()        { close(a.ended) }

// TestMetricsAreTaken: one descriptor beside the one message that may have one is taken;
// all others are closed, whatever they come with.
func TestMetricsAreTaken(t *testing.T) {
	apps := &taken{make(chan int, 10), make(chan struct{})}
	s := &Spawner{AppMetrics: func(*protocol.WorkerConfig) AppMetrics { return apps }}
	c, theirs, err := s.newChild(&protocol.WorkerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reports := make(chan Report, 20)
	go c.listen(slog.New(slog.NewTextHandler(io.Discard, nil)), func(r Report) { reports <- r })
	c.begin(os.Getpid()) // the kernel says that it is this one who speaks
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	send := func(packet string, fds ...int) {
		t.Helper()
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		if err := unix.Sendmsg(theirs, []byte(packet), rights, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	end := ends[1]
	send("R", end)
	send("A")
	send("A with more", end)
	send("?", end, end)
	send("", end)
	send("A", end, end, end, end, end)
	send("R")
	unix.Close(theirs)
	for heard := 0; heard < 4; { // Begun, R, A, A, R
		if r := <-reports; r.Message.Kind != 0 {
			heard++
		}
	}
	select {
	case fd := <-apps.fds:
		unix.Close(fd)
	default:
		t.Fatal("nothing was taken")
	}
	if len(apps.fds) > 0 {
		t.Error("more was taken than was sent")
	}
	c.end(ending{})
	for r := range reports {
		if r.Exited {
			break
		}
	}
	select {
	case <-apps.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the end was not told")
	}
	// The pipe ends when nobody has its other end any more.
	unix.Close(end)
	if n, err := unix.Read(ends[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	unix.Close(ends[0])
}
