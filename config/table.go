package config

import (
	"strings"

	"hostler/internal/logformat"
	"hostler/settings"
)

// Bounds that come from elsewhere in hostler: the scoreboard has slots for two
// generations of maxWorkers and records for maxThreads and maxPools in each, and a
// worker can be told to take maxFields headers, and maxHead bytes of them.
const (
	maxWorkers = 512
	maxThreads = 256
	// autoThreads is how many there are at most with --threads auto; each costs 70 kB.
	autoThreads = 32
	maxPools    = 16
	maxFields   = 1 << 15
	maxHead     = 1 << 20
)

// setting is one entry of the table.
type setting struct {
	name    string // flag, and with other punctuation variable and TOML key
	short   string // one-letter flag
	aliases []string
	group   string // heading in the help; "" for the positional argument
	arg     string // what the help calls the value; "" for a switch
	help    string // rest of a line in the help
	more    string // further sentences for the reference page
	def     string // default as one would write it; "" for empty

	// defaults are other people's environment variables that stand in for def.
	defaults []fallback
	// behind is the default behind a proxy of that kind: see presets.
	behind map[string]string
	// flagOnly marks what makes no sense but on the command line, noEnv what
	// does in the file too.
	flagOnly, noEnv bool

	value value
}

// fallback is an environment variable that Gunicorn also goes by.
type fallback struct {
	variable string
	prefix   string // what to put before its value
}

func (s *setting) positional() bool { return s.group == "" }

func (s *setting) variable() string {
	if s.flagOnly || s.noEnv {
		return ""
	}
	return "HOSTLER_" + strings.ToUpper(s.key())
}

func (s *setting) inFile() bool { return !s.flagOnly && s.name != "config" }

// key is the TOML key. The file may have dashes in it too.
func (s *setting) key() string { return strings.ReplaceAll(s.name, "-", "_") }

// groups of settings in the order of the help.
const (
	groupProcesses = "Processes"
	groupNetwork   = "Network"
	groupTLS       = "TLS and HTTP/2"
	groupPython    = "Python environment"
	groupLife      = "Life of a worker"
	groupLimits    = "Limits on requests"
	groupLogs      = "Logs and administration"
	groupOther     = "Other"
)

