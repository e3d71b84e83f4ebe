package procstat

import (
	"errors"
	"os"
	"testing"
	"testing/fstest"
)

func TestPSSOfOwnProcess(t *testing.T) {
	proc := os.DirFS("/proc")
	p, err := Read(proc, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The two are read one after the other, while the test's process goes on.
	if n, err := PSS(proc, os.Getpid()); err != nil || n < 1<<18 || n > 2*p.Memory {
		t.Errorf("%v of %v resident bytes, %v", n, p.Memory, err)
	}
}

func TestPSSElsewhere(t *testing.T) {
	for text, want := range map[string]float64{
		"5630e67ae000-7ffe64a05000 ---p 00000000 00:00 0   [rollup]\nRss:    13520 kB\nPss:     9490 kB\nPss_Dirty: 1 kB\n": 9490 * 1024,
		"": -1, "a\nPss:": -1, "a\nPss: 1 MB\n": -1, "a\nPss: x kB\n": -1, "a\nPss: -1 kB\n": -1, "a\nPss: 1 kB": -1, "a\nRss: 1 kB\n": -1,
		"a\nPss: 99999999999999999999 kB\n": -1,
	} {
		n, err := PSS(fstest.MapFS{"7/smaps_rollup": {Data: []byte(text)}}, 7)
		if want < 0 && !errors.Is(err, errSmaps) || want >= 0 && (n != want || err != nil) {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	}
	if _, err := PSS(fstest.MapFS{}, 7); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}
