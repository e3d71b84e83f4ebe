package e2e

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestASGIPool has clients leave while their requests have a connection of a database's pool,
// in transactions before the response and between rows: no query is cancelled, and every
// connection comes back. DISCONNECTS=10000 says how many leave.
func TestASGIPool(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("DISCONNECTS"), "200"))
	if err != nil {
		t.Fatal(err)
	}
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			s := startASGI(t, "-w", "1", "--loop", loop, "pool:app")
			var all sync.WaitGroup
			failed := make(chan error, 8)
			for i := range cap(failed) {
				all.Go(func() {
					for j := i; j < n; j += cap(failed) {
						if err := leaveInTheMiddle(s.addr, []string{"/query", "/rows"}[j/cap(failed)%2]); err != nil {
							failed <- err
							return
						}
					}
				})
			}
			all.Wait()
			select {
			case err := <-failed:
				t.Fatal(err)
			default:
			}
			s.eventually("all connections of the pool", func() bool {
				_, state := s.get("/state")
				return strings.HasPrefix(state, "4 free, 0 broken, ") && !strings.HasSuffix(state, " 0 done")
			})
			if status, got := s.get("/query"); status != 200 || got != "done" {
				t.Errorf("a query after all that: %d %q", status, got)
			}
			if status, got := s.get("/rows"); status != 200 || strings.Count(got, "row\n") != 200 {
				t.Errorf("rows after all that: %d, %d", status, strings.Count(got, "row\n"))
			}
			if log := s.log.String(); strings.Contains(log, "Traceback") {
				t.Error("the log has a traceback")
			}
		})
	}
}

// leaveInTheMiddle asks for a path, and leaves: in a transaction, or between rows.
func leaveInTheMiddle(addr, path string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, getHead(path)); err != nil {
		return err
	}
	if path == "/query" {
		time.Sleep(3 * time.Millisecond) // about when it has begun
		return nil
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
