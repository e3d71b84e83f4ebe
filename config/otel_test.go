package config_test

import (
	"slices"
	"strings"
	"testing"

	"hostler/settings"
)

func TestOtel(t *testing.T) {
	on := settings.Tracing{Sampler: settings.SamplerParentOn, Ratio: 1, Propagates: true}
	with := func(s settings.Sampler, ratio float64) *settings.Tracing {
		return &settings.Tracing{Sampler: s, Ratio: ratio, Propagates: true}
	}
	silent := on
	silent.Propagates = false
	for _, k := range []struct {
		args, env string
		want      *settings.Tracing
		warning   string
	}{
		{"", "OTEL_TRACES_SAMPLER=nonsense OTEL_EXPORTER_OTLP_PROTOCOL=http/json", nil, ""}, // the application's
		{"--otel", "", &on, ""},
		{"--otel", "OTEL_SDK_DISABLED=true", nil, "OTEL_SDK_DISABLED"},
		{"--otel", "OTEL_TRACES_EXPORTER=none", nil, ""},
		{"--otel", "OTEL_TRACES_EXPORTER=otlp", &on, ""},
		{"--otel", "OTEL_TRACES_SAMPLER=always_off", with(settings.SamplerOff, 1), ""},
		{"--otel", "OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.25", with(settings.SamplerRatio, 0.25), ""},
		{"--otel", "OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=2", with(settings.SamplerParentRatio, 1), "OTEL_TRACES_SAMPLER_ARG"},
		{"--otel", "OTEL_TRACES_SAMPLER=always_on OTEL_TRACES_SAMPLER_ARG=endpoint=x", with(settings.SamplerOn, 1), ""},
		{"--otel", "OTEL_TRACES_SAMPLER=jaeger_remote", &on, "jaeger_remote"},
		{"--otel --trace-sample 0.1", "OTEL_TRACES_SAMPLER=always_on", with(settings.SamplerParentRatio, 0.1), ""},
		{"--otel", "OTEL_PROPAGATORS=b3", &silent, ""},
		{"--otel", "OTEL_PROPAGATORS=baggage,tracecontext", &on, ""},
		{"--trace-sample 0.1", "", nil, "--trace-sample: does nothing without --otel"},
		{"--otlp-endpoint http://x:4318", "", nil, "--otlp-endpoint: does nothing without --otel"},
		{"--otlp-protocol grpc", "", nil, "--otlp-protocol: does nothing without --otel"},
	} {
		c := mustLoad(t, nil, strings.Fields(k.env), append(strings.Fields(k.args), "shop")...)
		if (c.Tracing == nil) != (k.want == nil) || k.want != nil && *c.Tracing != *k.want {
			t.Errorf("%q %q: %+v, want %+v", k.args, k.env, c.Tracing, k.want)
		}
		if k.warning == "" && len(c.Warnings) > 0 || k.warning != "" && !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, k.warning) }) {
			t.Errorf("%q %q: warnings %q", k.args, k.env, c.Warnings)
		}
	}
	for _, bad := range []string{"--trace-sample 2", "--trace-sample -0.1", "--trace-sample NaN", "--trace-sample x", "--otlp-endpoint localhost:4318", "--otlp-endpoint ftp://x",
		"--otlp-endpoint http://", "--otlp-endpoint http://u:p@x", "--otlp-endpoint http://x?y", "--otlp-protocol http/json"} {
		problems(t, nil, nil, append(strings.Fields(bad), "shop", "--otel")...)
	}
	if c := mustLoad(t, nil, nil, "shop", "--otel", "--otlp-endpoint", "https://collector:4318/", "--otlp-protocol", "grpc"); c.OTLPEndpoint != "https://collector:4318" || c.OTLPProtocol != "grpc" {
		t.Errorf("%q, %q", c.OTLPEndpoint, c.OTLPProtocol)
	}
}
