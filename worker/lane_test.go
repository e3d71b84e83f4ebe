package worker

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The batch takes what comes, wherever it stands.
func TestBatchGrows(t *testing.T) {
	b := newBatch()
	evs := make([]unix.EpollEvent, maxEvents)
	next := int32(0)
	fill := func() {
		for i := range evs {
			evs[i].Fd = next
			next++
		}
		b.add(evs, 1)
	}
	want := int32(0)
	for _, pops := range []int{1, 0, 0, 200, 3, 60, 1} {
		fill()
		for range pops {
			if b.empty() {
				break
			}
			if got := b.next().Fd; got != want {
				t.Fatalf("event %d came, not %d", got, want)
			}
			want++
		}
	}
	for !b.empty() {
		if got := b.next().Fd; got != want {
			t.Fatalf("event %d came, not %d", got, want)
		}
		want++
	}
	if want != next {
		t.Errorf("%d of %d events came", want, next)
	}
}

func TestLaneTake(t *testing.T) {
	for n := range 40 {
		for gone := range n {
			r := lane{max: 100}
			conns := make([]conn, n)
			for i := range 7 { // so that it wraps
				r.push(&conn{})
				if i > 2 {
					r.pop()
				}
			}
			for r.n > 0 {
				r.pop()
			}
			for i := range conns {
				r.push(&conns[i])
			}
			if got := r.take(func(c *conn) bool { return c == &conns[gone] }); got != &conns[gone] {
				t.Fatalf("%d of %d: another one", gone, n)
			}
			r.pushFront(&conns[gone])
			if got := r.pop(); got != &conns[gone] {
				t.Fatalf("%d of %d: not in front", gone, n)
			}
			for i := range conns {
				if i != gone && r.pop() != &conns[i] {
					t.Fatalf("%d of %d: the order has changed at %d", gone, n, i)
				}
			}
			if r.n != 0 || r.take(func(*conn) bool { return true }) != nil {
				t.Fatal("not empty")
			}
		}
	}
}