// table returns all settings, in the order of the help and the reference page.
// It is a function, so that nobody can change it for others.
func table() []*setting {
	return []*setting{
		{
			name: "app", arg: "MODULE[:ATTR | :FACTORY()]",
			help: "the application to serve",
			more: "A module as Python imports it, and in it the WSGI callable, or a function that makes one: `shop.wsgi`, `shop:app`, `shop:create_app()`. The function may be given literals: `shop:create_app('prod', debug=True)`. " +
				"Without `:ATTR` it is `application`, or `app` if there is no `application`.",
			value: custom("`MODULE[:ATTR]` or `MODULE:FACTORY()`", func(c *Config) *string { return &c.App }, parseApp),
		},

		{
			name: "workers", short: "w", group: groupProcesses, arg: "N[:MAX]", def: "1",
			help: "worker processes; auto: as many as CPUs; MIN:MAX: by need",
			more: "`auto` takes the CPU quota of the cgroup (rounded up), or the CPUs that the process may run on where these are fewer. SIGTTIN and SIGTTOU change the number while hostler runs. " +
				"With `MIN:MAX` it begins with the least, and there is a worker more when requests wait for a Python thread (two seconds long, one in ten for more than 25 ms), " +
				"as long as CPU is left for it, and memory for another worker of the present size. There is one fewer when half of the threads without it would have done for a minute. " +
				"A number set by a signal or `hostler ctl scale` holds, whatever the bounds say, until `hostler ctl scale auto`.",
			defaults: []fallback{{variable: "WEB_CONCURRENCY"}},
			value:    workers(),
		},
		{
			name: "threads", group: groupProcesses, arg: "N", def: "1",
			help: "Python threads per worker; auto: as many as help",
			more: "Each runs one request at a time. More than one suits applications that wait for databases and other services, and are made for threads. " +
				"With `auto` there are up to 32: one more where requests wait while all threads are away and the GIL is free, one fewer where requests wait for the GIL for a good part of their time.",
			value: threads(),
		},
		{
			name: "user", short: "u", group: groupProcesses, arg: "USER",
			help:  "run workers as this user (name or number)",
			more:  "The master stays who it is, having bound the addresses; it must be root. Workers get the user's groups, the supplementary ones included, and open their log files as this user.",
			value: text(func(c *Config) *string { return &c.User }),
		},
		{
			name: "group", short: "g", group: groupProcesses, arg: "GROUP",
			help:  "run workers in this group (name or number) [the user's]",
			value: text(func(c *Config) *string { return &c.Group }),
		},
		{
			name: "umask", short: "m", group: groupProcesses, arg: "MODE",
			help:  "octal umask of workers, e.g. 027",
			value: custom("an octal number up to 777", func(c *Config) *string { return &c.Umask }, parseUmask),
		},
		{
			name: "queue", group: groupProcesses, arg: "N", def: "512",
			help: "whole requests that may wait for a thread, per worker",
			more: "When as many wait, the next are answered 503 with Retry-After. Bursts of clients that keep connections open are queued, " +
				"as they would be in the listen queue of other servers, and at 10 ms a request the last in the queue of a one-thread worker still gets its answer within some five seconds. Less makes overload visible to clients sooner.",
			value: number(1, 1<<16, func(c *Config) *int { return &c.Queue }),
		},
		{
			name: "worker-concurrency", group: groupProcesses, arg: "N", def: "0",
			help:  "requests an event loop runs at once, per worker; 0: any",
			more:  "Of ASGI applications, and with `--loop gevent`. The next wait in the queue (`--queue`), or for a worker that has room; where that is full, they are answered 503 with Retry-After. Requests for which there is a `--pool` have that one's number instead.",
			value: number(0, 1<<20, func(c *Config) *int { return &c.WorkerConcurrency }),
		},
		{
			name: "pool", group: groupProcesses, arg: "NAME=PATTERN:THREADS",
			help: "keep paths to some of the threads; may be repeated",
			more: "Requests whose path matches PATTERN (`*` stands for anything, slashes too) run on at most THREADS threads of a worker at once: with `--threads 8 --pool export=/export*:2`, however many and slow the exports are, six threads are always there for the rest. " +
				"What exceeds that waits in a queue of the pool's own, of the length `--queue`, or goes to a worker that has room in the pool; other requests pass it by. A request belongs to the first pool that matches; " +
				"`--pool health=/health:8 --pool rest=*:7` keeps a thread for `/health`.",
			value: list("`NAME=PATTERN:THREADS`, e.g. `export=/export*:2`", ",", func(c *Config) *[]settings.Pool { return &c.Pools }, parsePool),
		},
		{
			name: "spare-thread", group: groupProcesses, def: "true",
			help: "keep the last free thread from routes known to be slow",
			more: "A route is slow when its latest three requests each took a thread for 10 ms or more; workers find out by themselves. While at most one request in five is slow, one to a slow route that would take the last free Python thread of all workers waits until there are two, " +
				"but no longer than its route usually takes (and 5 s). The quick requests then do not queue up behind slow ones. `hostler_requests_held_total` counts those that waited.",
			value: boolean(func(c *Config) *bool { return &c.SpareThread }),
		},
		{
			name: "queue-wait", group: groupProcesses, arg: "SECS", def: "1",
			help: "wait for a thread that is too long for all; 0: none is",
			more: "While every request of a second waits longer than this for a Python thread, and many do, more comes than the worker can do. Then those that have waited twice as long are answered 503 with Retry-After: early, and the others in time. " +
				"A short burst, or a few requests behind slow ones, are no such case.",
			value: duration(func(c *Config) timePtr { return &c.QueueWait }),
		},
		{
			name: "health-path", group: groupProcesses, arg: "PATH",
			help:  "path of a health check, which goes first; may be repeated",
			more:  "Requests for it stand first in the queue for a Python thread, and are never answered 503 for its length. (`/healthz` on `--admin-bind` needs no thread at all.)",
			value: list("a path that begins with /", "", func(c *Config) *[]string { return &c.HealthPaths }, parsePath),
		},
		{
			name: "worker-connections", group: groupProcesses, arg: "N", def: "10000",
			help: "connections per worker, idle ones included",
			more: "A connection at rest takes half a kilobyte. A worker with as many leaves new ones to other workers, and to make room closes some that do nothing: those that have rested for longest between requests, or else never asked for anything, for a second at least; " +
				"or else move fewer than 16 times `--min-rate` bytes. (`hostler_connections_evicted_total` counts them.) The number is lower where the limit of open files is (`ulimit -n`).",
			value: number(1, 1<<20, func(c *Config) *int { return &c.WorkerConnections }),
		},

		{
			name: "bind", short: "b", group: groupNetwork, arg: "ADDRESS", def: "127.0.0.1:8000",
			help: "HOST:PORT, :PORT, unix:PATH or fd://N; may be repeated",
			more: "An IPv6 address stands in brackets: `[::1]:8000`. Several addresses may also be given in one value with commas between them. `:PORT` listens on every address of the machine, IPv4 and IPv6. " +
				"Started by systemd with sockets (see `deploy/systemd/hostler.socket`), hostler takes these for the addresses that they have, and for all of them where no `--bind` is given. " +
				"`fd://N` is a socket that listens already, which another program that starts the server gives to it as the descriptor of that number.",
			defaults: []fallback{{variable: "PORT", prefix: "0.0.0.0:"}},
			value:    binds(func(c *Config) *[]settings.Bind { return &c.Binds }),
		},
		{
			name: "backlog", group: groupNetwork, arg: "N", def: "2048",
			help:  "length of the listen queue of each address",
			more:  "The kernel cuts it to `net.core.somaxconn`.",
			value: number(1, 1<<20, func(c *Config) *int { return &c.Backlog }),
		},
		{
			name: "keep-alive", aliases: []string{"keepalive"}, group: groupNetwork, arg: "SECS", def: "5",
			help: "close a connection idle this long; 0: after one response",
			more: "Long enough for a browser to fetch what a page needs next, short enough that clients that are gone do not fill `--worker-connections`. " +
				"Behind a proxy that keeps connections to hostler open, it has to be longer than the proxy's own limit, so that it is always the proxy that closes: " +
				"otherwise the proxy may send a request on a connection that is just being closed. `--behind` sees to that.",
			// The limits of the proxies themselves: 60 s (nginx's keepalive_timeout
			// in an upstream), 60 s (the idle timeout of an ALB), 600 s, 900 s.
			behind: map[string]string{presetNginx: "75", presetALB: "75", presetGCP: "650", presetCloudflare: "915"},
			value:  duration(func(c *Config) timePtr { return &c.KeepAlive }),
		},
		{
			name: "behind", group: groupNetwork, arg: "PROXY",
			help: "nginx, alb, gcp or cloudflare: defaults to suit it",
			more: "The defaults of `--keep-alive`, `--forwarded-allow-ips` and `--forwarded-headers` become those that suit this proxy; [Behind proxies](proxies.md) has a table of them. " +
				"What is given elsewhere holds against it.",
			value: custom("`nginx`, `alb` (AWS), `gcp` (Google Cloud) or `cloudflare`", func(c *Config) *string { return &c.Behind }, parsePreset),
		},
		{
			name: "forwarded-allow-ips", group: groupNetwork, arg: "IPS", def: "127.0.0.1,::1,unix",
			help: "trusted proxies: their X-Forwarded-* count",
			more: "Addresses and networks with commas between them. `*` trusts everyone, `unix` those that connect to a `unix:` address; an empty value nobody. A list holds as it stands: without `unix` in it, those are not trusted. (To Gunicorn they always are; so where its variable stands in for the default, `unix` is put to it.) " +
				"Only name proxies that set these headers themselves. From everyone else these fields mean nothing to hostler, and `--forwarded-untrusted` says what becomes of them.",
			// Who listens on a unix socket means the proxy that he lets connect to it.
			defaults: []fallback{{variable: "FORWARDED_ALLOW_IPS", prefix: "unix,"}},
			value:    peers(func(c *Config) *[]string { return &c.ForwardedAllowIPs }),
		},
		{
			name: "forwarded-untrusted", group: groupNetwork, arg: "WHAT", def: "keep",
			help: "X-Forwarded-* of other peers: keep or drop",
			more: "`keep` leaves them in environ as they came (HTTP_X_FORWARDED_FOR …), as other servers do; an application that trusts them must know who sent them. With `drop` they do not reach it. " +
				"Either way the first is logged, with its peer, and `hostler_forwarded_untrusted_total` counts them.",
			value: custom("`keep` or `drop`", func(c *Config) *string { return &c.ForwardedUntrusted }, parseForwardedUntrusted),
		},
		{
			name: "forwarded-headers", group: groupNetwork, arg: "LIST", def: "for,proto,forwarded",
			help: "which fields of trusted proxies count",
			more: "`for`: the client's address; `proto`: its scheme (X-Forwarded-Proto, X-Forwarded-Ssl); `host`: the host it asked for; `prefix`: the path that the application is mounted at. " +
				"`forwarded`: the field of RFC 7239 counts, too, for those of these that are in the list. `cf-connecting-ip`: Cloudflare's field for the client's address. " +
				"Name only what your proxy sets itself, or clients will. See [Behind proxies](proxies.md).",
			behind: map[string]string{
				presetNginx: "for,proto", presetALB: "for,proto", presetGCP: "for,proto",
				presetCloudflare: "cf-connecting-ip,proto",
			},
			value: list("`for`, `proto`, `host`, `prefix`, `forwarded` and `cf-connecting-ip` with commas between them", ",",
				func(c *Config) *[]string { return &c.ForwardedHeaders }, parseForwardedHeader),
		},
		{
			name: "static", group: groupNetwork, arg: "URL=DIR",
			help: "serve the files in DIR below URL; may be repeated",
			more: "`--static /static=./static`: GET and HEAD below `/static/` are answered from that directory, without the application, which never sees such a path: what is not there is a 404. " +
				"Of several, the longest URL counts. [Files](static.md) says what is served, and how.",
			value: list("`URL=DIR`, e.g. `/static=./static`", "", func(c *Config) *[]settings.Static { return &c.Static }, parseStatic),
		},
		{
			name: "error-page", group: groupNetwork, arg: "STATUS=FILE",
			help: "file for answers of hostler's own; may be repeated",
			more: "`--error-page 5xx=sorry.html --error-page 503=busy.html`: the body of the answers that hostler makes itself, as 500 where the application has raised, 503 where there is too much to do, 504 at `--timeout`, 404 of `--static`; never of the application's own. " +
				"A status comes before its class. The file's ending says its type: .html, .txt, .json or .xml. `{{request_id}}` in it becomes the request's identifier (`--request-id`; nothing where it has none). " +
				"Files are read by the master, at the start and at a reload, which fails if one is missing; they may have 256 kB, and all of them 1 MB. Without one the answer names the status and that identifier, in HTML for who asks for it, else as text. " +
				"In the file it may be a table: `[error_page]` and then `503 = \"busy.html\"`. See [http.md](http.md#answers-of-hostlers-own).",
			value: func() value {
				v := list("`STATUS=FILE`, e.g. `503=busy.html`", "", func(c *Config) *[]settings.ErrorPage { return &c.ErrorPages }, parseErrorPage)
				v.keyed = true
				return v
			}(),
		},
		{
			name: "proxy-protocol", group: groupNetwork, arg: "VERSION", def: "off",
			help:  "connections begin with a PROXY header: v1, v2, auto",
			more:  "Holds for connections from `--proxy-allow-ips`, which are closed if they do not begin so; others are plain HTTP. `auto` takes either version.",
			value: custom("`off`, `v1`, `v2` or `auto`", func(c *Config) *string { return &c.ProxyProtocol }, parseProxyProtocol),
		},
		{
			name: "proxy-allow-ips", group: groupNetwork, arg: "IPS", def: "127.0.0.1,::1",
			help:  "proxies that speak the PROXY protocol",
			more:  "As for `--forwarded-allow-ips`. It does nothing without `--proxy-protocol`.",
			value: peers(func(c *Config) *[]string { return &c.ProxyAllowIPs }),
		},

		{
			name: "certfile", group: groupTLS, arg: "FILE",
			help: "certificate chain in PEM; may be repeated",
			more: "With it, every `--bind` but `unix:` speaks HTTPS. Of several, each with its `--keyfile`, a client gets the one that suits the name it asks for (SNI), or else the first. " +
				"The master reads the files, so the workers' user need not be able to. They are looked at every few seconds, and a pair that has been replaced serves new connections; one that cannot be used leaves the old one in place, and shows in `hostler_tls_certificates_current`.",
			value: list("a file", "", func(c *Config) *[]string { return &c.TLS.Certs }, parseText),
		},
		{
			name: "keyfile", group: groupTLS, arg: "FILE",
			help:  "its private key in PEM [in the same file]; repeatable",
			value: list("a file", "", func(c *Config) *[]string { return &c.TLS.Keys }, parseText),
		},
		{
			name: "ca-certs", group: groupTLS, arg: "FILE",
			help:  "authorities whose certificates clients show, in PEM",
			more:  "What a client has shown is in environ by the names of Apache's mod_ssl: `SSL_CLIENT_VERIFY`, `SSL_CLIENT_S_DN`, `SSL_CLIENT_S_DN_CN`, `SSL_CLIENT_I_DN`, `SSL_CLIENT_M_SERIAL`, `SSL_CLIENT_V_START`, `SSL_CLIENT_V_END`, `SSL_CLIENT_CERT`.",
			value: text(func(c *Config) *string { return &c.TLS.ClientCAs }),
		},
		{
			name: "client-certs", group: groupTLS, arg: "WHEN", def: "required",
			help:  "optional or required: with --ca-certs",
			value: custom("`optional` or `required`", func(c *Config) *string { return &c.TLS.ClientCerts }, parseClientCerts),
		},
		{
			name: "tls-min-version", group: groupTLS, arg: "V", def: "1.2",
			help:  "lowest version of TLS: 1.2 or 1.3",
			value: custom("`1.2` or `1.3`", func(c *Config) *uint16 { return &c.TLS.MinVersion }, parseTLSVersion),
		},
		{
			name: "ciphers", group: groupTLS, arg: "LIST", def: "ECDHE+AESGCM:ECDHE+CHACHA20",
			help: "ciphers of TLS 1.2, in OpenSSL's words",
			more: "Names with colons or commas between them (`ECDHE-RSA-AES128-GCM-SHA256`), and the usual words: `HIGH`, `ECDHE+AESGCM`, `!SHA1`. There are those of Go's `crypto/tls` that are safe; to name another is an error, to leave it out is not. " +
				"Which of them is taken, Go decides by what both machines are quick with. CBC with SHA-1 (`ECDHE+AES+SHA`) is for clients of before 2014 and not among the default. The ciphers of TLS 1.3 cannot be chosen; all are offered.",
			value: custom("a list as for `openssl ciphers`", func(c *Config) *[]uint16 { return &c.TLS.Ciphers }, parseCiphers),
		},
		{
			name: "http-protocols", group: groupTLS, arg: "LIST", def: "h2,h1",
			help:  "what clients with TLS are offered, the preferred first",
			more:  "`h2` is HTTP/2, `h1` HTTP/1.1. Without TLS, see `--http2-cleartext`.",
			value: list("`h2` and `h1` with commas between them", ",", func(c *Config) *[]string { return &c.TLS.Protocols }, parseProtocol),
		},
		{
			name: "http2-cleartext", group: groupTLS,
			help:  "HTTP/2 without TLS too, for clients that begin with it",
			more:  "For proxies that speak HTTP/2 to hostler (\"h2c with prior knowledge\"). Others are served HTTP/1.1 as ever.",
			value: boolean(func(c *Config) *bool { return &c.HTTP2Cleartext }),
		},
		{
			name: "acme", group: groupTLS, arg: "NAME[,NAME]",
			help: "get a certificate for these names; may be repeated",
			more: "From Let's Encrypt, or another authority that speaks ACME (`--acme-directory`), whose terms you thereby accept; renewed in time, without a reload. Each `--acme` is a certificate, of the names with commas between them. " +
				"They have to lead to this machine: the authority connects to port 443 (tls-alpn-01), or to port 80 if there is a `--redirect-bind` (http-01). If no `--bind` is given it is `:443`, with `--redirect-bind :80`. " +
				"Until there is a certificate, clients that ask for its name get the alert `unrecognized_name`; `/readyz` does not wait for it. See [TLS](tls.md#certificates-by-themselves).",
			value: list("names of hosts with commas between them", "", func(c *Config) *[]settings.ACMECert { return &c.TLS.ACME.Certs }, parseACMENames),
		},
		{
			name: "acme-email", group: groupTLS, arg: "ADDRESS",
			help:  "where the authority of --acme can reach you",
			value: custom("a mail address", func(c *Config) *string { return &c.TLS.ACME.Email }, parseEmail),
		},
		{
			name: "acme-directory", group: groupTLS, arg: "URL", def: "https://acme-v02.api.letsencrypt.org/directory",
			help:  "the authority of --acme",
			more:  "Try things out with `https://acme-staging-v02.api.letsencrypt.org/directory`, whose limits are wide, and whose certificates nobody trusts.",
			value: custom("a URL that begins with https://", func(c *Config) *string { return &c.TLS.ACME.Directory }, parseDirectoryURL),
		},
		{
			name: "acme-storage", group: groupTLS, arg: "DIR",
			help: "where --acme keeps keys and certificates",
			more: "A directory of hostler's user's alone (0700), made if it is not there; it has to outlive the server, for authorities limit how often they are asked. Several servers may share it: they do not order the same twice, and answer for each other. " +
				"If not given, it is `acme` in `$STATE_DIRECTORY` of the service manager, `/var/lib/hostler` for root, or else `$XDG_STATE_HOME/hostler` or `~/.local/state/hostler`.",
			value: text(func(c *Config) *string { return &c.TLS.ACME.Storage }),
		},
		{
			name: "acme-ca", group: groupTLS, arg: "FILE",
			help:  "verify --acme-directory's server with these, in PEM",
			more:  "For an authority of your own.",
			value: text(func(c *Config) *string { return &c.TLS.ACME.CA }),
		},
		{
			name: "acme-eab", group: groupTLS, arg: "FILE",
			help:  "ID and key of your account with the authority",
			more:  "For those that want to know whose customer you are (external account binding): two words in a file, the key's ID and the key as they give it, in base64url.",
			value: text(func(c *Config) *string { return &c.TLS.ACME.EAB }),
		},
		{
			name: "redirect-bind", group: groupTLS, arg: "ADDRESS",
			help:  "plain address that sends clients to https",
			more:  "Every request is answered 308 with the same address at the first `--bind`. It may be repeated.",
			value: list("an address, or several with commas between them", ",", func(c *Config) *[]settings.Bind { return &c.Redirects }, parseBind),
		},

		{
			name: "python", group: groupPython, arg: "FILE",
			help:  "interpreter to run workers with",
			more:  "If not given, it is the first found of: `python` beside the path that hostler was called by, where that is in a virtual environment; `$VIRTUAL_ENV/bin/python`; `./.venv/bin/python`; `python` beside that path, or the file that it leads to; `python3` on the PATH.",
			value: text(func(c *Config) *string { return &c.Python }),
		},
		{
			name: "chdir", group: groupPython, arg: "DIR",
			help:  "directory to run the application in",
			more:  "It is also where modules are looked for first, and what the names of logs are relative to. Other paths among the settings are relative to where hostler was started.",
			value: text(func(c *Config) *string { return &c.Chdir }),
		},
		{
			name: "pythonpath", group: groupPython, arg: "DIRS",
			help:  "directories to put on sys.path, with commas or colons",
			value: list("directories with commas or colons between them", ",:", func(c *Config) *[]string { return &c.PythonPath }, parseText),
		},
		{
			name: "preload", group: groupPython,
			help:  "import the application once, and fork the workers from there",
			more:  "Workers share the memory of what was imported, and a new one is there in milliseconds. What the application opened while it was imported (connections, threads) does not survive the fork: open it with `os.register_at_fork(after_in_child=...)`, or at the first request. Of these handlers, *before* and *after_in_parent* run in the process that has imported the application, *after_in_child* in the worker; a fork may take ten seconds. SIGHUP imports anew.",
			value: boolean(func(c *Config) *bool { return &c.Preload }),
		},
		{
			name: "warmup", group: groupPython, arg: "PATH",
			help:  "request to run before the workers are forked; may be repeated",
			more:  "With `--preload`: what the first request would import or compile is then shared, too. The application sees a GET from 127.0.0.1; its answer is thrown away, a failure is logged. A connection that it opens, to a database for one, would be shared by all workers, and what they say on it mixed up: such connections are named in the log. Django's are closed before the fork; close others in a function for `os.register_at_fork(before=...)` (SQLAlchemy: `engine.dispose`, psycopg_pool: `pool.close`), and open them in the worker. An ASGI application is sent the requests in each worker, when its lifespan has started.",
			value: list("a path that begins with /", "", func(c *Config) *[]string { return &c.Warmup }, parsePath),
		},
		{
			name: "ready-path", group: groupPython, arg: "PATH",
			help: "what a worker has to answer before it serves",
			more: "`--ready-path /healthz`: each new worker has its application answer that request with a status below 400, or it is not ready: a start or a reload of which one worker does not fails, the old workers serve on, and the log, `hostler ctl reload` and `/status` have the status with the first line of the body, or what was raised. A worker that is to take another's place is tried again ([master.md](internals/master.md#reload)). " +
				"The request is run in the worker, through no socket, before it accepts; no line of the access log, no metric and no hook is about it. The application sees a GET from 127.0.0.1 by `hostler/VERSION`. Where it answers with a redirect to its own host, as to https or to a language, that is asked, five times at most (by https with `X-Forwarded-Proto`); one to another host counts as an answer. Where it is not ready at once it is asked again, for `--ready-timeout`. The lifespan of an ASGI application that is not ready is ended.",
			value: custom("a path that begins with /", func(c *Config) *string { return &c.ReadyPath }, parseReadyPath),
		},
		{
			name: "ready-host", group: groupPython, arg: "NAME", def: "localhost",
			help:  "the Host of --ready-path, as of ALLOWED_HOSTS",
			more:  "Django answers 400 to a name that is not among its `ALLOWED_HOSTS`.",
			value: custom("a host name, with a port or without", func(c *Config) *string { return &c.ReadyHost }, parseText),
		},
		{
			name: "ready-timeout", group: groupPython, arg: "SECS", def: "10",
			help:  "for how long --ready-path may fail",
			more:  "Every fifth of a second it is asked again. One answer of an ASGI application's may take what is left of this time, and five seconds; where it waits is logged then. An application of WSGI's that does not come back at all is a matter of `--boot-timeout`.",
			value: duration(func(c *Config) timePtr { return &c.ReadyTimeout }),
		},
		{
			name: "reload", group: groupPython,
			help: "development: new workers whenever the code changes",
			more: "Watches the files of the modules that the application has imported (less Python's own), and reloads as SIGHUP does when one changes. While the code is broken, the traceback is on the console and is what every request is answered with; " +
				"also if it is broken from the start. Tracebacks tell strangers too much: do not use it where others can connect.",
			value: boolean(func(c *Config) *bool { return &c.Development }),
		},
		{
			name: "reload-extra", aliases: []string{"reload-extra-file"}, group: groupPython, arg: "PATH",
			help:  "with --reload: a further file or directory; may be repeated",
			more:  "Of a directory everything counts, however deep, but hidden files and bytecode. A file need not be there yet.",
			value: list("a file or directory", "", func(c *Config) *[]string { return &c.ReloadExtra }, parseText),
		},
		{
			name: "debug", group: groupPython,
			help: "show clients the traceback of what was raised",
			more: "For development only, and warned of at the start: the answer to a request whose application has raised (500) or run out of time (504) has the traceback in it, which the log has in any case. Whoever can connect sees it. " +
				"It is about what comes as far as hostler: Django, Flask and Starlette answer exceptions themselves, and have a debug mode of their own. What keeps an application from being loaded is shown by `--reload`.",
			value: boolean(func(c *Config) *bool { return &c.Debug }),
		},
		{
			name: "paste", group: groupPython, arg: "FILE[#NAME]",
			help:  "PasteDeploy file that describes the application",
			more:  "Instead of MODULE:ATTR, as for Pyramid: `hostler --paste production.ini`. NAME is that of another section than `[app:main]`. What the file says of logging is set up; its `[server:…]` sections are not read. The application's environment has to have plaster and plaster_pastedeploy, or PasteDeploy.",
			value: text(func(c *Config) *string { return &c.Paste }),
		},
		{
			name: "hooks", group: groupPython, arg: "MODULE",
			help:  "module of functions to run at certain moments",
			more:  "Those of Gunicorn's server hooks, from `on_starting` to `on_exit`; [Hooks](hooks.md) says which, and where each runs. A file may be named, too (`gunicorn.conf.py`): its settings do not count then, and its `logconfig_dict` does.",
			value: custom("a module as Python imports it, or FILE.py", func(c *Config) *string { return &c.Hooks }, parseHooks),
		},
		{
			name: "interface", group: groupPython, arg: "KIND", def: settings.InterfaceAuto,
			help: "what the application is for: auto, wsgi, asgi, asgi2",
			more: "`auto` tells by what a callable takes: environ and start_response (WSGI), or scope, receive and send (ASGI; `asgi2`: a scope alone, and what that gives takes the rest). " +
				"The log says so of one for ASGI. What nobody can tell, a function in C or one that takes any arguments, passes for WSGI.",
			value: custom("auto, wsgi, asgi or asgi2", func(c *Config) *string { return &c.Interface },
				parseInterface),
		},
		{
			name: "loop", group: groupPython, arg: "LOOP", def: settings.LoopAuto,
			help: "auto, asyncio, uvloop, MODULE:FACTORY; or gevent, for WSGI",
			more: "`auto` is asyncio's, which waits for clients and for the application's own descriptors in one call. FACTORY takes no arguments and returns a loop of asyncio's kind, which has to have `add_reader`. " +
				"With `gevent` each request of a WSGI application runs in a greenlet, as many at once as `--worker-concurrency` says, and `gevent.monkey.patch_all()` is called before the application is imported ([gevent.md](gevent.md)).",
			value: custom("auto, asyncio, uvloop, gevent or `MODULE:FACTORY`", func(c *Config) *string { return &c.Loop }, parseLoop),
		},
		{
			name: "lifespan", group: groupPython, arg: "WHETHER", def: settings.LifespanAuto,
			help: "tell an ASGI application of start and end: auto, on, off",
			more: "With `auto` an application that raises before it has received `lifespan.startup` knows no lifespan, and is served without; with `on` that is an error. In both cases it is not served before its startup is complete, nor if that fails.",
			value: custom("auto, on or off", func(c *Config) *string { return &c.Lifespan },
				parseWord(settings.LifespanAuto, settings.LifespanOn, settings.LifespanOff)),
		},
		{
			name: "env", short: "e", group: groupPython, arg: "KEY=VALUE", noEnv: true,
			help: "environment variable for workers; may be repeated",
			more: "Workers also have all of hostler's own environment. In the file it may be a table: `[env]` and then `KEY = \"VALUE\"`.",
			value: func() value {
				v := list("`KEY=VALUE`", "", func(c *Config) *[]string { return &c.Env }, parseEnv)
				v.keyed = true
				return v
			}(),
		},

		{
			name: "timeout", short: "t", group: groupLife, arg: "SECS", def: "30",
			help: "interrupt a request that computes longer; 0: never",
			more: "It measures the application, not the client. A request's clock runs while the application has it and neither takes nor gives data. It stands still while the request waits for its client, for more of a body or for room to send (`--body-timeout`, `--write-timeout` and `--min-rate` are the limits for that), " +
				"and begins anew when data has been read from the body's connection or file, or given to the server: an upload over a slow line, and a stream that yields something now and then, are not cut however long they last. `--total-timeout` limits the whole. " +
				"It holds for each request, whatever the number of threads. First the tracebacks of all threads of its worker are logged; then `hostler.RequestTimeout` is raised in its thread, the client gets a 504 (or, where the response has begun, sees its connection closed), and the worker lives. " +
				"The exception is no `Exception`, so what retries after any error does not catch it; what has to clean up does. A thread that waits in C (`time.sleep`, a lock, a database driver) has it raised when it comes back. If it does not within two seconds, the worker is replaced: another is up before it goes, and its other requests may finish. " +
				"The application can read and move its own deadline: `environ[\"hostler.deadline\"]()` is how many seconds it has left (None: no limit), `environ[\"hostler.deadline\"](60)` makes it 60 from now, and 60 is this request's timeout from there on; to be called in the request's own thread. The exception's class is `environ[\"hostler.deadline\"].RequestTimeout`.",
			value: duration(func(c *Config) timePtr { return &c.Timeout }),
		},
		{
			name: "total-timeout", group: groupLife, arg: "SECS", def: "0",
			help:  "interrupt a request that takes longer in all; 0: never",
			more:  "From the moment that the application has it, with all that it waits for its client, and whatever it wishes for its deadline. It is interrupted as for `--timeout`.",
			value: duration(func(c *Config) timePtr { return &c.TotalTimeout }),
		},
		{
			name: "disconnect-grace", group: groupLife, arg: "SECS", def: "3",
			help:  "cancel a stream so long after its client left; or off",
			more:  "Of an ASGI application, which is told of it (`http.disconnect`, and an `OSError` from `send`), and mostly ends by itself: it is for streams that neither receive nor send, as when they wait for something to tell their client. 0 is at once. Nothing is cancelled that has sent the last of its response, or has not begun with it.",
			value: grace(func(c *Config) timePtr { return &c.DisconnectGrace }),
		},
		{
			name: "slow-request", group: groupLife, arg: "SECS", def: "0",
			help:  "log the traceback of a request that takes longer; 0: never",
			more:  "By the same clock as `--timeout`: what the client is slow with does not count. All threads of its worker are shown, or, on an event loop, what its task awaits (of one request a second; `suppressed` says how many more there were); nothing else happens to it. The stack of its own thread is also to be seen with `hostler ctl slow`.",
			value: duration(func(c *Config) timePtr { return &c.SlowRequest }),
		},
		{
			name: "boot-timeout", group: groupLife, arg: "SECS", def: "60",
			help:  "time for a worker to import the application; 0: any",
			value: duration(func(c *Config) timePtr { return &c.BootTimeout }),
		},
		{
			name: "graceful-timeout", group: groupLife, arg: "SECS", def: "30",
			help:  "time that a stop may take",
			more:  "All of it: requests have until two seconds before (three quarters of it, where it is less than eight seconds) and are cut off then; the rest is for Python's end and the hooks. Threads of the application that are no daemons hold up Python's end: they are named in the log, and left behind in time, after what is to be done at exit. Keep it within the patience of whatever stops hostler (systemd 90 seconds, Kubernetes 30, docker stop 10).",
			value: duration(func(c *Config) timePtr { return &c.GracefulTimeout }),
		},
		{
			name: "max-requests", group: groupLife, arg: "N", def: "0",
			help:  "replace a worker after this many requests; 0: never",
			more:  "The replacement is up before the old worker goes.",
			value: number(0, 1<<40, func(c *Config) *int { return &c.MaxRequests }),
		},
		{
			name: "max-requests-jitter", group: groupLife, arg: "N", def: "0",
			help:  "add up to this many to --max-requests, at random",
			more:  "It takes the place of `--recycle-jitter` there.",
			value: number(0, 1<<40, func(c *Config) *int { return &c.MaxRequestsJitter }),
		},
		{
			name: "max-age", group: groupLife, arg: "SECS", def: "0",
			help:  "replace a worker that is older, e.g. 12h; 0: never",
			more:  "The replacement is up before the old worker goes.",
			value: duration(func(c *Config) timePtr { return &c.MaxAge }),
		},
		{
			name: "max-memory", group: groupLife, arg: "BYTES", def: "0",
			help:  "replace a worker that uses more memory, e.g. 500m; 0: never",
			more:  "What counts is the worker's resident anonymous memory. The replacement is up before the old worker goes. A limit below what a fresh worker uses is logged, and not applied; in its first ten seconds no worker is replaced for it.",
			value: size(0, 1<<62, func(c *Config) *int64 { return &c.MaxMemory }),
		},
		{
			name: "max-memory-hard", group: groupLife, arg: "BYTES", def: "0",
			help:  "kill a worker that uses more memory; 0: never",
			more:  "Its requests are lost, and named in the log: this is for leaks that are faster than a replacement.",
			value: size(0, 1<<62, func(c *Config) *int64 { return &c.MaxMemoryHard }),
		},
		{
			name: "recycle-jitter", group: groupLife, arg: "PERCENT", def: "10",
			help:  "take up to this much off these limits, at random",
			more:  "It holds for `--max-requests` (without a jitter of its own), `--max-age` and `--max-memory`: workers that were started together do not leave together.",
			value: number(0, 90, func(c *Config) *int { return &c.RecycleJitter }),
		},
		{
			name: "max-unavailable", group: groupLife, arg: "N", def: "1",
			help:  "workers to replace at a time, at most",
			more:  "It holds for the limits above and for `hostler ctl restart`. Workers that have died, or still start, count as well. What ran into `--timeout` or `--max-memory-hard` does not wait.",
			value: number(1, maxWorkers, func(c *Config) *int { return &c.MaxUnavailable }),
		},
		{
			name: "canary", group: groupLife, arg: "SHARE:TIME",
			help:  "at a reload try the new workers on a share first",
			more:  "`--canary 5%:30s`: a reload first starts as many new workers as a twentieth of them are, one at least, and gives them a twentieth of the requests for 30 seconds, beside the old ones. If they do clearly worse than these, the reload fails and the old ones serve on; else it goes on. What is clearly worse, and what else happens meanwhile: [reloading.md](reloading.md#a-canary). Not at the first start, nor with `--reload`.",
			value: custom(acceptsCanary, func(c *Config) *settings.Canary { return &c.Canary }, parseCanary),
		},

		{
			name: "limit-request-line", group: groupLimits, arg: "BYTES", def: "8192",
			help:  "longest request line (method, target, version); 0: any",
			more:  "A whole head has at most 64 KiB; where one of `--limit-request-line`, `--limit-request-fields` and `--limit-request-field-size` is 0, or above its default, 1 MiB.",
			value: sizeOrNone(128, maxHead, func(c *Config) *int { return &c.LimitRequestLine }),
		},
		{
			name: "limit-request-fields", group: groupLimits, arg: "N", def: "100",
			help:  "most header fields in a request; 0: any",
			more:  "See `--limit-request-line` for a whole head.",
			value: number(0, maxFields, func(c *Config) *int { return &c.LimitRequestFields }),
		},
		{
			name: "limit-request-field-size", aliases: []string{"limit-request-field_size"}, group: groupLimits, arg: "BYTES", def: "8192",
			help:  "longest header field; 0: any",
			more:  "See `--limit-request-line` for a whole head.",
			value: sizeOrNone(128, maxHead, func(c *Config) *int { return &c.LimitRequestFieldSize }),
		},
		{
			name: "limit-request-body", group: groupLimits, arg: "BYTES", def: "0",
			help:  "longest request body, e.g. 10m; 0: no limit",
			more:  "A longer one is answered 413.",
			value: size(0, 1<<62, func(c *Config) *int64 { return &c.LimitRequestBody }),
		},
		{
			name: "limit-buffers", group: groupLimits, arg: "BYTES", def: "512m",
			help: "memory a worker keeps for slow clients; 0: any",
			more: "What clients have not taken yet of their responses, and have sent of heads and bodies that are not whole. When it is more, the slowest of them are closed until it is less; a client gets a second to show how fast it is, unless it is twice as much. " +
				"`hostler_connections_evicted_total` counts them.",
			value: size(0, 1<<62, func(c *Config) *int64 { return &c.LimitBuffers }),
		},
		{
			name: "spool-limit", group: groupLimits, arg: "BYTES", def: "1g",
			help:  "longest body that goes to a file first; 0: none does",
			more:  "A body of more than 1 MiB is received whole, in a file, before the application is called: it has a length, can be rewound, and a slow upload holds no Python thread. A longer one is read by the application as it arrives. [Uploads](uploads.md) says more.",
			value: size(0, 1<<62, func(c *Config) *int64 { return &c.SpoolLimit }),
		},
		{
			name: "spool-dir", group: groupLimits, arg: "DIR",
			help:  "directory for these files; on a disk, with room",
			more:  "If not given, `$TMPDIR` or `/tmp`, or `/var/tmp` where that is a file system in memory. The workers' user must be able to write there. The files have no names, and are gone when their request is answered or its client has left, whatever becomes of hostler.",
			value: custom("a directory", func(c *Config) *string { return &c.SpoolDir }, parseDir),
		},
		{
			name: "stream-uploads", group: groupLimits, arg: "PATTERN",
			help:  "paths that read bodies as they arrive; may be repeated",
			more:  "As for `--pool`, `*` stands for anything. For these paths the application is called as soon as the head is there, and decides itself what becomes of the body; a client that asks (Expect: 100-continue) is told to send it when the application reads.",
			value: list("a pattern that begins with / or *", ",", func(c *Config) *[]string { return &c.StreamUploads }, parsePattern),
		},
		{
			name: "header-timeout", group: groupLimits, arg: "SECS", def: "10",
			help:  "time for a client to send a whole request head; 0: any",
			value: duration(func(c *Config) timePtr { return &c.HeaderTimeout }),
		},
		{
			name: "body-timeout", group: groupLimits, arg: "SECS", def: "30",
			help:  "longest silence within a request body; 0: any",
			value: duration(func(c *Config) timePtr { return &c.BodyTimeout }),
		},
		{
			name: "write-timeout", group: groupLimits, arg: "SECS", def: "60",
			help:  "longest time a client takes nothing of a response; 0: any",
			value: duration(func(c *Config) timePtr { return &c.WriteTimeout }),
		},
		{
			name: "ws-ping-interval", group: groupLimits, arg: "SECS", def: "20",
			help:  "ping WebSockets this often; 0: never",
			more:  "The worker does so by itself, whatever the application is at, and answers pings likewise. It keeps proxies from closing a WebSocket that is silent, and finds out about clients that have gone without a word.",
			value: duration(func(c *Config) timePtr { return &c.WSPingInterval }),
		},
		{
			name: "ws-ping-timeout", group: groupLimits, arg: "SECS", def: "20",
			help:  "longest time until a ping is answered; 0: any",
			more:  "A WebSocket whose client says nothing for so long after a ping is closed with 1011; the application sees 1006.",
			value: duration(func(c *Config) timePtr { return &c.WSPingTimeout }),
		},
		{
			name: "ws-max-size", group: groupLimits, arg: "BYTES", def: "16m",
			help:  "longest message of a WebSocket",
			more:  "Inflated, if it was compressed, and with all its fragments. A longer one closes the WebSocket with 1009.",
			value: size[int64](1, 1<<30, func(c *Config) *int64 { return &c.WSMaxSize }),
		},
		{
			name: "ws-per-message-deflate", group: groupLimits, arg: "BOOL", def: "true",
			help:  "let messages of WebSockets be compressed",
			more:  "With clients that offer it (permessage-deflate). Each message is compressed by itself, so a WebSocket that is silent costs no memory for it.",
			value: custom("`true` or `false`", func(c *Config) *bool { return &c.WSPerMessageDeflate }, parseBool),
		},

		{
			name: "min-rate", group: groupLimits, arg: "SIZE", def: "240",
			help:  "least bytes a second a client moves; 0: any",
			more:  "Of a request body that is on its way, and of a response that waits for its client. It has `--body-timeout` or `--write-timeout` in credit, so that a short stop does no harm; without it, a byte now and then would hold a connection for ever. 240 is slower than any modem.",
			value: size[int64](0, 1<<40, func(c *Config) *int64 { return &c.MinRate }),
		},

		{
			name: "log-level", group: groupLogs, arg: "LEVEL", def: "info",
			help:  "debug, info, warning or error",
			value: logLevel(),
		},
		{
			name: "access-log", aliases: []string{"access-logfile"}, group: groupLogs, arg: "FILE", def: "off",
			help: "a line per request; -: standard output; off",
			more: "Nothing waits for a log: lines are written within about 10 ms, from a buffer of 1 MiB in each worker. When whoever reads them is too slow, or the disk is full, lines are lost, and the error log says so; " +
				"`hostler_access_log_errors_total` counts them. A process that is killed loses those 10 ms. " +
				"The master opens the file, so that workers (`--user`) need no rights on its directory; SIGUSR1 opens it anew, and a reload. A relative name is relative to `--chdir`. " +
				"Where the workers' user can write to the directory, the file is opened with that user's rights, is made for that user, follows no links and has to be a regular file. Elsewhere a FIFO will do, if somebody reads from it, or a device.",
			value: custom("a file, `-` or `off`", func(c *Config) *string { return &c.AccessLog }, parseLog),
		},
		{
			name: "access-log-format", aliases: []string{"access-logformat"}, group: groupLogs, arg: "FORMAT", def: "combined",
			help:  "combined, timed, json, or Gunicorn's atoms",
			more:  "`combined` is Apache's format, and Gunicorn's default; `timed` has the duration in microseconds behind it; `json` is an object a line. A format of one's own is a text like `%(h)s %(r)s %(s)s %(L)s`: [logs.md](logs.md) lists the atoms.",
			value: custom("`combined`, `timed`, `json`, or a text with atoms like `%(h)s`", func(c *Config) *string { return &c.AccessLogFormat }, parseAccessFormat),
		},
		{
			name: "access-log-exclude", group: groupLogs, arg: "PATTERN",
			help:  "paths without a line there; may be repeated",
			more:  "As for `--pool`, `*` stands for anything. It is meant for health checks. Requests that are refused before they have a path, and those that are lost with their worker, have their line in any case.",
			value: list("a pattern that begins with / or *", ",", func(c *Config) *[]string { return &c.AccessLogExclude }, parsePattern),
		},
		{
			name: "request-id", group: groupLogs,
			help:  "an X-Request-ID for each request, and its response",
			more:  "That of the client, or of the proxy, goes on, if it is one: up to 128 letters, digits and `-_.~+/=@:`; anything else, and what is missing, is replaced by 32 random hexadecimal digits. The application finds it as `HTTP_X_REQUEST_ID`, the response has it unless the application sets one, the access log knows it as `%({x-request-id}i)s`, and in JSON. Who can connect can choose it: a proxy that is to be the only one should set it.",
			value: boolean(func(c *Config) *bool { return &c.RequestID }),
		},
		{
			name: "error-log", aliases: []string{"error-logfile", "log-file"}, group: groupLogs, arg: "FILE", def: "-",
			help: "all other logging; -: standard error",
			more: "What the application writes to `wsgi.errors` and standard error goes there too, and waits, as anywhere, where nobody takes it. hostler's own lines do not, as those of `--access-log`, of which all else is true here, too; " +
				"`hostler_error_log_errors_total` counts the lost ones.",
			value: custom("a file or `-`", func(c *Config) *string { return &c.ErrorLog }, parseText),
		},
		{
			name: "capture-output", group: groupLogs,
			help: "what the application prints goes to --error-log",
			more: "A record for each line that it writes to `sys.stdout` and `sys.stderr`, in the format of that log (`--log-format`), with worker, process and stream: lines of several threads or workers are not mixed up, and nobody waits for the log. " +
				"What is written by C, or by programs that the application runs, goes there as it is. Without it standard output stays what it is; see [logs.md](logs.md).",
			value: boolean(func(c *Config) *bool { return &c.CaptureOutput }),
		},
		{
			name: "log-format", group: groupLogs, arg: "FORMAT", def: "auto",
			help:  "of --error-log: auto, text, logfmt, json, journal",
			more:  "`auto` is `text` on a terminal, `journal` where standard error goes to journald, and else `logfmt`. `text` is for people, with colours on a terminal (unless `NO_COLOR` is set). With `json`, tracebacks are records, too; with `journal`, each line has its priority. See [logs.md](logs.md).",
			value: custom("`auto`, `text`, `logfmt`, `json` or `journal`", func(c *Config) *logformat.Format { return &c.LogFormat }, logformat.Parse),
		},
		{
			name: "admin-bind", group: groupLogs, arg: "ADDRESS", def: "127.0.0.1:9191",
			help:  "/metrics, /healthz, /readyz, /status (a page, JSON); off",
			more:  "Where only the default is taken by somebody else, hostler goes on without it and warns; an address that was asked for it must have. A reload that cannot bind a new one fails; the old one is answered until the new generation serves.",
			value: custom("an address as for `--bind`, or `off`", func(c *Config) *settings.Bind { return &c.Admin }, parseAdmin),
		},
		{
			name: "admin-host", group: groupLogs, arg: "NAME",
			help:  "name that a loopback --admin-bind answers for; repeatable",
			more:  "At a loopback address the admin server answers for `localhost` and for addresses only, and others get 421: a web page could otherwise read it through a name of its own that leads to 127.0.0.1. A proxy in front that passes its own Host on needs that name here. On other addresses every name is answered for.",
			value: list("a host name", ",", func(c *Config) *[]string { return &c.AdminHosts }, parseText),
		},
		{
			name: "admin-queries", group: groupLogs,
			help:  "show query strings of running requests in /status",
			more:  "They can hold what is private, and every user of the machine may ask. `hostler ctl status --json` shows them always, to those who may use it.",
			value: boolean(func(c *Config) *bool { return &c.AdminQueries }),
		},
		{
			name: "admin-token", group: groupLogs, arg: "FILE",
			help: "file with a token that the admin address asks for",
			more: "With it all but `/healthz` and `/readyz` is answered only to who sends it (`Authorization: Bearer …`; Prometheus: `credentials_file`) or has signed in with it on `/status`, on loopback, too; not on a unix socket, whose rights say who may connect. " +
				"It has 16 characters or more, and is read again by a reload. Without it everybody who reaches the address is answered, but beyond loopback and unix sockets without stacks, settings and flame graphs. The admin address does not speak TLS: beyond this machine put a proxy that does in front of it.",
			value: text(func(c *Config) *string { return &c.AdminToken }),
		},
		{
			name: "app-metrics", group: groupLogs, def: "true",
			help: "have the application's own metrics at /metrics, too",
			more: "What the application counts with `prometheus_client`, in all workers, those that are gone included, is added up as that library's multiprocess mode would ([metrics.md](metrics.md)). " +
				"Where `PROMETHEUS_MULTIPROC_DIR` or `PROMETHEUS_VALUE_CLASS` is in the environment, the library is left alone.",
			value: boolean(func(c *Config) *bool { return &c.AppMetrics }),
		},
		{
			name: "otel", group: groupLogs,
			help:  "send spans and metrics to an OpenTelemetry collector",
			more:  "A span for each request, with its parent from `traceparent`; the application finds the span as its own parent there. The metrics are those of `/metrics`. The standard variables, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and so on, hold for both, where no flag says otherwise; without `--otel` they mean nothing to hostler. [opentelemetry.md](opentelemetry.md) says more.",
			value: boolean(func(c *Config) *bool { return &c.Otel }),
		},
		{
			name: "otlp-endpoint", group: groupLogs, arg: "URL",
			help:  "where the collector of --otel is",
			more:  "Without a path: over HTTP, `/v1/traces` and `/v1/metrics` follow. If not given, `OTEL_EXPORTER_OTLP_ENDPOINT` says, or those for traces and metrics alone; else it is `http://localhost:4318`, and 4317 with gRPC.",
			value: custom("a URL like `http://127.0.0.1:4318`", func(c *Config) *string { return &c.OTLPEndpoint }, parseOTLPEndpoint),
		},
		{
			name: "otlp-protocol", group: groupLogs, arg: "PROTOCOL",
			help:  "protocol of OTLP: http/protobuf or grpc",
			more:  "If not given, `OTEL_EXPORTER_OTLP_PROTOCOL` says; else it is `http/protobuf`.",
			value: custom("`http/protobuf` or `grpc`", func(c *Config) *string { return &c.OTLPProtocol }, parseOTLPProtocol),
		},
		{
			name: "trace-sample", group: groupLogs, arg: "SHARE",
			help:  "share of the traces that --otel records, e.g. 0.1",
			more:  "Of those that begin here; where a client says of its trace whether it is recorded, its word counts. If not given, `OTEL_TRACES_SAMPLER` says; else all are recorded.",
			value: custom("a number from 0 to 1", func(c *Config) *string { return &c.TraceSample }, parseSample),
		},
		{
			name: "metrics-path", group: groupLogs, arg: "PATH",
			help: "answer this path of the application's with its metrics",
			more: "An endpoint of the application's own shows what one worker has counted. With `--metrics-path /metrics` a GET or HEAD of exactly this path gets what all workers have, as `--admin-bind` shows it but without the server's own, and no Python runs for it, however busy it is. " +
				"Prometheus keeps its target. **It is as public as the application is**: keep it from the world in the proxy, as the application's own would have to be. While the application has counted nothing with `prometheus_client`, it is asked itself.",
			value: custom("a path that begins with /", func(c *Config) *string { return &c.MetricsPath }, parsePath),
		},
		{
			name: "metrics-routes", group: groupLogs,
			help: "count requests by the route of the application's framework",
			more: "The route is what the application has written: `/users/<int:id>` of Flask's, `/users/{id}` of FastAPI's. Requests by class of status, and what they take, are in `/metrics` by method and route ([metrics.md](metrics.md)), for which frameworks that says, too; with `--otel` it is `http.route` of the span and in its name, and in the JSON access log `http.route`. " +
				"A worker tells 200 apart; others are `other`, and requests for which there is none are `-`.",
			value: boolean(func(c *Config) *bool { return &c.MetricsRoutes }),
		},
		{
			name: "ctl-socket", group: groupLogs, arg: "PATH", def: settings.CtlAuto,
			help: "socket for hostler ctl; auto, off",
			more: "Only the user that hostler runs as (and root) can use it. `auto` is `PID.sock` in a directory that is this user's alone: `$RUNTIME_DIRECTORY` of the service manager, `/run/hostler` for root, `$XDG_RUNTIME_DIR/hostler`, or else `/tmp/hostler-UID`. " +
				"There `hostler ctl` finds it, and asks which server is meant if there are several (what a service runs means the service's own); where there can be no such directory the log says so, and hostler goes on without. " +
				"A path of one's own `hostler ctl` finds by the same variable, or the same key in the settings file of the working directory. " +
				"A file that a server left behind is replaced; two servers need two paths. A reload moves it where the settings say, and makes it anew if its file is gone.",
			value: custom("a path, `auto`, or `off`", func(c *Config) *string { return &c.CtlSocket }, parseCtlSocket),
		},
		{
			name: "pid", short: "p", group: groupLogs, arg: "FILE",
			help:  "file for the master's process id",
			more:  "A server does not start while the process that the file names lives, unless that process is younger than the file. The file is removed in the end if it is still the one that was written.",
			value: text(func(c *Config) *string { return &c.PIDFile }),
		},
		{
			name: "name", short: "n", group: groupLogs, arg: "NAME",
			help:  "name in process titles; default: the application's",
			value: text(func(c *Config) *string { return &c.Name }),
		},

		{
			name: "config", short: "c", group: groupOther, arg: "FILE", def: "hostler.toml",
			help:  "settings file",
			more:  "The default may be missing; a file that was asked for may not. Of a `pyproject.toml` it is the table `[tool.hostler]` that is read. It is read again at SIGHUP. An empty value reads none.",
			value: custom("a file", func(c *Config) *string { return &c.ConfigFile }, parseText),
		},
		{
			name: "check", group: groupOther, flagOnly: true,
			help:  "check the settings, import the application, and exit",
			more:  "Certificates are read; directories and files must be there, or such that they can be made; addresses must be this machine's. Nothing is written, and an address that is in use is no fault: the server that is checked may be running.",
			value: boolean(func(c *Config) *bool { return &c.Check }),
		},
		{
			name: "print-config", group: groupOther, flagOnly: true,
			help:  "print every setting in force, where it is from, and exit",
			more:  "As a settings file, with the place that each is from behind it; those that nobody has set are comments.",
			value: boolean(func(c *Config) *bool { return &c.PrintConfig }),
		},
		{
			name: "version", short: "V", group: groupOther, flagOnly: true,
			help:  "print the version and exit",
			value: boolean(func(c *Config) *bool { return &c.version }),
		},
		{
			name: "help", short: "h", group: groupOther, flagOnly: true,
			help:  "print this and exit",
			value: boolean(func(c *Config) *bool { return &c.help }),
		},
	}
}
