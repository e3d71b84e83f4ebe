package otlp

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"hostler/settings"
)

// variable returns one of OpenTelemetry's variables of the environment.
func variable(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// number returns a variable that is a number above 0.
func number(name string, standard int) int {
	if n, err := strconv.Atoi(variable(name)); err == nil && n > 0 {
		return n
	}
	return standard
}

// milliseconds returns a variable that is a time.
func milliseconds(name string, standard time.Duration) time.Duration {
	return time.Duration(number(name, int(standard/time.Millisecond))) * time.Millisecond
}

// none reports whether there is to be no exporter of a signal, TRACES or METRICS.
func none(signal string) bool { return strings.EqualFold(variable("OTEL_"+signal+"_EXPORTER"), "none") }

// protocolOf is how a signal travels. What is not known is not guessed.
func protocolOf(set *settings.Master, signal string) (string, error) {
	name := "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
	if variable(name) == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	p := cmp.Or(set.OTLPProtocol, variable(name), settings.OTLPHTTP)
	if p != settings.OTLPHTTP && p != settings.OTLPGRPC {
		return "", fmt.Errorf("%s: %q is not supported: take %s or %s, e.g. with --otlp-protocol", name, p, settings.OTLPHTTP, settings.OTLPGRPC)
	}
	return p, nil
}

// Where a collector is if nobody says. To the SDK's exporters, as they are without an
// address, it speaks TLS there.
const (
	httpAddress = "http://localhost:4318"
	grpcAddress = "http://localhost:4317"
)

// endpoint is where a signal goes, to path below what is given for all; "": a variable of the
// environment says so, which the SDK reads.
func endpoint(set *settings.Master, signal, standard, path string) string {
	if set.OTLPEndpoint == "" && (variable("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != "" || variable("OTEL_EXPORTER_OTLP_ENDPOINT") != "") {
		return ""
	}
	return cmp.Or(set.OTLPEndpoint, standard) + path
}

// traceExporter returns the SDK's, which reads the rest of the environment itself. It does not
// connect yet.
func traceExporter(ctx context.Context, set *settings.Master) (trace.SpanExporter, error) {
	p, err := protocolOf(set, "TRACES")
	if err != nil {
		return nil, err
	}
	if p == settings.OTLPGRPC {
		var o []otlptracegrpc.Option
		if at := endpoint(set, "TRACES", grpcAddress, ""); at != "" {
			o = append(o, otlptracegrpc.WithEndpointURL(at))
		}
		return otlptracegrpc.New(ctx, o...)
	}
	var o []otlptracehttp.Option
	if at := endpoint(set, "TRACES", httpAddress, "/v1/traces"); at != "" {
		o = append(o, otlptracehttp.WithEndpointURL(at))
	}
	return otlptracehttp.New(ctx, o...)
}

// describe says whose spans and metrics these are. What OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME say comes first.
func describe(ctx context.Context, set *settings.Master) (*resource.Resource, error) {
	r, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", cmp.Or(set.Name, set.App)), attribute.String("service.instance.id", instance), attribute.Int("process.pid", os.Getpid())),
		resource.WithFromEnv())
	if r == nil {
		return nil, err
	}
	return r, nil // what of it could not be found out is missing
}

// instance tells this server from all others: a random UUID.
var instance = func() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}()
