// Package accesslog makes the lines of an access log: in Apache's combined format, as
// JSON with the names of OpenTelemetry's semantic conventions, or by a format as
// Gunicorn takes it in --access-logformat. A Format is parsed once; to append a line
// allocates nothing. Whatever a client can choose is escaped in every format, so that no
// client forges a line or a field of one.
//
// The master and the workers make their lines here: the workers those of requests that
// were answered or refused, the master those of requests that were lost with their
// worker, whose status is 000.
package accesslog
