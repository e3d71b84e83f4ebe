package worker

import (
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
)

func TestAccessLog(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, testConfig(), func(c *call) { c.ok("four") })
	r.accessTo(pw)
	r.start()
	c := r.dial()
	rd := responses(t, c)
	send(t, c, "GET /a?\"b\\ HTTP/1.1\r\nHost: x\r\nReferer: r\"\xe9\r\nUser-Agent: u\\\ta\r\n\r\n")
	// The parser may refuse some of it; then it is logged as refused.
	p, err := rd.read(false)
	if err != nil {
		t.Fatal(err)
	}
	if p.status == 200 {
		send(t, c, "HEAD /h HTTP/1.0\r\n\r\n")
		if _, err := rd.read(true); err != nil {
			t.Fatal(err)
		}
	}
	send(t, r.dial(), "junk\r\n\r\n")
	eventually(t, "the refusal is counted", func() bool { return r.slot.Counters.OfClass(0, 4) > 0 })
	r.stopNow()
	pw.Close()
	r.access.to.Close()
	b, err := io.ReadAll(pr)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for _, s := range lines {
		if !strings.HasPrefix(s, "127.0.0.1 - - [") || strings.Count(strings.NewReplacer(`\\`, "", `\"`, "").Replace(s), `"`) != 6 {
			t.Errorf("not a line of the combined format: %s", s)
		}
		for _, c := range []byte(s) {
			if c < 0x20 || c > 0x7e {
				t.Errorf("byte %#x in a line", c)
			}
		}
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, `"-" 400 `) {
		t.Errorf("the refused request: %s", last)
	}
}

func TestRejectsFitTheScoreboard(t *testing.T) {
	if http1.NumReasons > protocol.MaxRejects {
		t.Errorf("%d reasons, room for %d", http1.NumReasons, protocol.MaxRejects)
	}
	if http1.NumMethods != len(protocol.Methods) {
		t.Errorf("%d methods, labels for %d", http1.NumMethods, len(protocol.Methods))
	}
	for i := 1; i < http1.NumMethods; i++ {
		if http1.KnownMethods[i] != protocol.Methods[i] {
			t.Errorf("method %d is %s and %s", i, http1.KnownMethods[i], protocol.Methods[i])
		}
	}
}

// worker/python/task.h mirrors the layout; here it is stated, so that a change
// is seen on this side too.
func TestTaskLayout(t *testing.T) {
	var k Task
	req := unsafe.Offsetof(k.Req)
	after := req + unsafe.Sizeof(k.Req)
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"Buf", unsafe.Offsetof(k.Buf), 0},
		{"BodyLen", unsafe.Offsetof(k.BodyLen), 24},
		{"PathLen", unsafe.Offsetof(k.PathLen), 32},
		{"FD", unsafe.Offsetof(k.FD), 48},
		{"Seq", unsafe.Offsetof(k.Seq), 64},
		{"Remote", unsafe.Offsetof(k.Remote), 72},
		{"Port", unsafe.Offsetof(k.Port), 120},
		{"Host", unsafe.Offsetof(k.Host), 128},
		{"Prefix", unsafe.Offsetof(k.Prefix), 136},
		{"HostName", unsafe.Offsetof(k.HostName), 144},
		{"RoomEvents", unsafe.Offsetof(k.RoomEvents), 148},
		{"TLS", unsafe.Offsetof(k.TLS), 152},
		{"TLSLen", unsafe.Offsetof(k.TLSLen), 160},
		{"BodyFile", unsafe.Offsetof(k.BodyFile), 164},
		{"Req", req, 168},
		{"Resp", unsafe.Offsetof(k.Resp), after},
		{"RespCap", unsafe.Offsetof(k.RespCap), after + 8},
		{"Result", unsafe.Offsetof(k.Result), after + 20},
		{"Out", unsafe.Offsetof(k.Out), after + 24},
		{"OutKept", unsafe.Offsetof(k.OutKept), after + 40},
		{"Wake", unsafe.Offsetof(k.Wake), after + 44},
		{"Polled", unsafe.Offsetof(k.Polled), after + 56},
		{"Events", unsafe.Offsetof(k.Events), after + 80},
		{"size", TaskSize, after + 80 + maxEvents*unsafe.Sizeof(unix.EpollEvent{})},
	} {
		if f.got != f.want {
			t.Errorf("%s lies at %d, not %d", f.name, f.got, f.want)
		}
	}
	if maxEvents != 64 || Run != 1 || Garbage != 6 || ResultFailed != 1 || ResultFinal != 2 {
		t.Error("a constant of the ABI has changed")
	}
}

func TestInputPool(t *testing.T) {
	var p inputPool
	for i, k := range inputClasses {
		for _, n := range []int{k - 1, k} {
			in := p.get(n)
			if in == nil || len(in.mem) != k {
				t.Fatalf("class %d: no input of %d bytes", i, n)
			}
			in.mem[0], in.mem[k-1], in.n = 1, 2, k
			if i+1 < len(inputClasses) {
				if !p.grow(in, k+1) || len(in.mem) != inputClasses[i+1] || in.mem[0] != 1 || in.mem[k-1] != 2 {
					t.Errorf("class %d did not grow right", i)
				}
			} else if p.grow(in, k+1) {
				t.Error("grown beyond the largest class")
			}
			p.put(in)
		}
	}
	if n := p.lent.Load(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
	if p.get(inputClasses[len(inputClasses)-1]+1) != nil {
		t.Error("an input larger than any")
	}
	a, b := p.get(1), p.get(1)
	if &a.mem[0] == &b.mem[0] {
		t.Error("two inputs share memory")
	}
}

// TestInputPoolGivesBack: slabs of which nothing is in use go back to the kernel, in
// whatever order their buffers come, and those in use stay what they are.
func TestInputPoolGivesBack(t *testing.T) {
	var p inputPool
	for k, size := range inputClasses {
		var all []*input
		take := func() {
			in := p.get(size)
			in.mem[0] = byte(len(all))
			in.mem[size-1] = in.mem[0]
			all = append(all, in)
		}
		for range 300 {
			take()
		}
		for i := 0; len(all) > 0; i++ {
			if i%5 == 0 { // while some go, others come
				take()
			}
			j := rand.N(len(all))
			in := all[j]
			all[j] = all[len(all)-1]
			all = all[:len(all)-1]
			if in.mem[0] != in.mem[size-1] {
				t.Fatalf("class %d: a buffer in use has changed", k)
			}
			p.put(in)
		}
		c := &p.classes[k]
		if p.lent.Load() != 0 || c.idle > keepSlabs || len(c.partial) != c.idle {
			t.Errorf("class %d: %d bytes in use, %d slabs, %d of them idle", k, p.lent.Load(), len(c.partial), c.idle)
		}
	}
}
