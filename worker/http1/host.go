package http1

// validHost reports whether h is host[:port], the host being a name, an IPv4 address
// or an IPv6 address in brackets. The port may be empty (RFC 3986, 3.2.3), but for
// wantPort.
func validHost(h []byte, wantPort bool) bool {
	i := 0
	if len(h) > 0 && h[0] == '[' {
		for i = 1; i < len(h) && h[i] != ']'; i++ {
		}
		if i == len(h) || !validIPv6(h[1:i]) {
			return false
		}
		i++
	} else {
		for i < len(h) && class[h[i]]&isHost != 0 {
			if h[i] == '%' && (i+2 >= len(h) || class[h[i+1]]&class[h[i+2]]&isHex == 0) {
				return false
			}
			i++
		}
	}
	if i == 0 {
		return false
	}
	if i == len(h) {
		return !wantPort
	}
	return h[i] == ':' && (i+1 == len(h) && !wantPort || validPort(h[i+1:]))
}

// ValidHost reports whether h names a host as a Host field does. (The field may also
// be empty.)
func ValidHost(h []byte) bool { return validHost(h, false) }

// SameHost reports whether a and b name the same host to a client whose scheme has
// the given port: case does not count, nor whether that port is spelled out
// (RFC 9110, 4.2.3).
func SameHost(a, b []byte, port string) bool { return sameFold(cutPort(a, port), cutPort(b, port)) }

// cutPort cuts an empty port off host, and the given one.
func cutPort(host []byte, port string) []byte {
	i := len(host)
	for i > 0 && host[i-1] >= '0' && host[i-1] <= '9' {
		i--
	}
	if i > 0 && host[i-1] == ':' && (i == len(host) || string(host[i:]) == port) {
		return host[:i-1]
	}
	return host
}

func validPort(p []byte) bool {
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return len(p) > 0
}

// validIPv6 takes an IPv6 address without a zone.
func validIPv6(a []byte) bool {
	groups, digits, gap := 0, 0, false
	for i := 0; i < len(a); i++ {
		switch c := a[i]; {
		case class[c]&isHex != 0:
			if digits == 0 {
				groups++
			}
			if digits++; digits > 4 {
				return false
			}
		case c == '.': // the last group is the start of an IPv4 address
			return digits > 0 && (groups == 7 || gap && groups < 7) && validIPv4(a[i-digits:])
		case c != ':':
			return false
		case i+1 < len(a) && a[i+1] == ':':
			if gap {
				return false
			}
			gap, digits = true, 0
			i++
			if i+1 < len(a) && a[i+1] == ':' {
				return false
			}
		case digits == 0 || i+1 == len(a): // a single colon needs both sides
			return false
		default:
			digits = 0
		}
	}
	return groups == 8 && !gap || gap && groups < 8
}

func validIPv4(a []byte) bool {
	parts, digits, n := 1, 0, 0
	for _, c := range a {
		switch {
		case c >= '0' && c <= '9':
			n = n*10 + int(c-'0')
			if digits++; digits > 3 || n > 255 || digits > 1 && n < 10 {
				return false
			}
		case c == '.' && digits > 0:
			parts, digits, n = parts+1, 0, 0
		default:
			return false
		}
	}
	return parts == 4 && digits > 0
}
