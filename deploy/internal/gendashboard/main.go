// Command gendashboard writes the dashboard for Grafana.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// panel is one chart: what it shows, in which unit of Grafana's, and the queries, each
// with its legend.
type panel struct {
	title, about, unit string
	queries            [][2]string
	stacked, stat      bool
}

// row is a concern of whoever looks.
type row struct {
	title  string
	panels []panel
}

// In a query $s stands for the series that are looked at, and $r for the time that a rate
// is taken over.
var rows = []row{
	{"Traffic", []panel{
		{title: "Requests", about: "By class of their status.", unit: "reqps", stacked: true,
			queries: [][2]string{{`sum by (code) (rate(hostler_requests_total{$s}[$r]))`, "{{code}}"}}},
		{title: "Errors", about: "Share of requests that end with 5xx, and that are turned away.", unit: "percentunit",
			queries: [][2]string{
				{`sum(rate(hostler_responses_total{code=~"5..",$s}[$r])) / sum(rate(hostler_requests_total{$s}[$r]))`, "5xx"},
				{`sum(rate(hostler_unavailable_total{$s}[$r])) / sum(rate(hostler_requests_total{$s}[$r]))`, "turned away"}}},
		{title: "Refused", about: "Before the application saw them, by reason.", unit: "reqps", stacked: true,
			queries: [][2]string{{`sum by (reason) (rate(hostler_rejected_requests_total{$s}[$r]))`, "{{reason}}"}}},
		{title: "Bytes", about: "From clients, and to them.", unit: "Bps",
			queries: [][2]string{{`sum(rate(hostler_received_bytes_total{$s}[$r]))`, "in"}, {`sum(rate(hostler_sent_bytes_total{$s}[$r]))`, "out"}}},
	}},
	{"Latency", []panel{
		{title: "Duration", about: "From the whole request to the end of its response.", unit: "s",
			queries: [][2]string{
				{`histogram_quantile(0.5, sum by (le) (rate(hostler_request_duration_seconds_bucket{$s}[$r])))`, "p50"},
				{`histogram_quantile(0.9, sum by (le) (rate(hostler_request_duration_seconds_bucket{$s}[$r])))`, "p90"},
				{`histogram_quantile(0.99, sum by (le) (rate(hostler_request_duration_seconds_bucket{$s}[$r])))`, "p99"}}},
		{title: "Duration, p99 by method", unit: "s",
			queries: [][2]string{{`histogram_quantile(0.99, sum by (le, method) (rate(hostler_request_duration_seconds_bucket{$s}[$r])))`, "{{method}}"}}},
		{title: "Wait for a thread", about: "Before the application begins: what more workers or threads could spare.", unit: "s",
			queries: [][2]string{
				{`histogram_quantile(0.5, sum by (le) (rate(hostler_request_queue_wait_seconds_bucket{$s}[$r])))`, "p50"},
				{`histogram_quantile(0.99, sum by (le) (rate(hostler_request_queue_wait_seconds_bucket{$s}[$r])))`, "p99"}}},
		{title: "Event loops", about: "How long they are away from what has come; only with ASGI.", unit: "s",
			queries: [][2]string{
				{`histogram_quantile(0.99, sum by (le) (rate(hostler_loop_lag_seconds_bucket{$s}[$r])))`, "lag, p99"},
				{`sum(rate(hostler_loop_blocks_total{$s}[$r]))`, "blocks of 100 ms or more, a second"}}},
	}},
	{"Saturation", []panel{
		{title: "Threads", about: "Those that run a request, of all.", unit: "short", stacked: true,
			queries: [][2]string{{`sum by (state) (hostler_threads{$s})`, "{{state}}"}}},
		{title: "Waiting", unit: "short",
			queries: [][2]string{
				{`sum(hostler_queue_depth{$s})`, "for a thread"}, {`sum(hostler_tasks_waiting{$s})`, "for their loop"},
				{`sum(hostler_listen_queue_depth{$s})`, "to be accepted"}}},
		{title: "Connections", unit: "short", stacked: true,
			queries: [][2]string{{`sum by (state) (hostler_connections{$s})`, "{{state}}"}, {`sum(hostler_websockets{$s})`, "WebSockets"}}},
		{title: "Oldest request", about: "Of those that wait or run.", unit: "s",
			queries: [][2]string{{`max by (instance) (hostler_oldest_request_age_seconds{$s})`, "{{instance}}"}}},
	}},
	{"Workers", []panel{
		{title: "Processes", unit: "short", stacked: true,
			queries: [][2]string{{`sum by (state) (hostler_workers{$s})`, "{{state}}"}}},
		{title: "Processor", about: "Of one processor.", unit: "percentunit", stacked: true,
			queries: [][2]string{{`sum by (instance, worker) (rate(hostler_worker_cpu_seconds_total{$s}[$r]))`, "{{instance}} {{worker}}"}}},
		{title: "Memory", about: "With its share of what it has in common with others.", unit: "bytes", stacked: true,
			queries: [][2]string{{`sum by (instance, worker) (hostler_worker_proportional_memory_bytes{$s})`, "{{instance}} {{worker}}"}}},
		{title: "Ends, by cause", about: "Those of a reload or of --max-requests included.", unit: "short", stacked: true,
			queries: [][2]string{{`sum by (cause) (increase(hostler_worker_exits_total{$s}[$r]))`, "{{cause}}"}}},
	}},
	{"The server", []panel{
		{title: "Serving", about: "Workers, of those that there should be.", unit: "percentunit", stat: true,
			queries: [][2]string{{`sum(hostler_workers{state="serving",$s}) / sum(hostler_workers_target{$s})`, ""}}},
		{title: "Last reload", unit: "short", stat: true, about: "1: it worked. 0: the old code goes on.",
			queries: [][2]string{{`min(hostler_last_reload_successful{$s})`, ""}}},
		{title: "Certificates", about: "How long the first of them to expire is good.", unit: "s", stat: true,
			queries: [][2]string{{`min(hostler_tls_certificate_expiry_timestamp_seconds{$s} - time())`, ""}}},
		{title: "Lines of logs that are lost", unit: "short", stat: true,
			queries: [][2]string{{`sum(increase(hostler_access_log_errors_total{$s}[$r])) + sum(increase(hostler_error_log_errors_total{$s}[$r]))`, ""}}},
	}},
	{"The application", []panel{
		{title: "Exceptions", about: "Requests in which it raised one, and breaches of its interface.", unit: "reqps",
			queries: [][2]string{{`sum(rate(hostler_app_exceptions_total{$s}[$r]))`, "exceptions"}, {`sum(rate(hostler_app_violations_total{$s}[$r]))`, "breaches"}}},
		{title: "Timeouts", about: "Requests that ran into --timeout.", unit: "reqps",
			queries: [][2]string{{`sum(rate(hostler_request_timeouts_total{$s}[$r]))`, "timeouts"}}},
		{title: "Wait for the GIL", about: "Seconds in a second, of all threads with a request in hand.", unit: "short",
			queries: [][2]string{{`sum(rate(hostler_gil_wait_seconds_total{$s}[$r]))`, "waiting"}}},
		{title: "Series of its own", about: "What it counts with prometheus_client.", unit: "short",
			queries: [][2]string{{`sum(hostler_app_metrics_series{$s})`, "series"}}},
	}},
}

