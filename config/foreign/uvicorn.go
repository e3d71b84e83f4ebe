package foreign

// Settings whose names begin with a plus sign are parts, which [Convert] puts
// together.
const (
	partHost     = "+host"
	partPort     = "+port"
	partFactory  = "+factory"
	partFile     = "+file"     // uWSGI's --wsgi-file
	partModule   = "+module"   // uWSGI's --module
	partCallable = "+callable" // uWSGI's --callable
	partMost     = "+most"     // uWSGI's --processes
	partLeast    = "+least"    // uWSGI's --cheaper
)

const (
	keyPassword = "a key with a password cannot be read: openssl pkey takes it off"
	envFile     = "hostler reads no file of variables: have systemd read it (EnvironmentFile=), or the shell, or put them under [env] in hostler.toml"
)

// uvicorn returns uvicorn's flags, less those that Gunicorn has, too.
func uvicorn() []*setting {
	u := func(entries ...entry) *setting { return newSetting(Uvicorn, "", entries...) }
	return []*setting{
		u(flags(One, "--host"), changed(partHost, "with --port it is --bind HOST:PORT")),
		u(flags(One, "--port"), changed(partPort, "with --host it is --bind HOST:PORT")),
		u(flags(One, "--uds"), changed("bind", "is --bind unix:PATH"), by(func(v any) result { return prefixed("bind", "unix:", v) })),
		u(flags(One, "--fd"), changed("bind", "is --bind fd://N"), by(func(v any) result { return prefixed("bind", "fd://", v) })),
		u(flags(One, "--reload-dir"), changed("reload-extra", "is --reload-extra; the modules that are imported are watched anyway")),
		u(flags(One, "--reload-include", "--reload-exclude"), lost("what is watched is what has been imported, and --reload-extra")),
		u(flags(One, "--reload-delay"), idle("a change is seen at once")),
		u(flags(One, "--ws"), idle("there is one implementation of WebSockets, the server's")),
		u(flags(One, "--ws-max-queue"), idle("no more is read while 16 messages, or 256 kB, wait for the application")),
		u(flags(One, "--env-file"), refused(envFile)),
		u(flags(Nothing, "--no-access-log"), changed("access-log", ""), fixed("access-log", "off")),
		u(flags(Nothing, "--use-colors", "--no-use-colors"), idle("the log has colours on a terminal, unless NO_COLOR is set")),
		u(flags(Nothing, "--proxy-headers"), idle("X-Forwarded-* of --forwarded-allow-ips is believed, always")),
		u(flags(Nothing, "--no-proxy-headers"), changed("forwarded-allow-ips", "is --forwarded-allow-ips ''"), fixed("forwarded-allow-ips", "")),
		u(flags(Nothing, "--server-header", "--no-server-header"), idle("there is no Server field, unless the application sets one")),
		u(flags(Nothing, "--date-header"), idle("every response has a Date")),
		u(flags(Nothing, "--no-date-header"), lost("every response has a Date")),
		u(flags(One, "--limit-concurrency"), lost("is in two parts here: --worker-concurrency, what an event loop runs at once (for WSGI --threads), and --queue, how many more wait before others are answered 503")),
		u(flags(One, "--limit-max-requests"), changed("max-requests", "is --max-requests")),
		u(flags(One, "--limit-max-requests-jitter"), changed("max-requests-jitter", "is --max-requests-jitter")),
		u(flags(One, "--timeout-keep-alive"), changed("keep-alive", "is --keep-alive")),
		u(flags(One, "--timeout-graceful-shutdown"), changed("graceful-timeout", "is --graceful-timeout")),
		u(flags(One, "--timeout-worker-healthcheck"), idle("workers show that they live in shared memory")),
		u(flags(One, "--ssl-keyfile"), changed("keyfile", "is --keyfile")),
		u(flags(One, "--ssl-certfile"), changed("certfile", "is --certfile")),
		u(flags(One, "--ssl-keyfile-password"), refused(keyPassword)),
		u(flags(One, "--ssl-version"), lost("see --tls-min-version")),
		u(flags(One, "--ssl-cert-reqs"), changed("client-certs", "is --client-certs"), by(certReqs)),
		u(flags(One, "--ssl-ca-certs"), changed("ca-certs", "is --ca-certs"), by(func(v any) result { return one(Changed, "ca-certs", v) })),
		u(flags(One, "--ssl-ciphers"), changed("ciphers", "is --ciphers")),
		u(flags(One, "--header"), lost("hostler adds no fields to responses: have the application or the proxy do it")),
		u(flags(One, "--app-dir"), changed("pythonpath", "is --pythonpath")),
		u(flags(One, "--h11-max-incomplete-event-size"), lost("see --limit-request-line, --limit-request-fields and --limit-request-field-size")),
		u(flags(Nothing, "--reset-contextvars"), idle("each request has context variables of its own, always")),
		u(flags(Nothing, "--http2"), idle("see --http-protocols, and --http2-cleartext without TLS")),
		u(flags(Nothing, "--factory"), changed(partFactory, "is MODULE:FACTORY()"), fixed(partFactory, "true")),
	}
}

func prefixed(here, prefix string, v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	return result{fate: Changed, gives: []Given{{here, []string{prefix + t}}}}
}
