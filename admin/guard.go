package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard keeps web pages from h where it answers at a loopback address: a page may ask
// for any name, and have that name lead to this machine (DNS rebinding). So there
// only hosts are answered that no page can have: addresses, localhost, and those that
// names returns. On other addresses the operator lets others in, by whatever name.
func Guard(at net.Addr, names func() []string, h http.Handler) http.Handler {
	if tcp, ok := at.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ownHost(r.Host, names()) {
			text(w, http.StatusMisdirectedRequest, fmt.Sprintf("this address answers for localhost and for addresses, not for %q; "+
				"--admin-host NAME lets it answer for a name\n", r.Host))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host field names this machine. HTTP/1.0 needs none, and no
// browser leaves it out.
func ownHost(field string, names []string) bool {
	host := field
	if h, _, err := net.SplitHostPort(field); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), host) })
}
