package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// options are what the environment says.
type options struct {
	binary       string
	python, asgi string // interpreters: of the applications; of those that are ASGI's
	seed         uint64
	length       time.Duration // of all rounds together
}

const (
	// longestRound is long enough for a leak to show, and short enough that
	// several shapes of server have their turn.
	longestRound = 150 * time.Second
	// logLines is how much of the server's log a failure is reported with.
	logLines = 2000
)

func main() {
	o, err := readOptions(os.Getenv)
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(1)
	}
}

func readOptions(env func(string) string) (options, error) {
	o := options{binary: "bin/hostler", python: "build/venv/bin/python", asgi: "build/asgi/bin/python", seed: uint64(time.Now().UnixNano() % 1e6), length: 10 * time.Minute}
	if v := env("HOSTLER"); v != "" {
		o.binary = v
	}
	if v := env("CHAOS_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return o, fmt.Errorf("CHAOS_SEED is a number, not %q", v)
		}
		o.seed = n
	}
	if v := env("CHAOS_MINUTES"); v != "" {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || n <= 0 {
			return o, fmt.Errorf("CHAOS_MINUTES is a number above 0, not %q", v)
		}
		o.length = time.Duration(n * float64(time.Minute))
	}
	for _, p := range []*string{&o.binary, &o.python, &o.asgi} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return o, err
		}
		if _, err := os.Stat(abs); err != nil {
			return o, fmt.Errorf("%w: run make and make tools first", err)
		}
		*p = abs
	}
	return o, nil
}

func run(o options) error {
	kids, err := adopt()
	if err != nil {
		return err
	}
	fmt.Printf("chaos: seed %d, %v\n", o.seed, o.length)
	rounds := max(2, int((o.length+longestRound-1)/longestRound))
	for i := range rounds {
		all := shapes()
		shape := &all[(int(o.seed%uint64(len(all)))+i)%len(all)]
		seed := o.seed + uint64(i)<<32
		sum, journal, problems, log := torment(kids, o, seed, shape, o.length/time.Duration(rounds))
		if len(problems) > 0 {
			report(o, journal, problems, log)
			return fmt.Errorf("%d promises were broken in round %d (%s); repeat with CHAOS_SEED=%d CHAOS_MINUTES=%g",
				len(problems), i+1, shape.name, o.seed, o.length.Minutes())
		}
		fmt.Printf("chaos: round %d of %d (%s): %d steps, %d requests answered, %d died with the %d workers that were killed or died (%d named by the post mortem), %d scrapes\n",
			i+1, rounds, shape.name, sum.steps, sum.answered, sum.named+sum.timed, sum.deaths, sum.named, sum.scrapes)
	}
	return nil
}

func report(o options, journal, problems []string, log string) {
	fmt.Printf("\nthe end of the server's log:\n%s\n", tail(log, logLines))
	fmt.Printf("what was done, with seed %d:\n", o.seed)
	for _, line := range journal {
		fmt.Println("  " + line)
	}
	fmt.Println("\nwhat is wrong:")
	for _, p := range problems {
		fmt.Println("  " + p)
	}
}

// tail returns the last lines of text.
func tail(text string, lines int) string {
	for i, seen := len(text)-1, 0; i >= 0; i-- {
		if text[i] == '\n' {
			if seen++; seen > lines {
				return text[i+1:]
			}
		}
	}
	return text
}
