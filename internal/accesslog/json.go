package accesslog

import (
	"strconv"
	"time"
)

// json returns the part that is a whole line: the attributes of OpenTelemetry's semantic
// conventions for HTTP servers, and where these have no name, our own with "hostler.".
// Durations are in seconds. What is not known is left out.
func (f *Format) json() part {
	agent, referer := f.need("user-agent"), f.need("referer")
	id, trace := f.need("x-request-id"), f.need("traceparent")
	return func(b []byte, e *Entry, now *Clock) []byte {
		b = append(b, `{"timestamp":"`...)
		b = appendTime(b, e.At, now)
		b = append(b, '"')
		if len(e.Client) > 0 {
			b = appendJSON(append(b, `,"client.address":`...), e.Client)
		}
		if e.Method != nil {
			path, query := splitTarget(e.Target)
			b = appendJSON(append(b, `,"http.request.method":`...), e.Method)
			b = appendJSON(append(b, `,"url.path":`...), path)
			if query != nil {
				b = appendJSON(append(b, `,"url.query":`...), query)
			}
			if e.Route != nil {
				b = appendJSON(append(b, `,"http.route":`...), e.Route)
			}
			b = append(b, `,"network.protocol.version":"`...)
			b = append(append(b, version(e.Protocol)...), '"')
		}
		if e.Status != 0 {
			b = strconv.AppendInt(append(b, `,"http.response.status_code":`...), int64(e.Status), 10)
		}
		b = strconv.AppendInt(append(b, `,"http.response.body.size":`...), e.Bytes, 10)
		b = appendSeconds(append(b, `,"http.server.request.duration":`...), e.Duration)
		if e.Queue > 0 {
			b = appendSeconds(append(b, `,"hostler.queue.duration":`...), e.Queue)
		}
		if e.Fields != nil {
			b = appendField(b, `,"user_agent.original":`, e.Fields.RequestField(agent))
			b = appendField(b, `,"http.request.header.referer":`, e.Fields.RequestField(referer))
			b = appendField(b, `,"http.request.header.x-request-id":`, e.Fields.RequestField(id))
			b = appendTrace(b, e.Fields.RequestField(trace))
		}
		if e.Cause != "" {
			b = appendJSON(append(b, `,"error.type":`...), []byte(e.Cause))
		}
		b = strconv.AppendInt(append(b, `,"hostler.worker":`...), int64(e.Worker), 10)
		b = strconv.AppendInt(append(b, `,"process.pid":`...), int64(e.PID), 10)
		return append(b, '}')
	}
}

// appendTime appends a time as RFC 3339 has it.
func appendTime(b []byte, at time.Time, now *Clock) []byte {
	if !now.Shows(at) { // the second is just over
		return at.AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	}
	b = appendMicros(append(b, now.rfc3339...), int64(at.Nanosecond()/1000))
	return append(b, now.zone...)
}

func appendField(b []byte, name string, value []byte) []byte {
	if value == nil {
		return b
	}
	return appendJSON(append(b, name...), value)
}

// version is what stands behind the slash of a protocol; HTTP/2 has one digit.
func version(protocol string) string {
	const name = "HTTP/"
	if protocol == "HTTP/2.0" || len(protocol) <= len(name) {
		return "2"
	}
	return protocol[len(name):]
}

// appendTrace appends the identifiers of a traceparent (W3C Trace Context, 3.2), if it is
// one.
func appendTrace(b, v []byte) []byte {
	const version, trace, span, size = 2, 32, 16, 55
	if len(v) < size || v[version] != '-' || v[version+1+trace] != '-' || v[version+trace+span+2] != '-' || len(v) > size && v[size] != '-' {
		return b
	}
	id, parent := v[version+1:][:trace], v[version+trace+2:][:span]
	if !isID(id) || !isID(parent) {
		return b
	}
	b = append(append(append(b, `,"trace_id":"`...), id...), '"')
	return append(append(append(b, `,"span_id":"`...), parent...), '"')
}

// isID reports whether v is hexadecimal, in lower case, and not all zero.
func isID(v []byte) bool {
	some := false
	for _, c := range v {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		some = some || c != '0'
	}
	return some
}
