package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/pflag"

	"hostler/admin"
	"hostler/internal/visible"
	"hostler/protocol"
)

// Where nobody says how large a screen is, and the least that is made use of.
const (
	plainWidth  = 80
	plainHeight = 50
	leastWidth  = 20
)

// How much of each there is at least, where a screen has no room for all.
const (
	leastWorkers = 3
	leastRunning = 3
	leastEvents  = 3
)

// onceAfter lies between the two looks of a single screen.
const onceAfter = 500 * time.Millisecond

// tone is how a piece of text looks.
type tone int

const (
	plain tone = iota
	faint
	strong
	good
	warm
	hot
	heading
)

// piece is text of one tone; a screen is lines of them.
type piece struct {
	text string
	tone tone
}

// topView is what is shown.
type topView struct {
	status, before *Status // before: a second ago, or nil
	samples        []admin.Sample
	events         []protocol.Event
	trouble        string // why it is not of now; "": it is
}

func topFlags(c *Command, f *pflag.FlagSet) {
	f.BoolVar(&c.once, "once", false, "one screen, as text, and no more; so it is where there is no terminal")
}

// top shows the server on a terminal until somebody presses q.
func (c *Command) top(ctx context.Context, _ []string) error {
	if c.json {
		return usagef("top is for people: status has --json")
	}
	var v topView
	if err := c.look(ctx, &v); err != nil {
		return err
	}
	if c.once || !isTerminal(c.Stdout) {
		// CPU is what has been used between two looks.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(onceAfter):
		}
		if err := c.look(ctx, &v); err != nil {
			return err
		}
		var b strings.Builder
		for _, line := range topLines(&v, plainWidth, plainHeight) {
			text := ""
			for _, p := range line {
				text += p.text
			}
			b.WriteString(strings.TrimRight(text, " ") + "\n")
		}
		return c.print(strings.TrimRight(b.String(), "\n") + "\n")
	}
	screen, err := tcell.NewScreen()
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("cannot use this terminal (--once needs nothing of it): %w", err)
	}
	defer screen.Fini()
	return c.watchTop(ctx, screen, &v, time.Second)
}

// watchTop shows v, and what becomes of it, until somebody has had enough.
func (c *Command) watchTop(ctx context.Context, screen tcell.Screen, v *topView, every time.Duration) error {
	keys, quit := make(chan tcell.Event), make(chan struct{})
	defer close(quit)
	go screen.ChannelEvents(keys, quit)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		paint(screen, v)
		select {
		case <-ctx.Done():
			return nil // that is how it is ended, too
		case ev, ok := <-keys:
			switch ev := ev.(type) {
			case *tcell.EventKey:
				if k := ev.Key(); k == tcell.KeyCtrlC || k == tcell.KeyEscape || ev.Rune() == 'q' || ev.Rune() == 'Q' {
					return nil
				}
			case *tcell.EventResize:
				screen.Sync()
			}
			if !ok {
				return nil // the terminal has gone
			}
		case <-tick.C:
			limit, done := context.WithTimeout(ctx, 5*time.Second)
			if err := c.look(limit, v); err != nil {
				v.trouble = oneLine(err.Error())
			}
			done()
		}
	}
}

// look asks the server.
func (c *Command) look(ctx context.Context, v *topView) error {
	st, samples, events := new(Status), Samples{}, Events{}
	for name, into := range map[string]any{"status": st, "samples": &samples, "events": &events} {
		b, err := c.client.Do(ctx, http.MethodGet, name, nil)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, into); err != nil {
			return fmt.Errorf("the server's answer makes no sense: %w", err)
		}
	}
	v.before, v.status, v.samples, v.events, v.trouble = v.status, st, samples.Samples, events.Events, ""
	return nil
}

var tones = map[tone]tcell.Style{
	plain:   tcell.StyleDefault,
	faint:   tcell.StyleDefault.Dim(true),
	strong:  tcell.StyleDefault.Bold(true),
	good:    tcell.StyleDefault.Foreground(tcell.ColorGreen),
	warm:    tcell.StyleDefault.Foreground(tcell.ColorYellow),
	hot:     tcell.StyleDefault.Foreground(tcell.ColorRed).Bold(true),
	heading: tcell.StyleDefault.Reverse(true),
}

