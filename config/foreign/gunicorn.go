package foreign

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"hostler/settings"
)

// gunicorn returns Gunicorn's settings, in the order of its documentation. A test
// compares them with those of the newest one.
func gunicorn() []*setting {
	g := func(key string, entries ...entry) *setting { return newSetting(Gunicorn, key, entries...) }
	const (
		dirty   = "there are no dirty workers: give slow requests threads of their own with --pool, or a task queue the work"
		http2   = "is fixed here, and bounded by what a worker may buffer (--limit-buffers)"
		strict  = "such requests are answered 400 here, always: proxies and servers that read them differently can be played off against each other"
		logging = "hostler's own log is not Python's logging: see --error-log, --access-log, --log-level"
		syslog  = "hostler writes to files and standard error: let journald, or the collector of the container's output, take it from there"
		statsd  = "hostler speaks Prometheus: scrape /metrics at --admin-bind"
		reload  = "hostler watches with inotify"
		uwsgi   = "hostler speaks HTTP only: in nginx, proxy_pass instead of uwsgi_pass"
	)
	return []*setting{
		g("config", flags(One, "-c", "--config"), same("config")),
		g("wsgi_app", same("app")),

		g("control_socket", flags(One, "--control-socket"), changed("ctl-socket", "the socket is for hostler ctl; gunicornc does not speak to it")),
		g("control_socket_mode", flags(One, "--control-socket-mode"), idle("the control socket is the server's user's alone (0600), always"), harmless("384", "0600", "0o600")),
		g("control_socket_disable", flags(Nothing, "--no-control-socket"), changed("ctl-socket", ""), fixed("ctl-socket", "off")),

		g("reload", flags(Nothing, "--reload"), same("reload")),
		g("reload_engine", flags(One, "--reload-engine"), idle(reload)),
		g("reload_extra_files", flags(One, "--reload-extra-file"), same("reload-extra")),
		g("spew", flags(Nothing, "--spew"), lost("nothing prints every line that runs: hostler ctl profile shows where the time goes, hostler ctl dump where each thread is")),
		g("check_config", flags(Nothing, "--check-config"), changed("check", ""), fixed("check", "true")),
		g("print_config", flags(Nothing, "--print-config"), changed("print-config", ""), fixed("print-config", "true")),

		g("on_dirty_starting", lost(dirty), isHook),
		g("dirty_post_fork", lost(dirty), isHook),
		g("dirty_worker_init", lost(dirty), isHook),
		g("dirty_worker_exit", lost(dirty), isHook),
		g("dirty_apps", flags(One, "--dirty-app"), refused(dirty)),
		g("dirty_workers", flags(One, "--dirty-workers"), lost(dirty), harmless("0")),
		g("dirty_timeout", flags(One, "--dirty-timeout"), lost(dirty), harmless("300")),
		g("dirty_threads", flags(One, "--dirty-threads"), lost(dirty), harmless("1")),
		g("dirty_graceful_timeout", flags(One, "--dirty-graceful-timeout"), lost(dirty), harmless("30")),

		g("http_protocols", flags(One, "--http-protocols"), same("http-protocols"), by(protocols)),
		g("http2_cleartext", flags(One, "--http2-cleartext"), changed("http2-cleartext", "`prior-knowledge` is `true`; whoever does not begin so is served HTTP/1.1; `Upgrade: h2c` is not answered"), by(cleartext)),
		g("http2_max_concurrent_streams", flags(One, "--http2-max-concurrent-streams"), lost("128 streams a connection are allowed, always"), harmless("100", "128")),
		g("http2_initial_window_size", flags(One, "--http2-initial-window-size"), lost(http2), harmless("65535")),
		g("http2_max_frame_size", flags(One, "--http2-max-frame-size"), lost(http2), harmless("16384")),
		g("http2_max_header_list_size", flags(One, "--http2-max-header-list-size"), lost("the limits of heads are those of HTTP/1.1: --limit-request-line, --limit-request-fields, --limit-request-field-size"), harmless("65536")),

		g("accesslog", flags(One, "--access-logfile"), same("access-log")),
		g("disable_redirect_access_to_syslog", flags(Nothing, "--disable-redirect-access-to-syslog"), idle("the access log goes to --access-log alone")),
		g("access_log_format", flags(One, "--access-logformat"), same("access-log-format"), harmless(`%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"`)),
		g("errorlog", flags(One, "--error-logfile", "--log-file"), same("error-log")),
		g("loglevel", flags(One, "--log-level"), same("log-level")),
		g("capture_output", flags(Nothing, "--capture-output"), same("capture-output")),
		g("logger_class", flags(One, "--logger-class"), lost(logging), harmless("gunicorn.glogging.Logger", "simple")),
		g("logconfig", flags(One, "--log-config"), lost("hostler's own log is not Python's logging; for the application's call logging.config.fileConfig in it, or give logconfig_dict in gunicorn.conf.py")),
		g("logconfig_dict", changed("", "is applied in each worker, before the application is imported; hostler's own log and the access log do not go by it"), by(logDict)),
		g("logconfig_json", flags(One, "--log-config-json"), lost("hostler's own log is not Python's logging; for the application's give logconfig_dict in gunicorn.conf.py")),
		g("syslog_addr", flags(One, "--log-syslog-to"), lost(syslog), harmless("udp://localhost:514", "unix:///var/run/syslog", "unix:///var/run/log")),
		g("syslog", flags(Nothing, "--log-syslog"), lost(syslog)),
		g("syslog_prefix", flags(One, "--log-syslog-prefix"), lost(syslog)),
		g("syslog_facility", flags(One, "--log-syslog-facility"), lost(syslog), harmless("user")),
		g("enable_stdio_inheritance", flags(Nothing, "-R", "--enable-stdio-inheritance"), idle("workers have hostler's standard output and error, always")),
		g("statsd_host", flags(One, "--statsd-host"), lost(statsd)),
		g("dogstatsd_tags", flags(One, "--dogstatsd-tags"), lost(statsd)),
		g("statsd_prefix", flags(One, "--statsd-prefix"), lost(statsd)),
		g("enable_backlog_metric", flags(Nothing, "--enable-backlog-metric"), idle("what waits is in /metrics, always")),

		g("proc_name", flags(One, "-n", "--name"), same("name")),
		g("default_proc_name", idle("without --name a process is called after the application")),

		g("keyfile", flags(One, "--keyfile"), same("keyfile")),
		g("certfile", flags(One, "--certfile"), same("certfile")),
		g("ssl_version", flags(One, "--ssl-version"), idle("Gunicorn ignores it, too: the lowest version is --tls-min-version (1.2)")),
		g("cert_reqs", flags(One, "--cert-reqs"), changed("client-certs", "1 is `optional`, 2 `required`; with 0 no client is asked, and ca_certs does nothing"), by(certReqs)),
		g("ca_certs", flags(One, "--ca-certs"), changed("ca-certs", "as a flag of hostler's it has clients show a certificate unless --client-certs says else; in gunicorn.conf.py and GUNICORN_CMD_ARGS cert_reqs says, as ever"), by(func(v any) result { return one(Same, "ca-certs", v) })),
		g("suppress_ragged_eofs", flags(Nothing, "--suppress-ragged-eofs"), idle("a client that leaves without TLS's goodbye is no error here")),
		g("do_handshake_on_connect", flags(Nothing, "--do-handshake-on-connect"), idle("a handshake occupies no Python thread here")),
		g("ciphers", flags(One, "--ciphers"), same("ciphers")),

		g("limit_request_line", flags(One, "--limit-request-line"), same("limit-request-line")),
		g("limit_request_fields", flags(One, "--limit-request-fields"), same("limit-request-fields")),
		g("limit_request_field_size", flags(One, "--limit-request-field_size"), same("limit-request-field-size")),

		g("on_starting", same("hooks"), isHook),
		g("on_reload", same("hooks"), isHook),
		g("when_ready", changed("hooks", "runs when the first workers serve, not before there are any"), isHook),
		g("pre_fork", changed("hooks", "runs when a worker is started, in the process of the hooks: what it does to that process the worker does not see"), isHook),
		g("post_fork", same("hooks"), isHook),
		g("post_worker_init", same("hooks"), isHook),
		g("worker_int", lost("is not run: SIGINT and SIGQUIT are the master's, and a worker that has to leave at once is not asked"), isHook),
		g("worker_abort", changed("hooks", "runs in a worker that is given up because a request does not end, where its main thread comes back to Python in time; the tracebacks are in the log anyway"), isHook),
		g("pre_exec", lost("is not run: SIGUSR2 starts the new binary as a process of its own; on_starting runs there"), isHook),
		g("pre_request", changed("hooks", "wraps the application: `req` has method, path, query, uri, version, scheme, headers and remote_addr, and no body"), isHook),
		g("post_request", changed("hooks", "runs when the response has been given to the server, which may still be sending it"), isHook),
		g("child_exit", same("hooks"), isHook),
		g("worker_exit", same("hooks"), isHook),
		g("nworkers_changed", same("hooks"), isHook),
		g("on_exit", same("hooks"), isHook),
		g("ssl_context", changed("tls-min-version", "TLS is Go's: it is called once when the file is read, and of what it returns the lowest version and whether clients are asked for certificates are taken; see --ciphers, --ca-certs"), isHook),

		g("preload_app", flags(Nothing, "--preload"), same("preload")),
		g("sendfile", flags(Nothing, "--no-sendfile"), idle("files are sent with sendfile(2) where that works, and otherwise where it does not"), by(func(any) result { return result{fate: Idle, why: "files are sent with sendfile(2) where that works"} })),
		g("reuse_port", flags(Nothing, "--reuse-port"), idle("the kernel wakes one worker for a connection here, the one that has waited longest")),
		g("chdir", flags(One, "--chdir"), same("chdir")),
		g("daemon", flags(Nothing, "-D", "--daemon"), refused("run hostler under systemd or another supervisor")),
		g("raw_env", flags(One, "-e", "--env"), same("env")),
		g("pidfile", flags(One, "-p", "--pid"), same("pid")),
		g("worker_tmp_dir", flags(One, "--worker-tmp-dir"), idle("hostler needs no such directory: heartbeats are in shared memory")),
		g("user", flags(One, "-u", "--user"), same("user")),
		g("group", flags(One, "-g", "--group"), same("group")),
		g("umask", flags(One, "-m", "--umask"), same("umask"), by(umask)),
		g("initgroups", flags(Nothing, "--initgroups"), idle("workers have all groups of their user, always")),
		g("tmp_upload_dir", changed("spool-dir", "large bodies go to a file there before the application is called")),
		g("secure_scheme_headers", changed("forwarded-headers", "X-Forwarded-Proto and X-Forwarded-Ssl are believed of --forwarded-allow-ips"), by(schemeHeaders)),
		g("forwarded_allow_ips", flags(One, "--forwarded-allow-ips"), same("forwarded-allow-ips"), mayBeEmpty, by(forwardedAllow)),
		g("pythonpath", flags(One, "--pythonpath"), same("pythonpath")),
		g("paste", flags(One, "--paste", "--paster"), same("paste")),
		g("proxy_protocol", flags(Maybe, "--proxy-protocol"), same("proxy-protocol"), by(proxyProtocol)),
		g("proxy_allow_ips", flags(One, "--proxy-allow-from"), same("proxy-allow-ips"), mayBeEmpty),
		g("protocol", flags(One, "--protocol"), refused(uwsgi), harmless("http")),
		g("uwsgi_allow_ips", flags(One, "--uwsgi-allow-from"), lost(uwsgi), harmless("127.0.0.1,::1")),
		g("raw_paste_global_conf", flags(One, "--paste-global"), refused("PasteDeploy files get no variables from the command line: write them into [DEFAULT]")),
		g("permit_obsolete_folding", flags(Nothing, "--permit-obsolete-folding"), lost(strict)),
		g("strip_header_spaces", flags(Nothing, "--strip-header-spaces"), lost(strict)),
		g("permit_unconventional_http_method", flags(Nothing, "--permit-unconventional-http-method"), idle("every method that is a token is served")),
		g("permit_unconventional_http_version", flags(Nothing, "--permit-unconventional-http-version"), lost("HTTP/1.0, HTTP/1.1 and HTTP/2 are served, and nothing else")),
		g("casefold_http_method", flags(Nothing, "--casefold-http-method"), lost("a method is passed on as the client writes it: `get` is not GET")),
		g("forwarder_headers", flags(One, "--forwarder-headers"), lost("no field becomes SCRIPT_NAME or PATH_INFO by its name: for the mount point see X-Forwarded-Prefix and --forwarded-headers prefix"), harmless("SCRIPT_NAME,PATH_INFO")),
		g("header_map", flags(One, "--header-map"), lost("fields with an underscore in their name do not reach the application, always"), harmless("drop")),
		g("root_path", flags(One, "--root-path"), changed("env", "is --env SCRIPT_NAME=PREFIX"), by(mountPoint)),

		g("bind", flags(One, "-b", "--bind"), same("bind"), by(bind)),
		g("backlog", flags(One, "--backlog"), same("backlog")),

		g("workers", flags(One, "-w", "--workers"), same("workers"), by(capped("workers", mostWorkers))),
		g("worker_class", flags(One, "-k", "--worker-class"), changed("interface", "sync and gthread are what there is anyway, with --threads threads; gevent is --loop gevent; those for ASGI (uvicorn's, Gunicorn's own, hypercorn's) are --interface asgi; others are refused"), by(workerClass)),
		g("threads", flags(One, "--threads"), same("threads"), by(capped("threads", mostThreads))),
		g("worker_connections", flags(One, "--worker-connections"), same("worker-connections")),
		g("max_requests", flags(One, "--max-requests"), same("max-requests")),
		g("max_requests_jitter", flags(One, "--max-requests-jitter"), same("max-requests-jitter")),
		g("timeout", flags(One, "-t", "--timeout"), changed("timeout", "is for each request, with threads, too: that is interrupted and answered 504, and the worker lives")),
		g("graceful_timeout", flags(One, "--graceful-timeout"), same("graceful-timeout")),
		g("keepalive", flags(One, "--keep-alive"), same("keep-alive")),
		g("asgi_loop", flags(One, "--asgi-loop"), changed("loop", "is --loop"), harmless("auto")),
		g("asgi_lifespan", flags(One, "--asgi-lifespan"), changed("lifespan", "is --lifespan"), harmless("auto")),
		g("asgi_disconnect_grace_period", flags(One, "--asgi-disconnect-grace-period"), changed("disconnect-grace", "is --disconnect-grace"), harmless("3")),
		g("websocket_max_message_size", flags(One, "--websocket-max-message-size"), changed("ws-max-size", "is --ws-max-size"), harmless("16777216")),
		g("http_parser", flags(One, "--http-parser"), idle("the parser is hostler's own, compiled, and as strict as may be")),
		// No settings, but on its command line.
		g("", flags(Nothing, "-v"), changed("version", ""), fixed("version", "true")),
	}
}

