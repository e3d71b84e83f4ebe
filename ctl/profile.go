package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/flamegraph"
	"hostler/protocol"
)

// defaultRate is how many samples there are a second.
const defaultRate = 100

func (h *handler) profile(ctx context.Context, r ProfileRequest) (any, error) {
	r.Rate = cmp.Or(r.Rate, defaultRate)
	d := time.Duration(r.Seconds * float64(time.Second))
	switch {
	case !(r.Seconds > 0) || r.Seconds > protocol.MaxProfileTime.Seconds():
		return nil, badRequest{fmt.Errorf("a profile takes up to %v seconds, not %v", protocol.MaxProfileTime.Seconds(), r.Seconds)}
	case r.Rate < 1 || r.Rate > protocol.MaxProfileRate:
		return nil, badRequest{fmt.Errorf("there can be 1 to %d samples a second, not %d", protocol.MaxProfileRate, r.Rate)}
	}
	return h.Master.Profile(ctx, r.Worker, d, r.Rate)
}

// profile takes a profile and draws it: into the file that -o names, else to
// standard output, unless that is a terminal.
func (c *Command) profile(ctx context.Context, args []string) error {
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return usagef("%q is no number of seconds", args[0])
	}
	w, err := workerNumber(args[1:])
	if err != nil {
		return err
	}
	into := c.output
	if into == "" && isTerminal(c.Stdout) {
		if into = "hostler-profile.svg"; c.folded {
			into = "hostler-profile.folded"
		}
	}
	var p protocol.Profile
	r := ProfileRequest{Worker: w.Worker, Seconds: seconds, Rate: c.rate}
	if shown, err := c.ask(ctx, http.MethodPost, "profile", r, &p); shown || err != nil {
		return err
	}
	drawing, told, err := flamegraph.Draw(&p, seconds)
	if err != nil {
		return err
	}
	if c.folded {
		drawing = foldedStacks(&p)
	}
	if into == "" || into == "-" {
		err = c.print(drawing)
	} else {
		told += "; see " + into
		err = os.WriteFile(into, []byte(drawing), 0o666)
	}
	if err != nil {
		return fmt.Errorf("cannot write the profile: %w", err)
	}
	c.complain(told)
	for _, m := range p.Missing {
		c.complain(fmt.Sprintf("hostler ctl: worker %d (process %d) is not in it: %s", m.Worker, m.PID, oneLine(m.Why)))
	}
	if len(p.Workers) == 0 {
		return errors.New("no worker could be looked into")
	}
	return nil
}

// foldedStacks are all workers' stacks as other tools read them.
func foldedStacks(p *protocol.Profile) string {
	var all strings.Builder
	for _, w := range p.Workers {
		all.WriteString(w.Stacks)
	}
	return all.String()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