// paint puts v on a screen.
func paint(screen tcell.Screen, v *topView) {
	width, height := screen.Size()
	screen.Clear()
	for y, line := range topLines(v, width, height) {
		x := 0
		for _, p := range line {
			for _, r := range p.text {
				screen.SetContent(x, y, r, nil, tones[p.tone])
				x++
			}
		}
	}
	screen.Show()
}

// topLines are what a screen of that size shows.
func topLines(v *topView, width, height int) [][]piece {
	width = max(width, leastWidth)
	st := v.status
	lines := headLines(v, width)
	lines = append(lines, nil)
	lines = append(lines, trafficRows(v, width)...)
	lines = append(lines, nil)
	running, unseen := runningRows(st)
	others := 2 + leastEvents
	if len(running) > 0 {
		others += 3 + leastRunning
	}
	lines = append(lines, workerRows(v, width, max(height-len(lines)-1-others, leastWorkers))...)
	// What is left is for requests, and some of it for events.
	room := max(height-len(lines)-2, 0)
	events := min(len(v.events), max(room/3, leastEvents))
	if len(running) > 0 {
		lines = append(lines, nil, []piece{{fill("RUNNING NOW", width), heading}})
		more := max(room-events-3, leastRunning)
		lines = append(lines, running[:min(len(running), more)]...)
		if left := unseen + max(len(running)-more, 0); left > 0 {
			lines = append(lines, []piece{{fmt.Sprintf("  and %d more", left), faint}})
		}
	}
	if events > 0 {
		lines = append(lines, nil, []piece{{fill("EVENTS", width), heading}})
		for _, e := range slices.Backward(v.events[len(v.events)-events:]) {
			tone := plain
			if strings.Contains(e.Kind, "failed") || strings.Contains(e.Kind, "died") || strings.Contains(e.Kind, "killed") || strings.Contains(e.Kind, "lock") || e.Kind == "crash_loop" {
				tone = hot
			}
			lines = append(lines, []piece{{e.Time.Local().Format("15:04:05  "), faint}, {fmt.Sprintf("%-15s", e.Kind), tone}, {eventText(&e), plain}})
		}
	}
	for i := range lines {
		lines[i] = cutLine(lines[i], width)
	}
	return lines[:min(len(lines), max(height, 1))]
}

func eventText(e *protocol.Event) string {
	var parts []string
	if e.Worker != 0 {
		parts = append(parts, fmt.Sprintf("  worker %d", e.Worker))
	}
	for _, p := range []string{e.Cause, oneLine(e.Text)} {
		if p != "" {
			parts = append(parts, "  "+p)
		}
	}
	return strings.Join(parts, "")
}

func headLines(v *topView, width int) [][]piece {
	st, m := v.status, &v.status.Master
	state, tone := "starting", warm
	switch {
	case m.Stopping:
		state = "stopping"
	case m.Ready:
		state, tone = "serving", good
	}
	serving := 0
	for i := range st.Workers {
		if st.Workers[i].State == protocol.SlotServing.String() {
			serving++
		}
	}
	lines := [][]piece{
		{{cmp.Or(m.Name, m.App), strong}, {"  ", plain}, {state, tone}, {fmt.Sprintf("  hostler %s, master %d, up %s", m.Version, m.PID, span(m.Uptime)), faint}},
	}
	lines = append(lines, wrapped(width, fmt.Sprintf("generation %d", m.Generation), fmt.Sprintf("%d of %d workers serve", serving, m.TargetWorkers), busyText(st),
		fmt.Sprintf("%d queued", st.Queue.Depth), fmt.Sprintf("%d conns", st.Connections.Idle+st.Connections.Reading+st.Connections.Running+st.Connections.Writing))...)
	switch {
	case v.trouble != "":
		lines = append(lines, []piece{{"not of now: " + v.trouble, hot}})
	case m.LastReload != nil && !m.LastReload.Successful:
		lines = append(lines, []piece{{"the last reload failed at " + m.LastReload.Time.Local().Format(time.DateTime) + ": " + oneLine(m.LastReload.Error), hot}})
	}
	return lines
}

