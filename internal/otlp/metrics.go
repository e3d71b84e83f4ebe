package otlp

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"hostler/settings"
)

// metricExporter is traceExporter for metrics.
func metricExporter(ctx context.Context, set *settings.Master) (metric.Exporter, error) {
	p, err := protocolOf(set, "METRICS")
	if err != nil {
		return nil, err
	}
	if p == settings.OTLPGRPC {
		var o []otlpmetricgrpc.Option
		if at := endpoint(set, "METRICS", grpcAddress, ""); at != "" {
			o = append(o, otlpmetricgrpc.WithEndpointURL(at))
		}
		return otlpmetricgrpc.New(ctx, o...)
	}
	var o []otlpmetrichttp.Option
	if at := endpoint(set, "METRICS", httpAddress, "/v1/metrics"); at != "" {
		o = append(o, otlpmetrichttp.WithEndpointURL(at))
	}
	return otlpmetrichttp.New(ctx, o...)
}

// metrics sends what is gathered to a collector, each minute (OTEL_METRIC_EXPORT_INTERVAL).
type metrics struct {
	to *saying
	of *resource.Resource
	by *metric.MeterProvider // nil: not begun
}

// openMetrics prepares that; it does not begin yet.
func (x *Exporters) openMetrics(ctx context.Context, set *settings.Master, of *resource.Resource) (*metrics, error) {
	to, err := metricExporter(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("cannot export metrics: %w", err)
	}
	return &metrics{to: &saying{Exporter: to, log: x.log}, of: of}, nil
}

// begin has them sent from now on.
func (m *metrics) begin(from prometheus.Gatherer) {
	reader := metric.NewPeriodicReader(m.to, metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(from))))
	m.by = metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(m.of))
}

// end sends them a last time, and ends.
func (m *metrics) end(ctx context.Context) {
	if m.by == nil {
		_ = m.to.Shutdown(ctx) // nothing has been sent by it
		return
	}
	_ = m.by.Shutdown(ctx) // the exporter has said what went wrong
}

// saying is an exporter that says when it cannot send, once, and when it can again.
type saying struct {
	metric.Exporter
	log     *slog.Logger
	failing bool // it is asked by one goroutine at a time
}

// Export implements metric.Exporter.
func (s *saying) Export(ctx context.Context, of *metricdata.ResourceMetrics) error {
	err := s.Exporter.Export(ctx, of)
	switch {
	case err != nil && !s.failing:
		s.log.Warn("metrics cannot be sent to the collector; it is said when they can again", "error", err)
	case err == nil && s.failing:
		s.log.Info("metrics are sent to the collector again")
	}
	s.failing = err != nil
	return nil // it has been said: nobody else need
}
