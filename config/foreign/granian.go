package foreign

import (
	"fmt"
	"strconv"
)

// socketMode is what becomes of the mode that others give a socket.
const socketMode = "the file of a socket can be written to by everybody, so that a proxy can; the mode of its directory says who gets there (or SocketMode= of a socket unit of systemd)"

// granian returns granian's flags, less those that Gunicorn or uvicorn have, too.
func granian() []*setting {
	g := func(entries ...entry) *setting { return newSetting(Granian, "", entries...) }
	const (
		rust   = "is for granian's runtime; the threads that run Python are --threads"
		window = "is fixed here, and bounded by what a worker may buffer (--limit-buffers)"
		static = "is half of --static URL=DIR"
	)
	return []*setting{
		g(flags(One, "--uds-permissions"), lost(socketMode)),
		g(flags(Nothing, "--no-ws"), idle("an application that takes no WebSockets gets none")),
		g(flags(One, "--blocking-threads"), changed("threads", "is --threads"), by(capped("threads", mostThreads))),
		g(flags(One, "--blocking-threads-idle-timeout", "--runtime-threads", "--runtime-blocking-threads", "--runtime-mode", "--task-impl"), idle(rust)),
		g(flags(One, "--backpressure"), lost("see --queue, and --queue-wait")),
		g(flags(One, "--http1-buffer-size"), lost("see --limit-request-line, --limit-request-fields and --limit-request-field-size")),
		g(flags(One, "--http1-header-read-timeout"), changed("header-timeout", "milliseconds are --header-timeout"), by(func(v any) result {
			t, err := text(v)
			if err != nil {
				return result{err: err}
			}
			return result{fate: Changed, gives: []Given{{"header-timeout", []string{t + "ms"}}}}
		})),
		g(flags(Nothing, "--http1-keep-alive", "--http1-pipeline-flush", "--no-http1-pipeline-flush"), idle("see --keep-alive")),
		g(flags(Nothing, "--no-http1-keep-alive"), changed("keep-alive", "is --keep-alive 0"), fixed("keep-alive", "0")),
		g(flags(Nothing, "--http2-adaptive-window", "--no-http2-adaptive-window"), lost(window)),
		g(flags(One, "--http2-initial-connection-window-size", "--http2-initial-stream-window-size", "--http2-keep-alive-interval", "--http2-keep-alive-timeout", "--http2-max-headers-size", "--http2-max-send-buffer-size"), lost(window)),
		g(flags(Nothing, "--log"), idle("see --log-level")),
		g(flags(Nothing, "--no-log"), lost("see --log-level and --error-log")),
		g(flags(One, "--access-log-fmt"), lost("the formats are those of --access-log-format")),
		g(flags(One, "--ssl-certificate"), changed("certfile", "is --certfile")),
		g(flags(One, "--ssl-protocol-min"), changed("tls-min-version", "is --tls-min-version"), by(tlsVersion)),
		g(flags(One, "--ssl-ca"), changed("ca-certs", "is --ca-certs")),
		g(flags(One, "--ssl-crl"), refused("hostler reads no lists of revoked certificates: have a proxy check them")),
		g(flags(Nothing, "--ssl-client-verify"), changed("client-certs", ""), fixed("client-certs", "required")),
		g(flags(Nothing, "--no-ssl-client-verify"), idle("without --ca-certs clients are not asked for certificates")),
		g(flags(One, "--url-path-prefix"), changed("env", "is --env SCRIPT_NAME=PREFIX"), by(mountPoint)),
		g(flags(Nothing, "--respawn-failed-workers"), idle("a worker that dies is replaced, always")),
		g(flags(Nothing, "--no-respawn-failed-workers"), lost("a worker that dies is replaced, always")),
		g(flags(One, "--respawn-interval", "--rss-sample-interval", "--rss-samples"), idle("hostler paces that itself")),
		g(flags(One, "--workers-lifetime"), changed("max-age", "is --max-age")),
		g(flags(One, "--workers-max-rss"), changed("max-memory", "is --max-memory, in MiB"), by(mebibytes("max-memory"))),
		g(flags(One, "--workers-kill-timeout"), changed("graceful-timeout", "is --graceful-timeout")),
		g(flags(Nothing, "--no-factory"), idle("MODULE:FACTORY() is a factory, all else is not")),
		g(flags(One, "--working-dir"), changed("chdir", "is --chdir")),
		g(flags(One, "--env-files"), refused(envFile)),
		g(flags(One, "--static-path-route", "--static-path-mount"), refused(static)),
		g(flags(One, "--static-path-dir-to-file", "--static-path-expires"), lost("files are served as docs/static.md says")),
		g(flags(Nothing, "--metrics"), idle("metrics are at --admin-bind, always")),
		g(flags(Nothing, "--no-metrics"), changed("admin-bind", "is --admin-bind off"), fixed("admin-bind", "off")),
		g(flags(One, "--metrics-scrape-interval"), idle("metrics are up to date, always")),
		g(flags(One, "--metrics-address", "--metrics-port"), refused("is half of --admin-bind HOST:PORT")),
		g(flags(Nothing, "--no-reload"), idle("without --reload nothing is watched")),
		g(flags(One, "--reload-paths"), changed("reload-extra", "is --reload-extra")),
		g(flags(One, "--reload-ignore-dirs", "--reload-ignore-patterns", "--reload-ignore-paths", "--reload-tick"), lost("what is watched is what has been imported, and --reload-extra")),
		g(flags(Nothing, "--reload-ignore-worker-failure", "--no-reload-ignore-worker-failure"), idle("while the code is broken, --reload shows why, and waits")),
		g(flags(One, "--process-name"), changed("name", "is --name")),
		g(flags(One, "--pid-file"), changed("pid", "is --pid")),
	}
}

func tlsVersion(v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	if len(t) > 3 && t[:3] == "tls" {
		t = t[3:]
	}
	return result{fate: Changed, gives: []Given{{"tls-min-version", []string{t}}}}
}

// mebibytes is a number that counts in MiB there.
func mebibytes(here string) func(any) result {
	return func(v any) result {
		t, err := text(v)
		if err != nil {
			return result{err: err}
		}
		if _, err := strconv.ParseUint(t, 10, 32); err != nil {
			return result{err: fmt.Errorf("%q is no number of MiB", t)}
		}
		return result{fate: Changed, gives: []Given{{here, []string{t + "m"}}}}
	}
}
