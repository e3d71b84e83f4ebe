// Package otlp sends spans and metrics to a collector of OpenTelemetry's, by the exporters of
// its SDK. It runs in the master, for all workers, in goroutines of its own: what the SDK and
// gRPC bring with them is there once. A collector that is slow, or away, costs spans, which are
// counted, and nothing else.
//
//	worker ──lines (protocol.Span)──▶ pipe ──▶ Take: a goroutine a worker ──▶ queue ──▶ batches ──▶ exporter
//
// What comes by a pipe is the worker's word, and that of its clients: it is parsed strictly,
// no more than so much of it in a second, and what is no text is made one.
package otlp
