package protocol

import "slices"

// MetricsForm is a form in which the master sends the application's metrics to workers
// that show them.
type MetricsForm uint8

// The bits of a MetricsForm; without any it is Prometheus' text format.
const (
	MetricsOpen MetricsForm = 1 << iota // OpenMetrics
	MetricsGzip

	NumMetricsForms = 1 << iota
)

var metricsForms = [NumMetricsForms]string{0: "text", MetricsOpen: "openmetrics", MetricsGzip: "text gzip", MetricsOpen | MetricsGzip: "openmetrics gzip"}

// String is what KindScrape and KindScraped say.
func (f MetricsForm) String() string { return metricsForms[f] }

// ParseMetricsForm is the reverse of String.
func ParseMetricsForm(text string) (MetricsForm, bool) {
	i := slices.Index(metricsForms[:], text)
	return MetricsForm(max(i, 0)), i >= 0
}

// ContentType is that of an answer.
func (f MetricsForm) ContentType() string {
	if f&MetricsOpen != 0 {
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	return "text/plain; version=0.0.4; charset=utf-8"
}
