package pauses

import (
	"testing"
	"time"
)

func TestLog(t *testing.T) {
	const s = int64(time.Second)
	var l Log
	if d := l.Late(10*s, 11*s-1); d != 0 || l.Since(0) != 0 {
		t.Errorf("%v, %v: that was no pause", d, l.Since(0))
	}
	if d := l.Late(20*s, 25*s); d != 5*time.Second {
		t.Error(d)
	}
	l.Late(30*s, 40*s)
	for then, want := range map[int64]int64{0: 15, 20: 15, 22: 13, 25: 10, 29: 10, 30: 10, 39: 1, 40: 0, 50: 0} {
		if got := l.Since(then * s); got != time.Duration(want*s) {
			t.Errorf("since %d: %v, want %d s", then, got, want)
		}
	}
	for i := range int64(3 * kept) {
		l.Late((100+2*i)*s, (101+2*i)*s)
	}
	if got := l.Since(0); got != kept*time.Second || len(l.all) != kept {
		t.Errorf("%v of %d pauses", got, len(l.all))
	}
}
