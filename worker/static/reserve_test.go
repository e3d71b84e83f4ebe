package static

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoDescriptors: where the process may have no more descriptors, files are
// served from the reserve, which is there before the first is asked for and whole
// again when there are some.
func TestNoDescriptors(t *testing.T) {
	dir := tree(t, map[string]string{"a.txt": "text", "b/c/d.txt": "deep"})
	all := open(t, Dir{"/static", dir})
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 200, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}()
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	if len(taken) == 0 {
		t.Fatal("none taken")
	}
	for range 20 {
		if a, body := ask(t, all, "GET", "/static/a.txt"); a.Status != 200 || body != "text" {
			t.Fatalf("without descriptors: %d %q", a.Status, body)
		}
		if a, body := ask(t, all, "GET", "/static/b/c/d.txt"); a.Status != 200 || body != "deep" {
			t.Fatalf("without descriptors, deep: %d %q", a.Status, body)
		}
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 500 {
				if a, _ := ask(t, all, "GET", "/static/a.txt"); a.Status != 200 {
					t.Errorf("two at a time: %d", a.Status)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, f := range taken {
		f.Close()
	}
	if a, _ := ask(t, all, "GET", "/static/a.txt"); a.Status != 200 || len(all[0].reserve.fds) != reserved {
		t.Errorf("afterwards: %d, %d in reserve", a.Status, len(all[0].reserve.fds))
	}
}
