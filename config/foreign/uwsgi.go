package foreign

import (
	"strings"

	"hostler/settings"
)

// uwsgi returns the settings of uWSGI that people use, of its thousand. On the
// command line they are flags of the same name with two dashes.
func uwsgi() []*setting {
	u := func(key string, entries ...entry) *setting {
		s := newSetting(UWSGI, key, append([]entry{flags(One, "--"+key)}, entries...)...)
		return s
	}
	// on is a switch.
	on := func(key string, entries ...entry) *setting {
		return newSetting(UWSGI, key, append([]entry{flags(Maybe, "--"+key)}, entries...)...)
	}
	const (
		proto   = "speaks uwsgi, and hostler HTTP only: give --bind, and in nginx proxy_pass instead of uwsgi_pass"
		spoke   = "spoke uwsgi, and this is HTTP: nginx needs proxy_pass http://ADDRESS, or http://unix:FILE, instead of uwsgi_pass, and proxy_set_header as in deploy/nginx"
		greens  = "runs greenlets or a loop, which hostler has no counterpart of: take --loop gevent, or --threads"
		beside  = "hostler runs nothing beside the application: give that a unit of its own"
		always  = "is so, always"
		logs    = "see --access-log, --access-log-format and --error-log"
		touch   = "there is no file to touch: kill -HUP, or hostler ctl reload"
		isIt    = "hostler is one master with workers, always"
		noCache = "hostler has no cache, no locks and no messages between workers: use Redis or the like"
		routes  = "hostler routes and rewrites nothing: have the proxy do it"
	)
	return []*setting{
		u("ini", refused("hostler migrate FILE.ini prints a hostler.toml for it")),
		u("yaml", refused("hostler migrate reads uwsgi.ini; YAML, JSON and XML have to be written by hand")),
		u("json", refused("hostler migrate reads uwsgi.ini; YAML, JSON and XML have to be written by hand")),
		u("xml", refused("hostler migrate reads uwsgi.ini; YAML, JSON and XML have to be written by hand")),
		u("http", changed("bind", "is --bind"), by(httpAddress)),
		u("http-socket", changed("bind", "is --bind"), by(uwsgiAddress)),
		u("https", refused("is --bind, --certfile and --keyfile")),
		u("socket", refused(proto), inDraft(spoke, uwsgiAddress)),
		u("uwsgi-socket", refused(proto), inDraft(spoke, uwsgiAddress)),
		u("fastcgi-socket", refused("hostler speaks HTTP only")),
		u("scgi-socket", refused("hostler speaks HTTP only")),
		u("chmod-socket", flags(Maybe, "--chmod-socket"), lost(socketMode)),
		u("chown-socket", lost("the file of a socket is whoever's starts hostler (systemd: SocketUser= of a socket unit)")),
		u("listen", changed("backlog", "is --backlog")),
		u("reuse-port", flags(Maybe, "--reuse-port"), idle("the kernel wakes one worker for a connection here")),

		u("wsgi-file", changed(partFile, "is MODULE, and the file's directory goes to --pythonpath")),
		u("file", changed(partFile, "is MODULE, and the file's directory goes to --pythonpath")),
		u("module", changed(partModule, "is MODULE:ATTR")),
		u("wsgi", changed(partModule, "is MODULE:ATTR")),
		u("callable", changed(partCallable, "is the ATTR of MODULE:ATTR")),
		u("mount", refused("one application is served: MODULE:ATTR, and SCRIPT_NAME in --env says where it is mounted")),
		on("manage-script-name", idle("SCRIPT_NAME comes from the environment, or from X-Forwarded-Prefix")),
		u("paste", same("paste")),
		u("ini-paste", changed("paste", "is --paste")),
		u("env", same("env")),
		u("chdir", same("chdir")),
		u("chdir2", changed("chdir", "is --chdir")),
		u("pythonpath", same("pythonpath")),
		u("python-path", changed("pythonpath", "is --pythonpath")),
		u("pp", changed("pythonpath", "is --pythonpath")),
		u("virtualenv", changed("python", "is --python DIR/bin/python"), by(environment)),
		u("venv", changed("python", "is --python DIR/bin/python"), by(environment)),
		u("home", changed("python", "is --python DIR/bin/python"), by(environment)),
		u("pyhome", changed("python", "is --python DIR/bin/python"), by(environment)),
		u("plugins", idle("there are no plugins")),
		u("plugin", idle("there are no plugins")),

		u("processes", changed(partMost, "is --workers")),
		u("workers", changed(partMost, "is --workers")),
		u("threads", same("threads"), by(capped("threads", mostThreads))),
		u("cheaper", changed(partLeast, "with processes it is --workers MIN:MAX")),
		u("cheaper-initial", idle("the number goes by need, from the least on")),
		u("cheaper-step", idle("the number goes by need")),
		u("cheaper-algo", idle("the number goes by need")),
		u("cheaper-overload", idle("the number goes by need")),
		on("master", idle(isIt)),
		on("enable-threads", idle("the application may have threads, "+always)),
		on("single-interpreter", idle(always)),
		on("need-app", idle(always)),
		on("strict", idle(always)),
		on("vacuum", idle("the files of sockets and the pid file are removed in the end, always")),
		on("die-on-term", idle("SIGTERM ends hostler, when what runs has been answered")),
		on("no-orphans", idle(always)),
		on("lazy-apps", idle("each worker imports the application, unless --preload is given")),
		on("lazy", idle("each worker imports the application, unless --preload is given")),
		on("thunder-lock", idle("the kernel wakes one worker for a connection, always")),
		on("py-call-osafterfork", idle(always)),
		on("py-autoreload", changed("reload", "is --reload"), fixed("reload", "true")),
		on("auto-procname", idle(always)),
		u("procname", changed("name", "is --name")),
		u("procname-prefix", changed("name", "is --name")),
		u("procname-prefix-spaced", changed("name", "is --name")),
		u("uid", changed("user", "is --user")),
		u("gid", changed("group", "is --group")),
		u("umask", same("umask"), by(umask)),
		u("pidfile", changed("pid", "is --pid")),
		u("pidfile2", changed("pid", "is --pid")),
		u("safe-pidfile", changed("pid", "is --pid")),
		u("daemonize", refused("run hostler under systemd or another supervisor; the log is --error-log")),
		u("daemonize2", refused("run hostler under systemd or another supervisor; the log is --error-log")),

		u("harakiri", changed("timeout", "is --timeout: the request is interrupted and answered 504, and the worker lives")),
		on("harakiri-verbose", idle("the tracebacks of all threads are logged, always")),
		u("max-requests", same("max-requests")),
		u("max-requests-delta", changed("max-requests-jitter", "is --max-requests-jitter")),
		u("max-worker-lifetime", changed("max-age", "is --max-age")),
		u("max-worker-lifetime-delta", idle("see --recycle-jitter")),
		u("min-worker-lifetime", idle("hostler paces that itself")),
		u("reload-on-rss", changed("max-memory", "is --max-memory, in MiB"), by(mebibytes("max-memory"))),
		u("reload-on-as", lost("address space is no memory: see --max-memory")),
		u("evil-reload-on-rss", changed("max-memory-hard", "is --max-memory-hard, in MiB"), by(mebibytes("max-memory-hard"))),
		u("evil-reload-on-as", lost("address space is no memory: see --max-memory-hard")),
		u("worker-reload-mercy", changed("graceful-timeout", "is --graceful-timeout")),
		u("reload-mercy", changed("graceful-timeout", "is --graceful-timeout")),
		u("touch-reload", lost(touch)),
		u("py-touch-reload", lost(touch)),
		u("touch-chain-reload", lost(touch)),
		u("touch-workers-reload", lost(touch)),
		u("touch-logreopen", lost("there is no file to touch: kill -USR1 opens the logs anew")),

		u("buffer-size", idle("a head may have 64 KiB: see --limit-request-line and --limit-request-field-size")),
		u("post-buffering", idle("bodies are there before the application is called, always: see --spool-limit")),
		u("limit-post", changed("limit-request-body", "is --limit-request-body")),
		u("http-timeout", lost("see --timeout, --body-timeout and --write-timeout")),
		u("socket-timeout", lost("see --body-timeout and --write-timeout")),
		u("http-keepalive", flags(Maybe, "--http-keepalive"), idle("connections stay open for --keep-alive seconds")),
		on("http-auto-chunked", idle(always)),
		u("so-keepalive", flags(Maybe, "--so-keepalive"), idle("silent clients are closed by --keep-alive and --body-timeout")),
		u("offload-threads", idle("slow clients and files occupy no Python thread")),
		u("static-map", changed("static", "is --static")),
		u("static-index", lost("files are served as docs/static.md says")),
		u("static-expires", lost("files are served as docs/static.md says")),
		u("check-static", refused("is --static URL=DIR")),

		u("logto", changed("error-log", "is --error-log; requests go to --access-log")),
		u("logto2", changed("error-log", "is --error-log; requests go to --access-log")),
		on("disable-logging", changed("access-log", ""), fixed("access-log", "off")),
		u("log-format", lost(logs)),
		u("logformat", lost(logs)),
		u("logger", lost(logs)),
		u("req-logger", lost(logs)),
		u("log-maxsize", lost("have logrotate move the files, and send SIGUSR1")),
		on("log-x-forwarded-for", idle("the log has the client's address, where the proxy is believed (--forwarded-allow-ips)")),
		on("log-4xx", idle("with --access-log every request is logged")),
		on("log-5xx", idle("with --access-log every request is logged")),
		u("log-slow", changed("slow-request", "is --slow-request, in milliseconds there"), by(func(v any) result {
			t, err := text(v)
			if err != nil {
				return result{err: err}
			}
			return result{fate: Changed, gives: []Given{{"slow-request", []string{t + "ms"}}}}
		})),
		on("log-date", idle(always)),
		on("log-master", idle(always)),
		on("memory-report", idle("memory is in /metrics and hostler ctl status")),
		u("stats", idle("numbers are at --admin-bind: /metrics, /status")),
		u("stats-server", idle("numbers are at --admin-bind: /metrics, /status")),
		on("ignore-sigpipe", idle("a client that leaves is no error")),
		on("ignore-write-errors", idle("a client that leaves is no error")),
		on("disable-write-exception", idle("a client that leaves is no error")),
		on("wsgi-disable-file-wrapper", idle("the file wrapper is right for everything that can be read")),
		on("close-on-exec", idle(always)),
		on("log-zero", idle("with --access-log every request is logged")),

		u("gevent", changed("loop", "is --loop gevent; the number is --worker-concurrency"), by(gevent)),
		on("gevent-monkey-patch", idle("is done with --loop gevent")),
		u("asyncio", refused(greens)),
		u("async", refused(greens)),
		u("ugreen", refused(greens)),
		on("http-websockets", lost("WebSockets need no option; uwsgi.websocket_… is not there, environ[\"hostler.websocket\"] is")),
		u("emperor", refused("each application is a unit of its own: systemctl start hostler@NAME")),
		u("attach-daemon", lost(beside)),
		u("smart-attach-daemon", lost(beside)),
		u("mule", lost(beside)),
		u("mules", lost(beside)),
		u("cron", lost(beside)),
		u("spooler", refused(beside)),
		u("import", lost(beside)),
		u("cache2", refused(noCache)),
		u("sharedarea", refused(noCache)),
		u("route", lost(routes)),
		u("add-header", lost("hostler adds no fields to responses: have the application or the proxy do it")),
		u("exec-asap", lost("have the unit run it (ExecStartPre=)")),
		u("hook-pre-app", lost("have the unit run it (ExecStartPre=)")),
		u("exec-pre-app", lost("have the unit run it (ExecStartPre=)")),
		u("hook-master-start", lost("see --hooks")),
		// Short ones that mean nothing else here.
		newSetting(UWSGI, "", flags(One, "-H"), changed("python", "is --python DIR/bin/python"), by(environment)),
		newSetting(UWSGI, "", flags(Nothing, "-M"), idle(isIt)),
		newSetting(UWSGI, "", flags(Maybe, "-T"), idle("the application may have threads, "+always)),
	}
}

