package ctl

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hostler/admin"
	"hostler/protocol"
)

// statusTable renders st for people. With an earlier status, CPU is what the
// workers used since, else all they ever did.
func statusTable(st, before *Status) string {
	var b strings.Builder
	m := &st.Master
	state := "starting"
	switch {
	case m.Stopping:
		state = "stopping"
	case m.Ready:
		state = "serving"
	}
	name := m.App
	if m.Name != "" {
		name = m.Name
	}
	fmt.Fprintf(&b, "%s: %s, hostler %s, master %d, up %s\n", name, state, m.Version, m.PID, span(m.Uptime))
	serving := 0
	for i := range st.Workers {
		if st.Workers[i].State == protocol.SlotServing.String() {
			serving++
		}
	}
	fmt.Fprintf(&b, "generation %d, %d of %d workers serve, %s, %d queued, %d connections\n",
		m.Generation, serving, m.TargetWorkers, busyText(st), st.Queue.Depth,
		st.Connections.Idle+st.Connections.Reading+st.Connections.Running+st.Connections.Writing)
	b.WriteString(trafficLine(st.Traffic))
	if m.LastReload != nil && !m.LastReload.Successful {
		fmt.Fprintf(&b, "the last reload failed at %s: %s\n", m.LastReload.Time.Local().Format(time.DateTime), m.LastReload.Error)
	}
	b.WriteByte('\n')
	cpu := "CPU"
	if before != nil {
		cpu = "CPU%"
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "WORKER\tPID\tGEN\tSTATE\tAGE\tREQUESTS\tBUSY\tQUEUE\tCONNS\tRSS\t%s\t\n", cpu)
	for i := range st.Workers {
		ws := &st.Workers[i]
		busy := 0
		for _, t := range ws.Threads {
			if t.Request != nil {
				busy++
			}
		}
		state, work := ws.State, fmt.Sprintf("%d/%d", busy, len(ws.Threads))
		if ws.Loop != nil {
			work = fmt.Sprint(ws.Loop.Tasks)
			if ws.Loop.Away >= blockedFrom {
				state = "blocked"
			}
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\t\n", ws.Worker, ws.PID, ws.Generation, state, span(ws.Age),
			ws.Requests, work, ws.Queue.Depth, ws.Connections.Idle+ws.Connections.Reading+ws.Connections.Running+ws.Connections.Writing,
			memory(ws.Memory), cpuUse(st, before, ws))
	}
	w.Flush() // cannot fail: b takes all
	b.WriteString(oldestLines(st))
	return b.String()
}

// Of the requests that are under way statusTable names a few, if they have been for long.
const (
	oldestNamed = 5
	oldestFrom  = 1.0 // seconds
)

// oldestLines names them.
func oldestLines(st *Status) string {
	all, _ := runningNow(st)
	old := slices.IndexFunc(all, func(r running) bool { return r.WebSocket || r.Age < oldestFrom })
	if old < 0 {
		old = len(all)
	}
	if old == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nunder way for longest:\n")
	for _, r := range all[:min(old, oldestNamed)] {
		fmt.Fprintf(&b, "%8s  worker %-4d %-15s %s\n", span(r.Age), r.worker, r.Client, r.asks())
	}
	return b.String()
}

// trafficLine says what the last seconds were like.
func trafficLine(t *admin.Traffic) string {
	if t == nil {
		return "" // an older server, or one of which no second has passed
	}
	line := fmt.Sprintf("%s requests/s", perSecond(t.Requests))
	if t.P50 != nil && t.P99 != nil {
		line += fmt.Sprintf(", latency p50 %s, p99 %s", latency(t.P50), latency(t.P99))
	}
	if t.Wait != nil {
		line += fmt.Sprintf(", p99 of the wait for a thread %s", latency(t.Wait))
	}
	return line + fmt.Sprintf(", %s errors/s (5xx)\n", perSecond(t.Errors))
}

func perSecond(f float64) string {
	if f < 10 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
	}
	return fmt.Sprintf("%.0f", f)
}

