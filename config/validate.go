package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"hostler/settings"
)

// Validate reports all that is wrong with settings that are each right by
// themselves, one line each.
func (c *Config) Validate() []string {
	var problems []string
	switch {
	case c.App != "" && c.Paste != "":
		problems = append(problems, fmt.Sprintf("%s: the application is given twice: as %s, too", c.where("paste"), c.App))
	case c.App == "" && c.Paste == "" && !c.Given("app") && !c.appUnknown:
		problems = append(problems, "no application given: hostler MODULE:ATTR, e.g. hostler shop.wsgi:application")
	}
	seen := make(map[settings.Bind]bool)
	for _, b := range c.Binds {
		if seen[b] && b.Fixed() {
			problems = append(problems, fmt.Sprintf("%s: %s is given twice", c.where("bind"), b))
		}
		seen[b] = true
	}
	if seen[c.Admin] && c.Admin.Fixed() {
		problems = append(problems, fmt.Sprintf("%s: %s is also an address of the application (%s)", c.where("admin-bind"), c.Admin, c.where("bind")))
	}
	if b := (settings.Bind{Network: "unix", Address: c.CtlSocket}); seen[b] || c.CtlSocket != "" && b == c.Admin {
		problems = append(problems, fmt.Sprintf("%s: %s is also another server's address here", c.where("ctl-socket"), c.CtlSocket))
	}
	if c.MetricsPath != "" && !c.AppMetrics {
		problems = append(problems, c.where("metrics-path")+": there is nothing to show without --app-metrics")
	}
	return append(problems, c.validateTLS(seen)...)
}

// validateTLS is Validate for what has to do with TLS. seen are the other addresses.
func (c *Config) validateTLS(seen map[settings.Bind]bool) []string {
	var problems []string
	for _, b := range c.Redirects {
		if seen[b] && b.Fixed() {
			problems = append(problems, fmt.Sprintf("%s: %s is also another address here", c.where("redirect-bind"), b))
		}
		seen[b] = true
	}
	tcp := slices.ContainsFunc(c.Binds, func(b settings.Bind) bool { return b.Network != "unix" })
	switch {
	case len(c.TLS.Certs) == 0 && len(c.TLS.Keys) > 0:
		problems = append(problems, c.where("keyfile")+": a key without --certfile")
	case len(c.TLS.Keys) > 0 && len(c.TLS.Keys) != len(c.TLS.Certs):
		problems = append(problems, fmt.Sprintf("%s: %d keys for %d certificates", c.where("keyfile"), len(c.TLS.Keys), len(c.TLS.Certs)))
	case len(c.TLS.Certs) > 0 && !tcp:
		problems = append(problems, c.where("certfile")+": no address would speak TLS; a unix socket does not")
	}
	for _, name := range []string{"ca-certs", "redirect-bind"} {
		if c.Given(name) && !c.TLS.On() {
			problems = append(problems, c.where(name)+": makes no sense without --certfile or --acme")
		}
	}
	problems = append(problems, c.validateACME(tcp)...)
	if len(c.TLS.Protocols) == 0 {
		problems = append(problems, c.where("http-protocols")+": has no protocol in it")
	}
	prefixes := make(map[string]bool)
	for _, d := range c.Static {
		if prefixes[d.Prefix] {
			problems = append(problems, fmt.Sprintf("%s: there are two directories for %s", c.where("static"), d.Prefix))
		}
		prefixes[d.Prefix] = true
	}
	statuses := make(map[int]bool)
	for _, p := range c.ErrorPages {
		if statuses[p.Status] {
			problems = append(problems, fmt.Sprintf("%s: there are two files for %s", c.where("error-page"), statusName(p.Status)))
		}
		statuses[p.Status] = true
	}
	names := make(map[string]bool)
	for _, p := range c.Pools {
		if names[p.Name] {
			problems = append(problems, fmt.Sprintf("%s: there are two pools called %s", c.where("pool"), p.Name))
		}
		names[p.Name] = true
		if p.Threads > c.Threads {
			problems = append(problems, fmt.Sprintf("%s: %s cannot have %d threads: a worker has %d (%s)", c.where("pool"), p.Name, p.Threads, c.Threads, c.where("threads")))
		}
	}
	if len(c.Pools) > maxPools {
		problems = append(problems, fmt.Sprintf("%s: there can be no more than %d pools", c.where("pool"), maxPools))
	}
	return problems
}