// Bounds of ours that Gunicorn does not have; package config has a test that they
// are the table's.
const (
	mostWorkers = 128
	mostThreads = 256
)

// one is a value that becomes one setting of ours.
func one(fate Fate, here string, v any) result {
	t, err := texts(v)
	if err != nil {
		return result{err: err}
	}
	return result{fate: fate, gives: []Given{{here, t}}}
}

// capped takes a number down to the most that there may be.
func capped(here string, most int) func(any) result {
	return func(v any) result {
		t, err := text(v)
		if err != nil {
			return result{err: err}
		}
		if n, err := strconv.Atoi(t); err == nil && n > most {
			return result{fate: Changed, why: fmt.Sprintf("%d becomes %d, the most that there may be", n, most), gives: []Given{{here, []string{strconv.Itoa(most)}}}}
		}
		return result{fate: Same, gives: []Given{{here, []string{t}}}}
	}
}

func workerClass(v any) result {
	name, isObject := object(v)
	if !isObject {
		var err error
		if name, err = text(v); err != nil {
			return result{err: err}
		}
	}
	low := strings.ToLower(name[strings.LastIndexAny(name, ".#:")+1:])
	kinds := strings.ToLower(strings.Join(append(bases(v), name), " ")) // of a class, what it is made of
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(kinds, w) })
	}
	switch {
	case low == "sync" || low == "syncworker" || low == "gthread" || low == "threadworker":
		return result{fate: Same}
	case says("trio"):
		return result{fate: Refused, why: name + " runs Trio's loop, which hostler does not have: asyncio and uvloop it has (--loop)"}
	case says("aiohttp"):
		return result{fate: Refused, why: name + " is for aiohttp.web, whose applications are neither WSGI nor ASGI: they are served by aiohttp alone"}
	case says("uvloop"):
		return result{fate: Same, gives: []Given{{"interface", []string{"asgi"}}, {"loop", []string{"uvloop"}}}}
	case says("uvicorn", "asgi", "hypercorn", "daphne") || low == "asyncio":
		return result{fate: Same, gives: []Given{{"interface", []string{"asgi"}}}}
	case says("eventlet"):
		return result{fate: Refused, why: name + " runs greenlets of eventlet's, whose own authors advise to leave it: take --loop gevent, or --threads (each serves a request at a time, up to 256 a worker; waiting clients need none)"}
	case says("gevent"):
		return result{fate: Changed, why: name + " is --loop gevent", gives: []Given{{"loop", []string{settings.LoopGevent}}}}
	case says("tornado"):
		return result{fate: Refused, why: name + " runs Tornado's loop, which hostler does not have: its WSGI applications run with --threads"}
	case isObject && says("gunicorn.workers.sync.", "gunicorn.workers.gthread."):
		return result{fate: Same}
	}
	return result{fate: Refused, why: fmt.Sprintf("%q is no kind of worker that is known here: give the one that it is made of, sync, gthread, gevent or uvicorn.workers.UvicornWorker", name)}
}