// latency is a time in seconds, "-" if there is none.
func latency(s *float64) string {
	switch {
	case s == nil:
		return "-"
	case *s < 10e-3:
		return fmt.Sprintf("%.1fms", *s*1e3)
	case *s < 1:
		return fmt.Sprintf("%.0fms", *s*1e3)
	}
	return fmt.Sprintf("%.1fs", *s)
}

// blockedFrom is how long an event loop may be busy, in seconds, before it is called blocked.
const blockedFrom = 0.1

// busyText says what the workers are at, those with threads and those with event loops.
func busyText(st *Status) string {
	var tasks, sockets int64
	loops := 0
	for i := range st.Workers {
		if l := st.Workers[i].Loop; l != nil {
			loops++
			tasks += l.Tasks
			sockets += l.WebSockets
		}
	}
	if loops == 0 {
		return fmt.Sprintf("%d of %d threads busy", st.Threads.Busy, st.Threads.Total)
	}
	return fmt.Sprintf("%d tasks, %d WebSockets", tasks, sockets)
}

// cpuUse is ws's CPU time, or its share of a CPU since before.
func cpuUse(st, before *Status, ws *WorkerStatus) string {
	if before == nil {
		return fmt.Sprintf("%.1fs", ws.CPU)
	}
	elapsed := st.Time.Sub(before.Time).Seconds()
	for i := range before.Workers {
		if old := &before.Workers[i]; old.PID == ws.PID && elapsed > 0 {
			return fmt.Sprintf("%.0f", max(ws.CPU-old.CPU, 0)/elapsed*100)
		}
	}
	return "-"
}

func memory(bytes float64) string {
	if bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fM", bytes/(1<<20))
}

// span is a time in seconds, as short as it still says enough.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// slowLines renders the worst requests for people.
func slowLines(routes []protocol.SlowRoute) string {
	var b strings.Builder
	if len(routes) == 0 {
		fmt.Fprintf(&b, "no request has taken %v yet\n", time.Duration(protocol.SlowFloor))
	}
	for i, r := range routes {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s\n", oneLine(r.Route))
		for _, q := range r.Worst {
			end := "has not ended"
			if q.Status != 0 {
				end = fmt.Sprint(q.Status)
			}
			fmt.Fprintf(&b, "  %9.3fs  %s  worker %d, pid %d, generation %d  %s", q.Duration.Seconds(), q.Time.Local().Format(time.DateTime),
				q.Worker, q.PID, q.Generation, end)
			if ms := q.Waited.Milliseconds(); ms > 0 {
				fmt.Fprintf(&b, ", %d ms of it before the application was called", ms)
			}
			if ms := q.ForClient.Milliseconds(); ms > 0 {
				fmt.Fprintf(&b, ", %d ms waiting for the client", ms)
			}
			fmt.Fprintf(&b, "  %s\n", oneLine(q.Target))
			for line := range strings.Lines(q.Stack) {
				b.WriteString("      " + strings.TrimRight(line, "\n") + "\n")
			}
		}
	}
	return b.String()
}

// eventLines renders the journal for people.
func eventLines(events []protocol.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s  %-15s", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Kind)
		if e.Worker != 0 {
			fmt.Fprintf(&b, "  worker %d", e.Worker)
			if e.PID != 0 { // one that the mold is to fork has none yet
				fmt.Fprintf(&b, ", pid %d", e.PID)
			}
		}
		if e.Generation != 0 {
			fmt.Fprintf(&b, "  generation %d", e.Generation)
		}
		why := e.Cause
		if e.Text != "" {
			if why != "" {
				why += ", "
			}
			why += oneLine(e.Text)
		}
		if why != "" {
			b.WriteString("  " + why)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// renderDumps renders the tracebacks of workers.
func renderDumps(dumps []protocol.Dump) string {
	var b strings.Builder
	for i, d := range dumps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(d.Text)
		if d.Missing != "" {
			fmt.Fprintf(&b, "-- worker %d, pid %d: %s\n", d.Worker, d.PID, d.Missing)
		}
	}
	return b.String()
}