type object = map[string]any

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "gendashboard: give the file to write")
		os.Exit(1)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "gendashboard: cannot write the dashboard: %v\n", err)
		os.Exit(1)
	}
}

func write(file string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(dashboard()); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func dashboard() object {
	const width, height = 6, 8 // of 24 columns
	var panels []object
	y := 0
	for _, r := range rows {
		panels = append(panels, object{"id": len(panels) + 1, "type": "row", "title": r.title, "collapsed": false, "panels": []object{},
			"gridPos": object{"x": 0, "y": y, "w": 24, "h": 1}})
		y++
		h := height
		if r.panels[0].stat {
			h = height / 2
		}
		for i, p := range r.panels {
			chart := p.object(len(panels) + 1)
			chart["gridPos"] = object{"x": i * width, "y": y, "w": width, "h": h}
			panels = append(panels, chart)
		}
		y += h
	}
	source := object{"type": "prometheus", "uid": "${datasource}"}
	choice := func(name, label, query string) object {
		return object{"name": name, "label": label, "type": "query", "datasource": source, "query": query, "refresh": 2,
			"includeAll": true, "multi": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"}, "sort": 1}
	}
	reload := `changes(hostler_last_reload_timestamp_seconds{` + series + `}[1m]) > 0`
	return object{
		"title": "hostler", "uid": "hostler", "tags": []string{"hostler"}, "schemaVersion": 39, "version": 1, "editable": true,
		"graphTooltip": 1, "refresh": "30s", "time": object{"from": "now-1h", "to": "now"}, "timezone": "browser", "panels": panels,
		"templating": object{"list": []object{
			{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
			choice("job", "Job", "label_values(hostler_build_info, job)"),
			choice("instance", "Instance", `label_values(hostler_build_info{job=~"$job"}, instance)`),
		}},
		"annotations": object{"list": []object{{"name": "Reloads", "datasource": source, "enable": true, "iconColor": "blue", "expr": reload,
			"titleFormat": "reload", "textFormat": "{{instance}}", "step": "1m"}}},
	}
}

const series = `job=~"$job",instance=~"$instance"`

func (p *panel) object(id int) object {
	var targets []object
	for i, q := range p.queries {
		expr := strings.NewReplacer("$s", series, "$r", "$__rate_interval").Replace(q[0])
		targets = append(targets, object{"refId": string(rune('A' + i)), "expr": expr, "legendFormat": q[1]})
	}
	custom := object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
	if p.stacked {
		custom["stacking"], custom["fillOpacity"] = object{"mode": "normal"}, 40
	}
	typ, options := "timeseries", object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	if p.stat {
		typ, options, custom = "stat", object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "graphMode": "area"}, object{}
	}
	return object{"id": id, "type": typ, "title": p.title, "description": p.about, "targets": targets, "options": options,
		"datasource":  object{"type": "prometheus", "uid": "${datasource}"},
		"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0, "custom": custom}, "overrides": []object{}}}
}
