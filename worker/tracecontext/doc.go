// Package tracecontext reads and writes the field traceparent of W3C's Trace Context, and
// decides which traces are recorded. It knows nothing of connections.
package tracecontext
