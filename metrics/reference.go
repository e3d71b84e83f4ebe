package metrics

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// referenceHead is the page's head; single quotes stand for backticks.
const referenceHead = `<!-- Generated from metrics/table.go by "go generate ./metrics". Do not edit. -->

# Metrics

'/metrics' on [--admin-bind](settings.md) has the %d families below, and 'process_…' of the master beside them, in the text format of Prometheus, or in OpenMetrics where the scraper asks for that (Prometheus does). How they are counted is said at the head of package metrics ('metrics/doc.go').

All labels are bounded. The worker is the number by which logs and process titles name it, never a pid; a number that was once used stays. Counters begin with the master and never go back, also when workers end; they are there from the start, with 0.

In OpenMetrics counters are announced without '_total', units are given, and whole bounds of buckets are written '1.0', not '1'. The buckets of the histograms below are for people (1, 2.5, 5, 10 ms …), so they could only be guessed into those of a native histogram, which go by powers of two: there are none, and no protobuf. A Prometheus that stores classic histograms as native ones with custom buckets ('convert_classic_histograms_to_nhcb') has them exactly.

[Alerts](../deploy/prometheus/rules.yml) on them are in 'deploy/prometheus', [what to do](alerts.md) then is a page of its own, and 'deploy/grafana' has a dashboard.
`

// appReference is a part of the page; carets stand for backticks.
const appReference = `## The application's own metrics

What the application counts with ^prometheus_client^ (0.5 and newer) is in ^/metrics^, too, behind the server's own, with nothing to configure: counters, gauges, histograms and summaries of all workers, added up. There are no files, no ^PROMETHEUS_MULTIPROC_DIR^, no hook for workers that end, and nothing that grows with them: what a worker has counted stays, however it ends, for as long as the master lives. It starts again from 0 with an upgrade (SIGUSR2), as the server's own counters do. [^--app-metrics=false^](settings.md) switches it off.

* Values are put together as by the library's ^MultiProcessCollector^: gauges by their ^multiprocess_mode^. Those of the modes ^all^ (the library's default) and ^liveall^ have the label ^worker^, the worker's number, and not ^pid^ (^hostler_worker^ where the metric has a label of that name). Most gauges want ^livesum^, ^livemax^ or ^mostrecent^.
* All metrics count, whatever registry they are in. The same series in two registries is one series.
* With ^--preload^ what is counted at import is counted once, and a gauge that is set there is in every worker.
* After a reload the gauges of workers that are gone go, with the last worker of their generation; counters stay.
* An endpoint of the application's own goes on to show the one worker that answers, but for the path of [^--metrics-path^](settings.md): with ^--metrics-path /metrics^ it shows what is said here, of all workers, without the server's own metrics, and needs no Python for it. It is put together four times a second at most, after the request has come; who comes meanwhile waits. It is as public as the application is. ^start_http_server()^ is not needed, and only the first worker can have its port.
* What has no value until somebody asks is asked for at a scrape, at most once a second, in a thread of the worker's (with ^--loop gevent^ in a greenlet): gauges with ^set_function()^ and OpenTelemetry's exporter in every worker; ^Info^, ^Enum^ and custom collectors of the default registry in one for all, that of the lowest number, for they would say the same in each. OpenTelemetry's gauges and up-down counters have the label ^worker^. A scrape waits for half a second at most; who has not answered by then shows what it said the last time. What a killed worker has counted in OpenTelemetry since the last scrape is lost.
* In OpenMetrics counters, histograms and summaries have ^_created^, as the library has it: when the first process that has the series began to count.
* Not there are exemplars, metrics whose names begin with ^hostler_^ or ^process_^, and those whose names are none of the classic text format; each is mentioned once in the error log. So is a collector that fails, or has more than 20,000 samples.
* A worker can have some 130,000 values, a gauge counts twice, and no metric more than half of them; all workers together 65,536 series and 32 MiB of names and labels. What exceeds that is left out, is counted (^hostler_app_metrics_left_out_total^, ^hostler_app_metrics_unrecorded_values^), and said once in the error log, with the metric's name. Series that only workers have had which are gone are the first to be forgotten.
* Where ^PROMETHEUS_MULTIPROC_DIR^ or ^PROMETHEUS_VALUE_CLASS^ is in the environment the library is left alone.
* Their labels are the application's. Who binds [--admin-bind](settings.md) to more than loopback shows them to whoever can connect.
`

// routeReference likewise.
const routeReference = `## Routes

With [^--metrics-routes^](settings.md) requests are counted by the route that the application's framework has found for them, as the application has written it:

* **Flask and Quart** (^/users/<int:id>^), **Django** (^/users/<int:pk>/^; a regular expression without its first ^\^^), **Starlette and FastAPI** (^/users/{id}^, what is mounted with its prefix), **Litestar, Falcon, Pyramid** and **Bottle**. What is built on these has them, too: Dash, Django Ninja, Wagtail. Nothing has to be added to the application, and a framework is left alone until the application imports it.
* Any other application says it itself, with a text in ^environ["hostler.route"]^ or ^scope["hostler.route"]^ before the end of its response. What hands a copy of scope on, as Channels does for WebSockets, hides what is put into that.
* ^-^ are requests for which there is none, such as those that get a 404. Files of ^--static^, and what the server has answered itself, are not among these figures.
* Names have 128 bytes at most; further bytes, and what cannot be printed, are not shown. A worker tells 200 routes apart, where the same one with another method counts again, and all workers together 1,000; the rest is ^other^. What only workers have had which are gone makes room, and is ^other^ from then on.
* Figures stay when workers end, and begin again from 0 with an upgrade (SIGUSR2), as all do. A WebSocket counts when it is accepted.
`

// Reference is docs/metrics.md.
func Reference() string {
	var b strings.Builder
	n := 0
	for _, g := range table {
		n += len(g.families)
	}
	head := strings.ReplaceAll(fmt.Sprintf(referenceHead, n), "'", "`") + "\n" + carets(appReference) + "\n" + carets(routeReference)
	for para := range strings.SplitSeq(strings.TrimSuffix(head, "\n"), "\n") {
		if strings.HasPrefix(para, "* ") {
			b.WriteString(wrap(para, "", "  "))
		} else {
			b.WriteString(wrap(para, "", ""))
		}
	}
	for _, g := range table {
		fmt.Fprintf(&b, "\n## %s\n\n", g.heading)
		for _, f := range g.families {
			labels := ""
			if len(f.labels) > 0 {
				labels = ", by `" + strings.Join(f.labels, "`, `") + "`"
			}
			text := fmt.Sprintf("`%s_%s` (%s%s): %s", namespace, f.name, f.typ, labels, f.help)
			b.WriteString(wrap(text, "* ", "  "))
		}
	}
	return b.String()
}

// carets makes code of what is in carets; a caret itself is written with a backslash.
func carets(text string) string {
	return strings.NewReplacer("\\^", "^", "^", "`").Replace(text)
}

// columns is how long a line of the page may be.
const columns = 100

// wrap breaks text into lines, the first of which begins with first, the others with
// next.
func wrap(text, first, next string) string {
	var b strings.Builder
	line := first
	for i, word := range strings.Split(text, " ") {
		if i > 0 {
			if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
				b.WriteString(line + "\n")
				line = next
			} else {
				line += " "
			}
		}
		line += word
	}
	return b.String() + line + "\n"
}
