package otlp

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"hostler/protocol"
)

// The attributes of a server's span, by the semantic conventions for HTTP, which are stable.
const (
	httpMethod         = attribute.Key("http.request.method")
	httpMethodOriginal = attribute.Key("http.request.method_original")
	httpRoute          = attribute.Key("http.route")
	httpStatus         = attribute.Key("http.response.status_code")
	urlPath            = attribute.Key("url.path")
	urlScheme          = attribute.Key("url.scheme")
	serverAddress      = attribute.Key("server.address")
	serverPort         = attribute.Key("server.port")
	clientAddress      = attribute.Key("client.address")
	peerAddress        = attribute.Key("network.peer.address")
	peerPort           = attribute.Key("network.peer.port")
	protocolVersion    = attribute.Key("network.protocol.version")
	userAgent          = attribute.Key("user_agent.original")
	errorType          = attribute.Key("error.type")
	// Ours.
	workerNumber = attribute.Key("hostler.worker")
	workerCause  = attribute.Key("hostler.cause")
	queueWait    = attribute.Key("hostler.queue_wait")
)

var versions = [...]string{"1.0", "1.1", "2"}

// methods are those that the conventions know; anything else a client could make up.
var methods = protocol.Methods[1:]

// told is a span as it was told of, and by which worker.
type told struct {
	protocol.Span
	worker int
	cause  string // of the worker's end, which the request did not outlive; "": it did
}

// stub is the span as the SDK has it.
func (s *told) stub(of *resource.Resource, scope instrumentation.Scope) tracetest.SpanStub {
	state, err := trace.ParseTraceState(string(s.State))
	if err != nil {
		state = trace.TraceState{} // the rest is good without
	}
	context := trace.SpanContextConfig{TraceID: s.Trace, SpanID: s.ID, TraceFlags: trace.TraceFlags(s.Flags), TraceState: state}
	stub := tracetest.SpanStub{
		SpanContext: trace.NewSpanContext(context), SpanKind: trace.SpanKindServer,
		StartTime: time.Unix(0, s.End-s.Duration), EndTime: time.Unix(0, s.End),
		Resource: of, InstrumentationScope: scope,
	}
	if s.Parent != [8]byte{} {
		context.SpanID, context.Remote = s.Parent, true
		stub.Parent = trace.NewSpanContext(context)
	}
	stub.Name, stub.Attributes = s.attributes()
	if len(s.Error) > 0 {
		stub.Status.Code = codes.Error
	}
	return stub
}

// attributes are what is known of the request, and the name that follows from it.
func (s *told) attributes() (name string, all []attribute.KeyValue) {
	all = make([]attribute.KeyValue, 0, 16)
	add := func(key attribute.Key, v []byte) {
		if len(v) > 0 {
			all = append(all, key.String(text(v)))
		}
	}
	method := text(s.Method)
	if name = method; slices.Contains(methods, method) {
		all = append(all, httpMethod.String(method))
	} else {
		name, all = "HTTP", append(all, httpMethod.String("_OTHER"))
		add(httpMethodOriginal, s.Method)
	}
	if len(s.Route) > 0 {
		name += " " + text(s.Route)
		add(httpRoute, s.Route)
	}
	add(urlPath, s.Path)
	add(urlScheme, s.Scheme)
	if host, port := s.host(); host != "" {
		all = append(all, serverAddress.String(host), serverPort.Int(port))
	}
	add(clientAddress, s.Client)
	add(peerAddress, s.Peer)
	if s.Port != 0 {
		all = append(all, peerPort.Int64(s.Port))
	}
	all = append(all, protocolVersion.String(versions[s.Minor]))
	if s.Status != 0 {
		all = append(all, httpStatus.Int64(s.Status))
	}
	add(userAgent, s.Agent)
	add(errorType, s.Error)
	all = append(all, workerNumber.Int(s.worker))
	if s.cause != "" {
		all = append(all, workerCause.String(s.cause))
	}
	if s.Queue >= 0 {
		all = append(all, queueWait.Float64(float64(s.Queue)/1e9))
	}
	return name, all
}

// host is the name of the server, as the client knows it, and the port.
func (s *told) host() (string, int) {
	all := text(s.Host)
	port := 80
	if string(s.Scheme) == "https" {
		port = 443
	}
	if host, p, err := net.SplitHostPort(all); err == nil {
		if n, err := strconv.Atoi(p); err == nil && n >= 0 && n <= 65535 {
			return host, n
		}
		return host, port
	}
	return strings.Trim(all, "[]"), port
}

// text is what is sent of a text: one whose bytes are not UTF-8 would spoil its whole batch.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
