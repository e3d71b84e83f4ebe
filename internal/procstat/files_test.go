package procstat

import (
	"os"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func TestFilesOfOwnProcess(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	before, most := Files(os.DirFS("/proc"), os.Getpid())
	if before < 3 || most != float64(limit.Cur) {
		t.Fatalf("%d of %v files, want at least 3 of %d", before, most, limit.Cur)
	}
	var files []*os.File
	for range 100 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	after, _ := Files(os.DirFS("/proc"), os.Getpid())
	for _, f := range files {
		f.Close()
	}
	if after < before+90 {
		t.Errorf("with 100 more files there are %d, before %d", after, before)
	}
}

func TestFilesElsewhere(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	limits := func(line string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(head + line)} }
	proc := fstest.MapFS{
		"1/fd/0": {}, "1/fd/1": {}, "1/limits": limits("Max open files            1024                 4096                 files     \n"),
		"2/limits": limits("Max open files            unlimited            unlimited            files     \n"),
		"3/fd/0":   {}, "3/limits": limits("Max processes             7                    8                    processes \n"),
	}
	for pid, want := range map[int][2]float64{1: {2, 1024}, 2: {-1, -1}, 3: {1, -1}, 4: {-1, -1}} {
		if n, limit := Files(proc, pid); float64(n) != want[0] || limit != want[1] {
			t.Errorf("process %d: %d of %v, want %v", pid, n, limit, want)
		}
	}
}
