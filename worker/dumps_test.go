package worker

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestHeaded: each stack says whose it is, and what runs there; what a client has chosen
// is no more than text.
func TestHeaded(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.Number = 2, 3
	r := newRig(t, cfg, nil)
	for i, ident := range []uint64{0x7f01, 0x7f02} {
		r.Thread(i).Identify(ident)
	}
	at := r.now() - int64(1500*time.Millisecond)
	r.slot.ThreadRecs[1].Begin(at, []byte("GET"), []byte("/a\x1b[2J\n-- worker 9"), []byte("192.0.2.1"))
	const stack = " (most recent call first):\n  File \"a.py\", line 1 in f\n"
	got := string(headed(r.Loop, []byte("Fatal?\nThread 0x0000000000007f02"+stack+"\nThread 0x0000000000007f03 [other]"+stack+"\nCurrent thread 0x0000000000007f01"+stack)))
	who := fmt.Sprintf("-- worker 3, pid %d: ", os.Getpid())
	for _, want := range []string{
		"^Fatal\\?\n" + who + `GET /a\\x1b\[2J\\n-- worker 9 from 192\.0\.2\.1, for 1\.5[0-9]*s` + "\nThread 0x0000000000007f02",
		"\n\n" + who + "a thread of the application's\nThread 0x0000000000007f03",
		"\n\n" + who + "no request\nCurrent thread",
	} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q does not match %s", got, want)
		}
	}
	if plain := "no stack\n"; string(headed(r.Loop, []byte(plain))) != plain {
		t.Error("text without a stack is changed")
	}
	if strings.Count(got, "-- worker 3") != 3 {
		t.Errorf("%q", got)
	}
}