// wrapped are parts, with a comma between, in as many lines as they take.
func wrapped(width int, parts ...string) (lines [][]piece) {
	line := ""
	for i, part := range parts {
		if i < len(parts)-1 {
			part += ","
		}
		if line != "" && len(line)+1+len(part) > width {
			lines, line = append(lines, []piece{{line, plain}}), ""
		}
		line = strings.TrimPrefix(line+" "+part, " ")
	}
	return append(lines, []piece{{line, plain}})
}

// trafficRows are the figures of the last seconds, each with its last minutes.
func trafficRows(v *topView, width int) [][]piece {
	t := v.status.Traffic
	if t == nil {
		t = new(admin.Traffic)
	}
	row := func(name, value string, tone tone, of func(*admin.Sample) float64) []piece {
		return []piece{{fmt.Sprintf("%-12s", name), faint}, {fmt.Sprintf("%9s", value), tone}, {"  ", plain}, {spark(v.samples, width-24, of), good}}
	}
	some := func(f *float64) float64 {
		if f == nil {
			return 0
		}
		return *f
	}
	errors := plain
	if t.Errors > 0 {
		errors = hot
	}
	return [][]piece{
		row("requests/s", perSecond(t.Requests), strong, func(s *admin.Sample) float64 { return s.Requests }),
		row("latency p50", latency(t.P50), strong, func(s *admin.Sample) float64 { return some(s.P50) }),
		row("latency p99", latency(t.P99), strong, func(s *admin.Sample) float64 { return some(s.P99) }),
		row("waiting p99", latency(t.Wait), strong, func(s *admin.Sample) float64 { return some(s.Wait) }),
		row("errors/s", perSecond(t.Errors), errors, func(s *admin.Sample) float64 { return s.Errors }),
	}
}

// spark draws the last samples, one a column, against the greatest of them.
func spark(samples []admin.Sample, width int, of func(*admin.Sample) float64) string {
	bars := []rune(" ▁▂▃▄▅▆▇█")
	samples = samples[max(0, len(samples)-max(width, 0)):]
	most := 0.0
	for i := range samples {
		most = max(most, of(&samples[i]))
	}
	drawn := []rune(strings.Repeat(" ", max(width-len(samples), 0)))
	for i := range samples {
		f := of(&samples[i])
		at := 0
		if f > 0 {
			at = 1 + min(int(f/most*float64(len(bars)-1)), len(bars)-2)
		}
		drawn = append(drawn, bars[at])
	}
	return string(drawn)
}

// workerRows are as many workers as there may be: those first at which one has to look.
func workerRows(v *topView, width, most int) [][]piece {
	shown := make([]int, len(v.status.Workers))
	for i := range shown {
		shown[i] = i
	}
	left := len(shown) - most
	if left > 0 {
		slices.SortStableFunc(shown, func(a, b int) int { return cmp.Compare(concern(&v.status.Workers[b]), concern(&v.status.Workers[a])) })
		shown = shown[:most-1]
		slices.Sort(shown)
	}
	lines := [][]piece{{{fill(fmt.Sprintf("%6s %7s %4s  %-9s%8s%9s%7s%6s%6s%8s%6s", "WORKER", "PID", "GEN", "STATE", "AGE", "REQUESTS", "BUSY", "QUEUE", "CONNS", "RSS", "CPU%"), width), heading}}}
	for _, i := range shown {
		w := &v.status.Workers[i]
		busy := 0
		for _, t := range w.Threads {
			if t.Request != nil {
				busy++
			}
		}
		work, state, tone := fmt.Sprintf("%d/%d", busy, len(w.Threads)), w.State, plain
		if w.Loop != nil {
			work = fmt.Sprint(w.Loop.Tasks)
			if w.Loop.Away >= blockedFrom {
				state = "blocked"
			}
		}
		switch state {
		case protocol.SlotServing.String():
			tone = good
		case protocol.StateFrozen, "blocked":
			tone = hot
		case protocol.SlotBooting.String():
			tone = warm
		}
		cpu := "-"
		if v.before != nil {
			cpu = cpuUse(v.status, v.before, w)
		}
		lines = append(lines, []piece{
			{fmt.Sprintf("%6d %7d %4d  ", w.Worker, w.PID, w.Generation), plain}, {fmt.Sprintf("%-9s", state), tone},
			{fmt.Sprintf("%8s%9d%7s%6d%6d%8s%6s", span(w.Age), w.Requests, work, w.Queue.Depth,
				w.Connections.Idle+w.Connections.Reading+w.Connections.Running+w.Connections.Writing, memory(w.Memory), cpu), plain},
		})
	}
	if left > 0 {
		lines = append(lines, []piece{{fmt.Sprintf("  and %d more, of which less is to be said", left+1), faint}})
	}
	return lines
}

