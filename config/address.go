package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"hostler/settings"
)

// maxSocketPath is what fits in a sockaddr_un, less its closing zero.
const maxSocketPath = 107

// parseListen is parseBind, or fd://N for a socket that listens already.
func parseListen(s string) (settings.Bind, error) {
	number, ok := strings.CutPrefix(s, "fd://")
	if !ok {
		return parseBind(s)
	}
	if n, err := strconv.ParseUint(number, 10, 16); err != nil || strconv.FormatUint(n, 10) != number || n == 1 || n == 2 {
		return settings.Bind{}, fmt.Errorf("%q is no descriptor of a socket: write fd://3", s)
	}
	return settings.Bind{Network: "fd", Address: number}, nil
}

// parseBind reads an address to listen on.
func parseBind(s string) (settings.Bind, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseSocketPath(s, strings.TrimPrefix(path, "//"))
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" && strings.HasPrefix(s, "[") {
		return settings.Bind{}, badBind(s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return settings.Bind{}, fmt.Errorf("%q has no port from 0 to 65535", s)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostname(host) {
		return settings.Bind{}, badBind(s)
	}
	return settings.Bind{Network: "tcp", Address: net.JoinHostPort(host, port)}, nil
}

// badBind explains an address that is none by what people tend to write.
func badBind(s string) error {
	switch _, err := strconv.Atoi(s); {
	case err == nil:
		return fmt.Errorf("%q is only a port: for all addresses write :%s, for this machine alone 127.0.0.1:%s", s, s, s)
	case strings.Contains(s, "://"):
		return fmt.Errorf("%q is a URL: write HOST:PORT, [IPV6]:PORT or unix:PATH", s)
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./"):
		return fmt.Errorf("%q is a path: write unix:%s", s, s)
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return fmt.Errorf("%q has no port: write [%s]:8000", s, s)
	}
	if isHostname(s) && s != "" {
		return fmt.Errorf("%q has no port: write %s:8000", s, s)
	}
	return fmt.Errorf("%q is not HOST:PORT, :PORT, [IPV6]:PORT or unix:PATH", s)
}

func parseSocketPath(s, path string) (settings.Bind, error) {
	if path == "" {
		return settings.Bind{}, fmt.Errorf("%q has no path", s)
	}
	if _, err := parseText(path); err != nil {
		return settings.Bind{}, err
	}
	if len(path) > maxSocketPath {
		return settings.Bind{}, fmt.Errorf("%q is too long: the path of a socket has at most %d bytes", s, maxSocketPath)
	}
	return settings.Bind{Network: "unix", Address: path}, nil
}

// ctlSpare is what the control socket's path has to leave free: it is made under
// a longer name first (see package ctl).
const ctlSpare = 12

// parseCtlSocket reads the path of the control socket.
func parseCtlSocket(s string) (string, error) {
	switch s {
	case "off", "none", "":
		return "", nil
	case settings.CtlAuto:
		return s, nil
	}
	path := strings.TrimPrefix(s, "unix:")
	if strings.HasPrefix(path, "@") {
		return "", fmt.Errorf("%q is no file: a socket without one has no access rights", s)
	}
	if _, err := parseSocketPath(s, path); err != nil {
		return "", err
	}
	if len(path) > maxSocketPath-ctlSpare {
		return "", fmt.Errorf("%q is too long: the path of the control socket has at most %d bytes", s, maxSocketPath-ctlSpare)
	}
	return path, nil
}

// isHostname reports whether a resolver could make sense of s. The empty name
// stands for all addresses.
func isHostname(s string) bool {
	return len(s) < 256 && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '-' && r != '_'
	})
}

// parseAdmin is parseBind for an address that may be none.
func parseAdmin(s string) (settings.Bind, error) {
	switch s {
	case "off", "none", "":
		return settings.Bind{}, nil
	}
	return parseBind(s)
}

// binds is a list that must not be empty.
func binds(field func(*Config) *[]settings.Bind) value {
	v := list("an address, or several with commas between them", ",", field, parseListen)
	set := v.set
	v.set = func(c *Config, texts []string) []error {
		before := *field(c)
		errs := set(c, texts)
		if errs == nil && len(*field(c)) == 0 {
			*field(c) = before
			return []error{errors.New("has no address in it")}
		}
		return errs
	}
	return v
}

// peers is a list of those that are trusted.
func peers(field func(*Config) *[]string) value {
	return list("`*`, or addresses, networks (`10.0.0.0/8`) and `unix` with commas between them", ",", field, parsePeer)
}

func parsePeer(s string) (string, error) {
	if s == "*" || s == "unix" {
		return s, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()).String(), nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String(), nil
	}
	return "", fmt.Errorf(`%q is not an IP address, a network such as 10.0.0.0/8, "unix" or "*"`, s)
}
