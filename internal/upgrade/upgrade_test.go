package upgrade

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a new binary has.
const patience = 5 * time.Second

const asked = "HOSTLER_UPGRADE_TEST" // what the next binary shall do

func TestMain(m *testing.M) {
	if os.Getenv(Variable) == "" {
		os.Exit(m.Run())
	}
	if err := next(os.Getenv(asked)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// next is the binary that is started in the test's place.
func next(what string) error {
	switch what {
	case "fails":
		os.Exit(3)
	case "hangs":
		time.Sleep(time.Hour)
	}
	u, err := New(patience)
	if err != nil {
		return err
	}
	report, err := u.File("report")
	if err != nil || report == nil {
		return fmt.Errorf("report: %v, %v", report, err)
	}
	fd, ok := u.Take(ListenerKey("tcp", "here"))
	_, again := u.Take(ListenerKey("tcp", "here"))
	var st unix.Stat_t
	_ = unix.Fstat(fd, &st)
	unused, told, err := u.Ready()
	if err != nil {
		return err
	}
	fmt.Fprintf(report, "parent=%v taken=%v,%v inode=%d unused=%d told=%v", u.HasParent(), ok, again, st.Ino, len(unused), told)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := u.WaitForParent(ctx); err == nil {
		return fmt.Errorf("the parent has gone")
	}
	_, err = u.Upgrade(nil)
	fmt.Fprintf(report, " upgrade=%q", err)
	report.Close()
	u.Close()
	return nil
}

func TestUpgrade(t *testing.T) {
	u, err := New(patience)
	if err != nil {
		t.Fatal(err)
	}
	if u.HasParent() {
		t.Fatal("has a parent")
	}
	report, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	socket, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(socket.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second takes the first one's place
		if err := u.AddFile("report", report); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := u.File("report"); f != nil || err != nil {
		t.Errorf("what is ours was handed over: %v, %v", f, err)
	}
	more := map[Key]int{ListenerKey("tcp", "here"): int(socket.Fd()), ListenerKey("tcp", "there"): int(socket.Fd())}
	fails := func(what, want string) {
		t.Helper()
		t.Setenv(asked, what)
		if _, err := u.Upgrade(more); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	fails("", "not ready")
	if unused, told, err := u.Ready(); len(unused) != 0 || told || err != nil {
		t.Fatalf("ready: %v, %v, %v", unused, told, err)
	}
	fails("fails", "exit status 3")
	fails("hangs", "timed out")
	t.Setenv(asked, "serves")
	left, err := u.Upgrade(more)
	if err != nil || len(left) != 1 || left[0] != ListenerKey("tcp", "there") {
		t.Fatalf("left: %q, %v", left, err)
	}
	fails("", "already upgraded")
	u.Close()

	want := fmt.Sprintf(`parent=true taken=true,false inode=%d unused=1 told=true upgrade="parent hasn't exited"`, st.Ino)
	var got []byte
	for end := time.Now().Add(30 * time.Second); string(got) != want && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		got, _ = os.ReadFile(report.Name())
	}
	if string(got) != want {
		t.Errorf("the next binary saw %s, want %s", got, want)
	}
}