// mountPoint is below which path the application is, whether or not the proxy takes that
// off.
func mountPoint(v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	if t = strings.TrimRight(t, "/"); t == "" {
		return result{fate: Same}
	}
	if !strings.HasPrefix(t, "/") {
		return result{err: fmt.Errorf("%q does not begin with /", t)}
	}
	return result{fate: Changed, gives: []Given{{"env", []string{"SCRIPT_NAME=" + t}}}}
}

// bind takes Gunicorn's ways to write an address.
func bind(v any) result {
	list, err := texts(v)
	if err != nil {
		return result{err: err}
	}
	r := result{fate: Same}
	var all []string
	for _, t := range list {
		for _, a := range strings.Split(t, ",") {
			if a = strings.TrimSpace(a); a == "" {
				continue
			}
			all = append(all, address(a))
		}
	}
	if len(all) > 0 {
		r.gives = []Given{{"bind", all}}
	}
	return r
}

// address is a as hostler writes it: Gunicorn's has a default port, and prefixes.
func address(a string) string {
	if strings.HasPrefix(a, "fd://") {
		return a
	}
	if strings.HasPrefix(a, "unix:") {
		return "unix:" + strings.TrimPrefix(strings.TrimPrefix(a, "unix:"), "//")
	}
	a = strings.TrimPrefix(a, "tcp://")
	switch ip, err := netip.ParseAddr(strings.Trim(a, "[]")); {
	case err == nil && ip.Is6():
		return "[" + ip.String() + "]:8000"
	case !strings.Contains(a, ":"):
		return a + ":8000"
	}
	return a
}