// httpAddress is uWSGI's --http, or the parser that uvicorn and granian are to take.
func httpAddress(v any) result {
	switch t, err := text(v); {
	case err != nil:
		return result{err: err}
	case strings.Contains(" auto h11 httptools zttp 1 2 ", " "+t+" "):
		return result{fate: Idle}
	}
	return uwsgiAddress(v)
}

// uwsgiAddress takes uWSGI's ways to write an address.
func uwsgiAddress(v any) result {
	list, err := texts(v)
	if err != nil {
		return result{err: err}
	}
	all := make([]string, 0, len(list))
	for _, a := range list {
		a, _, _ = strings.Cut(a, ",") // what follows are options of the router's
		switch {
		case strings.HasPrefix(a, "*:"):
			a = a[1:]
		case strings.Contains(a, "/"):
			a = "unix:" + a
		case !strings.Contains(a, ":"):
			a = ":" + a
		}
		all = append(all, a)
	}
	return result{fate: Changed, gives: []Given{{"bind", all}}}
}

// environment is the interpreter of a virtual environment.
func environment(v any) result {
	t, err := text(v)
	if err != nil {
		return result{err: err}
	}
	return result{fate: Changed, gives: []Given{{"python", []string{strings.TrimRight(t, "/") + "/bin/python"}}}}
}

// gevent takes how many greenlets there are.
func gevent(v any) result {
	n, err := text(v)
	if err != nil {
		return result{err: err}
	}
	return result{fate: Changed, why: "is --loop gevent, with --worker-concurrency " + n,
		gives: []Given{{"loop", []string{settings.LoopGevent}}, {"worker-concurrency", []string{n}}}}
}
