package protocol

import "testing"

func TestPlace(t *testing.T) {
	b, f := newBoard(t)
	master, err := OpenScoreboard(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	r, seen := &b.Slot(0).ThreadRecs[3], &master.Slot(0).ThreadRecs[3]
	begin := func(at int64) { r.Begin(at, []byte("GET"), []byte("/"), nil) }
	want := func(start int64, what Place, has bool) {
		t.Helper()
		if got, ok := seen.Place(start); ok != has || got != what {
			t.Errorf("the place of the request that began at %d: %+v, %v", start, got, ok)
		}
	}
	want(0, Place{}, false)
	begin(5)
	want(5, Place{}, false)
	p := Place{Trace: [16]byte{1, 15: 2}, ID: [8]byte{3, 7: 4}, Parent: [8]byte{5, 7: 6}, Arrived: 4, Flags: 1, Security: 1}
	r.Trace(5, p)
	want(5, p, true)
	want(4, Place{}, false)
	r.End()
	begin(6) // is of no trace that anybody wants to see
	want(6, Place{}, false)
	want(0, Place{}, false)
	begin(7)
	r.Trace(7, p)
	r.Told(6) // a moment late
	want(7, p, true)
	r.Told(7)
	want(7, Place{}, false)
	if n := testing.AllocsPerRun(100, func() { r.Trace(8, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPathOf(t *testing.T) {
	for target, want := range map[string]string{
		"/a/b?c=/d": "/a/b", "*": "*", "": "", "?": "", "http://h:1/a?b": "/a", "https://h": "/", "http://h?a": "/",
		"/to?url=http://h/x": "/to", "/a://b/c": "/a://b/c", "h:1": "h:1",
	} {
		if got := string(PathOf([]byte(target))); got != want {
			t.Errorf("the path of %q is %q, not %q", target, got, want)
		}
	}
}

// A request that is recorded pays this beside Begin.
func BenchmarkTrace(b *testing.B) {
	board, _ := newBoard(b)
	r := &board.Slot(0).ThreadRecs[0]
	p := Place{Trace: [16]byte{1}, ID: [8]byte{2}, Parent: [8]byte{3}, Flags: 1}
	for i := range b.N {
		p.Arrived = int64(i)
		r.Trace(int64(i), p)
	}
}