// umask takes a number, whose digits were octal in the file, or a text, which
// Gunicorn reads as Python does, and with one zero in front as octal, too.
func umask(v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	if _, isText := v.(string); isText && len(t) > 1 && t[0] == '0' && t[1] >= '0' && t[1] <= '9' {
		t = "0o" + t[1:]
	}
	n, err := strconv.ParseUint(t, 0, 16)
	if err != nil {
		return result{err: fmt.Errorf("%q is no mode", t)}
	}
	if n == 0 {
		return result{fate: Same} // Gunicorn's default, which leaves it as it is
	}
	return result{fate: Same, gives: []Given{{"umask", []string{fmt.Sprintf("%03o", n)}}}}
}

// forwardedAllow: to Gunicorn, who connects to a unix socket is always trusted.
func forwardedAllow(v any) result {
	list, err := texts(v)
	if err != nil {
		return result{err: err}
	}
	if !slices.Contains(list, "*") { // which is everybody
		list = append(list, "unix")
	}
	return result{fate: Same, gives: []Given{{"forwarded-allow-ips", []string{strings.Join(list, ",")}}}}
}

func proxyProtocol(v any) result {
	if v == true {
		v = "auto"
	}
	if v == false {
		v = "off"
	}
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	return result{fate: Same, gives: []Given{{"proxy-protocol", []string{strings.ToLower(t)}}}}
}

