package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hostler/settings"
)

// parseOTLPEndpoint reads where a collector is.
func parseOTLPEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, " \t\r\n") {
		return "", fmt.Errorf("%q is no URL like http://127.0.0.1:4318", s)
	}
	return strings.TrimRight(s, "/"), nil
}

func parseOTLPProtocol(s string) (string, error) {
	if s != settings.OTLPHTTP && s != settings.OTLPGRPC {
		return "", fmt.Errorf("%q is not one of them", s)
	}
	return s, nil
}

// parseSample reads a share of traces.
func parseSample(s string) (string, error) {
	if r, err := strconv.ParseFloat(s, 64); err != nil || !(r >= 0 && r <= 1) {
		return "", fmt.Errorf("%q is no number from 0 to 1", s)
	}
	return s, nil
}

// completeOtel finds out which requests are spans. Variables of OpenTelemetry's may be there for
// the application alone: without --otel nothing is read in them, and what is wrong with one is
// no reason not to start.
func (c *Config) completeOtel(env []string) (warnings []string) {
	if !c.Otel {
		return nil
	}
	values := make(map[string]string)
	for _, kv := range env {
		if name, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, "OTEL_") {
			values[name] = strings.TrimSpace(v)
		}
	}
	if strings.EqualFold(values["OTEL_SDK_DISABLED"], "true") {
		c.Otel = false
		return []string{"otel: does nothing: OTEL_SDK_DISABLED is true"}
	}
	if strings.EqualFold(values["OTEL_TRACES_EXPORTER"], "none") {
		return nil
	}
	t := &settings.Tracing{Sampler: settings.SamplerParentOn, Ratio: 1, Propagates: true}
	c.Tracing = t
	if p, given := values["OTEL_PROPAGATORS"]; given && p != "" {
		t.Propagates = slices.ContainsFunc(strings.Split(p, ","), func(name string) bool { return strings.TrimSpace(name) == "tracecontext" })
	}
	if c.TraceSample != "" {
		t.Sampler = settings.SamplerParentRatio
		t.Ratio, _ = strconv.ParseFloat(c.TraceSample, 64) // it has been looked at
		return nil
	}
	if name := settings.Sampler(values["OTEL_TRACES_SAMPLER"]); name != "" {
		if slices.Contains(settings.Samplers[:], name) {
			t.Sampler = name
		} else {
			warnings = append(warnings, oneLine(fmt.Sprintf("OTEL_TRACES_SAMPLER: %q is not known here: all traces that have no parent are recorded", name)))
		}
	}
	if arg := values["OTEL_TRACES_SAMPLER_ARG"]; arg != "" && (t.Sampler == settings.SamplerRatio || t.Sampler == settings.SamplerParentRatio) {
		if _, err := parseSample(arg); err != nil {
			warnings = append(warnings, oneLine("OTEL_TRACES_SAMPLER_ARG: "+err.Error()+": it counts as 1"))
		} else {
			t.Ratio, _ = strconv.ParseFloat(arg, 64)
		}
	}
	return warnings
}