// local reports whether nobody but this machine can connect.
func (c *Config) local() bool {
	return !slices.ContainsFunc(c.Binds, func(b settings.Bind) bool {
		if b.Network != "tcp" {
			return b.Network == "fd" // nobody knows
		}
		host, _, _ := net.SplitHostPort(b.Address) // has been parsed
		a, err := netip.ParseAddr(host)
		return host != "localhost" && (err != nil || !a.IsLoopback())
	})
}

// warnings are about settings that do not do what one would think.
func (c *Config) warnings() []string {
	var w []string
	warn := func(setting, format string, args ...any) {
		w = append(w, c.where(setting)+": "+fmt.Sprintf(format, args...))
	}
	if c.MaxMemoryHard > 0 && c.MaxMemoryHard <= c.MaxMemory {
		warn("max-memory-hard", "kills workers before --max-memory can replace them")
	}
	if c.SlowRequest > 0 && c.Timeout > 0 && c.SlowRequest >= c.Timeout {
		warn("slow-request", "does nothing: --timeout comes first")
	}
	if c.TotalTimeout > 0 && c.Timeout >= c.TotalTimeout {
		warn("timeout", "does nothing: --total-timeout comes first")
	}
	if len(c.Warmup) > 0 && !c.Preload {
		warn("warmup", "does nothing without --preload")
	}
	for _, p := range c.ErrorPages {
		if p.Status > 9 && !slices.Contains(ownErrors, p.Status) {
			warn("error-page", "hostler never answers %d by itself", p.Status)
		}
	}
	for _, name := range []string{"ready-host", "ready-timeout"} {
		if c.Given(name) && c.ReadyPath == "" {
			warn(name, "does nothing without --ready-path")
		}
	}
	if len(c.ReloadExtra) > 0 && !c.Development {
		warn("reload-extra", "does nothing without --reload")
	}
	switch {
	case c.Debug && !c.local():
		warn("debug", "is for development: tracebacks of the application are shown to whoever can connect, and that is not this machine alone")
	case c.Debug:
		warn("debug", "is for development: tracebacks of the application are shown to whoever can connect")
	}
	if c.Development && !c.local() {
		warn("reload", "is for development: tracebacks are shown to whoever can connect")
	}
	if c.Loop == settings.LoopGevent && c.Threads > 1 {
		warn("threads", "does nothing with --loop gevent, where a worker has one thread, and a greenlet for each request")
	}
	if c.MaxRequestsJitter > 0 && c.MaxRequests == 0 {
		warn("max-requests-jitter", "does nothing without --max-requests")
	}
	if c.WorkerConnections < c.Threads {
		warn("worker-connections", "%d connections cannot keep %d threads busy", c.WorkerConnections, c.Threads)
	}
	if c.Given("queue") && c.Queue > c.WorkerConnections {
		warn("queue", "never fills: a worker has no more than %d connections", c.WorkerConnections)
	}
	if c.Given("forwarded-allow-ips") && slices.Contains(c.ForwardedAllowIPs, "*") && len(c.ForwardedAllowIPs) > 1 {
		warn("forwarded-allow-ips", `"*" trusts everyone; the rest of the list does nothing`)
	}
	if _, anywhere := c.origins["forwarded-allow-ips"]; !anywhere && c.Behind != "" && c.Behind != presetNginx {
		warn("behind", "%s is trusted only where it connects from this machine: give its networks with --forwarded-allow-ips", c.Behind)
	}
	if c.Given("proxy-allow-ips") && c.ProxyProtocol == "" {
		warn("proxy-allow-ips", "does nothing without --proxy-protocol")
	}
	if c.Given("ciphers") && c.TLS.MinVersion > tls.VersionTLS12 {
		warn("ciphers", "does nothing without TLS 1.2 (--tls-min-version)")
	}
	for _, name := range [...]string{"otlp-endpoint", "otlp-protocol", "trace-sample"} {
		if c.Given(name) && !c.Otel {
			warn(name, "does nothing without --otel")
		}
	}
	if c.ProxyProtocol != "" && len(c.ProxyAllowIPs) == 0 {
		warn("proxy-protocol", "does nothing with an empty --proxy-allow-ips")
	}
	return w
}
