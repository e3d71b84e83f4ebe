package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestASGITold has hostler ctl say what the tasks of an event loop are at: how many there are,
// what each awaits, which of them is slow, and what the loop is busy with.
func TestASGITold(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "ctl")
			p := startProbe(t, "--loop", loop, "--slow-request", "1", "--timeout", "0", "--ctl-socket", socket)
			control := ctlServer{p.server, socket}
			ctl := control.must
			until(t, bufio.NewReader(p.ask(getHead("/sse"))), "data: x")
			p.ask(getHead("/wait"))
			p.await("waiting")
			slow := p.ask("GET /slow/until HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			p.await("slow begun")
			if text := ctl("status"); !strings.Contains(text, "3 tasks, 0 WebSockets") {
				t.Errorf("status:\n%s", text)
			}
			p.waitLog("a slow request; the stack of its task follows")
			// Its stack is asked for a little later, if it still runs by then.
			p.eventually("the stack of the slow one", func() bool { return strings.Contains(ctl("slow"), "await asyncio.sleep(") })
			if err := os.WriteFile(p.file+".enough", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(slow); err != nil || !strings.HasSuffix(string(b), "slow") {
				t.Errorf("answered %q, %v", b, err)
			}
			ended := regexp.MustCompile("  200[^\n]*  /slow/until\n") // it may say what of it was waiting
			p.eventually("the slow ones", func() bool {
				text := ctl("slow")
				return ended.MatchString(text) && strings.Contains(text, "await asyncio.sleep(")
			})

			// A blocked loop is called so, and tasks are told while it is.
			blocks := p.ask("GET /block HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			p.await("blocking")
			p.eventually("that it is blocked", func() bool { return strings.Contains(ctl("status"), " blocked ") })
			var got struct {
				Workers []struct {
					Loop struct {
						Tasks int
						Away  float64 `json:"away_seconds"`
					}
				}
			}
			if err := json.Unmarshal([]byte(ctl("status", "--json")), &got); err != nil || got.Workers[0].Loop.Tasks != 3 || got.Workers[0].Loop.Away < 0.1 {
				t.Errorf("status: %+v, %v", got, err)
			}
			_, folded, _ := control.ctl("profile", "1", "--folded")
			for line := range strings.Lines(folded) {
				if !strings.Contains(line, ";probe:block.<locals>.hold") && !strings.Contains(line, ";probe:hold:") { // as before 3.11
					t.Errorf("what the loop is busy with: %q", line)
				}
			}
			if folded == "" {
				t.Error("an empty profile")
			}
			if err := os.WriteFile(p.file+".free", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(blocks); err != nil || !strings.HasSuffix(string(b), "blocked") {
				t.Errorf("answered %q, %v", b, err)
			}
			p.eventually("that it is not", func() bool { return !strings.Contains(ctl("status"), " blocked ") })
			_, folded, _ = control.ctl("profile", "1", "--folded")
			for line := range strings.Lines(folded) {
				if strings.Contains(line, "select:") || strings.Contains(line, "run_forever") {
					t.Errorf("waiting is no work: %q", line)
				}
			}
		})
	}
}

// TestASGISlowAtOnce: many requests that wait for the same thing do not each have their stack
// in the log; how many there were is said.
func TestASGISlowAtOnce(t *testing.T) {
	p := startProbe(t, "--slow-request", "0.5", "--timeout", "0", "--graceful-timeout", "1")
	const many = 40
	for range many {
		p.dial().send(getLine("/slow?600"))
	}
	line := regexp.MustCompile(`msg="a slow request; the stack of its task follows" .*method=GET target=/slow\?600 .*await asyncio\.sleep.*?( suppressed=(\d+))?(\n|$)`)
	told := func() (lines, all int) {
		for _, m := range line.FindAllStringSubmatch(p.log.String(), -1) {
			n, _ := strconv.Atoi(m[2])
			lines, all = lines+1, all+1+n
		}
		return lines, all
	}
	p.eventually("a line for one of them", func() bool { lines, _ := told(); return lines > 0 })
	// The next lines say how many were left out.
	p.eventually("all are told of", func() bool {
		p.dial().send(getLine("/slow?600"))
		lines, all := told()
		if lines >= many {
			t.Fatalf("%d lines", lines)
		}
		return all >= many
	})
}
