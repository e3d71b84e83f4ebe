package flamegraph

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hostler/protocol"
)

// Draw makes a flame graph of all workers' stacks, and a line that says what it is of.
func Draw(p *protocol.Profile, seconds float64) (drawing, told string, err error) {
	var g Graph
	var samples int
	var cost, cut, looked float64
	var numbers []string
	for _, w := range p.Workers {
		samples += w.Samples
		cost += w.Cost
		cut += w.Cut
		looked += w.Seconds
		numbers = append(numbers, strconv.Itoa(w.Worker))
		for line := range strings.Lines(w.Stacks) {
			stack, n, ok := protocol.FoldedStack(line)
			if !ok {
				return "", "", fmt.Errorf("the server's answer makes no sense: %.100q", line)
			}
			g.Add(stack, time.Duration(n)*time.Microsecond)
		}
	}
	if cut > 0 {
		g.Add("(stacks too rare to be sent)", time.Duration(cut*float64(time.Second)))
	}
	slices.Sort(numbers)
	told = fmt.Sprintf("%d samples of %d workers in %v s; looking took %.1f %% of a CPU in each", samples, len(p.Workers), seconds, 100*cost/max(looked, 1e-9))
	g.Title = "Where Python threads spend their time"
	g.Subtitle = fmt.Sprintf("%s, workers %s: %s. Time is of threads in the application's code, also while they wait.",
		time.Now().Format("2006-01-02 15:04:05"), strings.Join(numbers, ", "), told)
	var b bytes.Buffer
	err = g.Render(&b)
	return b.String(), told, err
}