func protocols(v any) result {
	list, err := texts(v)
	if err != nil {
		return result{err: err}
	}
	r := result{fate: Same}
	var all []string
	for _, p := range strings.Split(strings.Join(list, ","), ",") {
		switch p = strings.ToLower(strings.TrimSpace(p)); p {
		case "":
		case "h3":
			r.fate, r.why = Changed, "there is no HTTP/3"
		default:
			all = append(all, p)
		}
	}
	r.gives = []Given{{"http-protocols", []string{strings.Join(all, ",")}}}
	return r
}

func cleartext(v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	on := []Given{{"http2-cleartext", []string{"true"}}}
	switch strings.ToLower(t) {
	case "off", "false":
		return result{fate: Same}
	case "true", "prior-knowledge":
		return result{fate: Changed, gives: on, why: "for whoever begins with HTTP/2, from any address; others are served HTTP/1.1"}
	case "both":
		return result{fate: Changed, gives: on, why: "for whoever begins with HTTP/2; `Upgrade: h2c` is not answered"}
	case "upgrade":
		return result{fate: Lost, why: "`Upgrade: h2c` is not answered: a proxy begins with HTTP/2 (--http2-cleartext) or speaks HTTP/1.1"}
	}
	return result{err: fmt.Errorf("%q is none of off, prior-knowledge, upgrade and both", t)}
}

