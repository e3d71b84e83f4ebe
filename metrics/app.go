package metrics

import "hostler/internal/appmetrics"

var appFamilies = []family{
	{name: "app_metrics_processes", typ: gauge,
		help: "Processes, workers and molds, that share metrics of the application's own.",
		read: func(s *scrape, put put) { put(float64(s.app.Processes)) }},
	{name: "app_metrics_series", typ: gauge,
		help: "Series of the application's own that are kept, those that only ended processes have had included.",
		read: func(s *scrape, put put) { put(float64(s.app.Series)) }},
	{name: "app_metrics_unrecorded_values", typ: gauge,
		help: "Values in the present processes that are not in /metrics, since there is no room for them or their names are none.",
		read: func(s *scrape, put put) { put(float64(s.app.Unrecorded)) }},
	{name: "app_metrics_left_out_total", labels: []string{"reason"},
		help: "What of the application's metrics was left out: series beyond the limit, families with a name that cannot be exported (once for each process), families whose name another one has (clash), processes whose memory is damaged.",
		read: func(s *scrape, put put) {
			for _, reason := range appmetrics.LeftOutReasons {
				put(float64(s.app.LeftOut[reason]), reason)
			}
		}},
}
