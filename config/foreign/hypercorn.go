package foreign

// hypercorn returns hypercorn's flags, less those that Gunicorn or uvicorn have, too.
func hypercorn() []*setting {
	h := func(entries ...entry) *setting { return newSetting(Hypercorn, "", entries...) }
	return []*setting{
		h(flags(Nothing, "--debug"), changed("log-level", "is --log-level debug"), fixed("log-level", "debug")),
		h(flags(One, "--read-timeout"), changed("body-timeout", "is --body-timeout")),
		h(flags(One, "--keyfile-password"), refused(keyPassword)),
		h(flags(One, "--insecure-bind"), refused("all addresses have TLS, or none: --redirect-bind sends HTTP on to HTTPS")),
		h(flags(One, "--quic-bind"), lost("there is no HTTP/3")),
		h(flags(One, "--server-name"), lost("every name is answered for: have the application or the proxy refuse others")),
		h(flags(One, "--verify-mode"), changed("client-certs", "is --client-certs"), by(certReqs)),
		h(flags(One, "--websocket-ping-interval"), changed("ws-ping-interval", "is --ws-ping-interval")),
	}
}