func certReqs(v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	switch strings.TrimPrefix(strings.ToUpper(t), "VERIFYMODE.") {
	case "0", "CERT_NONE":
		return result{fate: Same}
	case "1", "CERT_OPTIONAL":
		return result{fate: Same, gives: []Given{{"client-certs", []string{"optional"}}}}
	case "2", "CERT_REQUIRED":
		return result{fate: Same, gives: []Given{{"client-certs", []string{"required"}}}}
	}
	return result{err: fmt.Errorf("%q is none of 0, 1 and 2", t)}
}

func logDict(v any) result {
	if _, ok := v.(map[string]any); !ok {
		return result{err: fmt.Errorf("is %s, and no dictionary", kind(v))}
	}
	return result{fate: Changed, why: "is applied in each worker, before the application is imported; hostler's own log does not go by it"}
}

// schemeHeaders are fields that say that a client came by https.
func schemeHeaders(v any) result {
	m, ok := v.(map[string]any)
	if !ok {
		return result{err: fmt.Errorf("is %s, and no dictionary", kind(v))}
	}
	var others []string
	for name, value := range m {
		t, _ := text(value)
		switch strings.ReplaceAll(strings.ToUpper(name), "_", "-") + ":" + strings.ToLower(t) {
		case "X-FORWARDED-PROTOCOL:ssl", "X-FORWARDED-PROTO:https", "X-FORWARDED-SSL:on":
		default:
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		return result{fate: Lost, why: "only X-Forwarded-Proto and X-Forwarded-Ssl say that a client came by https: have the proxy set one of them"}
	}
	return result{fate: Same}
}