// concern is how much an operator wants to see of a worker: whether it serves at all, else for how
// long it has been at something, or how much waits for it.
func concern(w *WorkerStatus) float64 {
	most := float64(w.Queue.Depth)
	for _, t := range w.Threads {
		if t.Request != nil {
			most = max(most, t.Request.Age)
		}
	}
	switch {
	case w.State != protocol.SlotServing.String():
		most += 1e9
	case w.Loop != nil:
		most = max(most, float64(w.Loop.Tasks)/1e6)
		if len(w.Loop.Requests) > 0 && !w.Loop.Requests[0].WebSocket {
			most = max(most, w.Loop.Requests[0].Age)
		}
		if w.Loop.Away >= blockedFrom {
			most += 1e8
		}
	}
	return most
}

// running is a request that a worker has under way.
type running struct {
	worker int
	admin.Running
}

// runningNow are those of all workers, the oldest first, and how many there are beside them.
func runningNow(st *Status) (all []running, unseen int) {
	for i := range st.Workers {
		w := &st.Workers[i]
		if w.Loop != nil { // its thread is at a step of one of them
			for _, r := range w.Loop.Requests {
				all = append(all, running{w.Worker, r})
			}
			unseen += int(w.Loop.Unseen)
			continue
		}
		for _, t := range w.Threads {
			if t.Request != nil {
				all = append(all, running{w.Worker, t.Request.Running})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b running) int { return admin.ByAge(a.Running, b.Running) })
	return all, unseen
}

// runningRows are they as they are shown.
func runningRows(st *Status) (lines [][]piece, unseen int) {
	all, unseen := runningNow(st)
	for _, r := range all {
		tone := plain
		switch {
		case r.WebSocket:
			tone = faint
		case r.Age >= 10:
			tone = hot
		case r.Age >= 1:
			tone = warm
		}
		lines = append(lines, []piece{{fmt.Sprintf("%8s", span(r.Age)), tone}, {fmt.Sprintf("  worker %-4d %-15s ", r.worker, r.Client), faint}, {r.asks(), plain}})
	}
	return lines, unseen
}

// asks is what was asked for.
func (r *running) asks() string {
	method := r.Method
	if r.WebSocket {
		method = "WS"
	}
	return fmt.Sprintf("%-7s %s", method, oneLine(r.Target))
}

func fill(s string, width int) string { return s + strings.Repeat(" ", max(width-len(s), 0)) }

// cutLine makes a line fit, and harmless: it has paths of others' in it.
func cutLine(line []piece, width int) []piece {
	fit := make([]piece, 0, len(line))
	for _, p := range line {
		r := []rune(strings.ReplaceAll(visible.Text(p.text, false), "\t", " "))
		if len(r) > width {
			r = r[:width]
		}
		width -= len(r)
		fit = append(fit, piece{string(r), p.tone})
	}
	return fit
}
