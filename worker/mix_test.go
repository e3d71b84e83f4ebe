package worker

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// Clients send all kinds of requests, pipelined and cut anywhere, and read slowly;
// every one gets its own answers, whole and in order, and nothing is left over.
func TestMix(t *testing.T) {
	for _, threads := range []int{1, 4} {
		t.Run(fmt.Sprint(threads), func(t *testing.T) {
			cfg := testConfig()
			cfg.Threads = threads
			r := newRig(t, cfg, nil)
			r.held = threads > 1
			large := []byte(pattern(3 << 20))
			r.app = func(c *call) {
				body, rc := c.all()
				if rc != 0 {
					t.Errorf("%s: the body broke: %d", c.target, rc)
				}
				var n, pieces int
				if _, err := fmt.Sscanf(c.target[strings.LastIndexByte(c.target, '?'):], "?%d,%d", &n, &pieces); err != nil {
					t.Errorf("%s: %v", c.target, err)
				}
				if n%5 == 0 {
					time.Sleep(time.Duration(n%1000) * time.Microsecond)
				}
				c.head("200 OK", "X-Target", c.target, "X-Sum", fmt.Sprint(crc32.ChecksumIEEE(body)))
				for i := range pieces {
					c.write(large[i*n/pieces:(i+1)*n/pieces], pieces == 1)
				}
			}
			r.start()
			var wg sync.WaitGroup
			for id := range 12 {
				c := r.dialTCP()
				rnd := rand.New(rand.NewPCG(uint64(id), uint64(threads)))
				type asked struct {
					target, sum string
					size        int
					head        bool
				}
				var want []asked
				var b strings.Builder
				for i := range 30 {
					n := []int{0, 10, 1000, 70000, 1500000}[rnd.IntN(9)%5] * (1 + rnd.IntN(2))
					a := asked{target: fmt.Sprintf("/%d/%d?%d,%d", id, i, n, 1+rnd.IntN(4)), size: n}
					body := string(large[:[]int{0, 5, 3000, 90000, 300000, 1200000}[rnd.IntN(20)*rnd.IntN(20)%100/17]])
					switch rnd.IntN(4) {
					case 0:
						body = ""
						fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", a.target)
					case 1:
						a.head, body = true, ""
						fmt.Fprintf(&b, "HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n", a.target)
					case 2:
						fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", a.target, len(body), body)
					case 3:
						b.WriteString(strings.Replace(chunked(body, 1+rnd.IntN(100000)), "/c", a.target, 1))
					}
					a.sum = fmt.Sprint(crc32.ChecksumIEEE([]byte(body)))
					want = append(want, a)
				}
				all := b.String()
				cuts := rand.New(rand.NewPCG(uint64(id), 7))
				wg.Go(func() {
					for len(all) > 0 {
						n := min(len(all), 1+cuts.IntN([]int{100, 5000, 200000}[cuts.IntN(3)]))
						if _, err := c.Write([]byte(all[:n])); err != nil {
							t.Errorf("connection %d: %v", id, err)
							return
						}
						all = all[n:]
					}
				})
				wg.Go(func() {
					rd := responses(t, c)
					for _, a := range want {
						p, err := rd.read(a.head)
						if err != nil || p.fields["x-target"] != a.target || p.fields["x-sum"] != a.sum {
							t.Errorf("%s: %d, answer to %s, %v; sum %s, want %s", a.target, p.status, p.fields["x-target"], err, p.fields["x-sum"], a.sum)
							return
						}
						if !a.head && p.body != string(large[:a.size]) {
							t.Errorf("%s: a body of %d bytes, want %d", a.target, len(p.body), a.size)
							return
						}
					}
					c.Close()
				})
			}
			wg.Wait()
			eventually(t, "all are closed", func() bool { return r.conns.n.Load() == 0 })
			r.level()
			if n := r.mem.inputs.lent.Load(); n != 0 {
				t.Errorf("%d bytes of input buffers are held", n)
			}
		})
	}
}
