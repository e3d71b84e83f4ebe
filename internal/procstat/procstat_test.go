package procstat

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestReadOwnProcess(t *testing.T) {
	p, err := Read(os.DirFS("/proc"), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != os.Getpid() || p.Born == 0 || p.CPU < 0 || p.Memory < float64(os.Getpagesize()) {
		t.Errorf("this process is %+v", p)
	}
}

func TestReadProcessThatIsGone(t *testing.T) {
	if _, err := Read(os.DirFS("/proc"), 1<<30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

const statLine = "42 (hostler: (w) 3) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 7 7 20 0 3 0 777 123456 9 18446744073709551615 1 1\n"

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte(statLine))
	if want := (Process{Born: 777, CPU: 2, Memory: float64(9 * os.Getpagesize())}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, s := range []string{"", "42 (x", ")", "42 (x) S 1 2 3", "42 (x) S 1 1 1 0 -1 4194560 100 0 0 0 -1 50 7 7 20 0 3 0 777 123456 9",
		"42 (x) S 1 1 1 0 -1 4194560 100 0 0 0 1 50 7 7 20 0 3 0 born 123456 9"} {
		if p, err := parseStat([]byte(s)); !errors.Is(err, errStat) || p != (Process{}) {
			t.Errorf("%q gave %+v, %v", s, p, err)
		}
	}
}

func TestStopped(t *testing.T) {
	for state, want := range map[string]bool{"S": false, "R": false, "D": false, "Z": false, "T": true, "t": true} {
		p, err := parseStat([]byte(strings.Replace(statLine, ") S ", ") "+state+" ", 1)))
		if err != nil || p.Stopped != want {
			t.Errorf("in state %s: %+v, %v", state, p, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () R"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseStat(b); err == nil && (p.CPU < 0 || p.Memory < 0) {
			t.Errorf("%q gave %+v", b, p)
		}
	})
}
