package config

import (
	"crypto/tls"
	"errors"

	"hostler/settings"
)

func parseClientCerts(s string) (string, error) {
	if s != settings.ClientCertsOptional && s != settings.ClientCertsRequired {
		return "", errors.New("is neither optional nor required")
	}
	return s, nil
}

func parseTLSVersion(s string) (uint16, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, errors.New("is neither 1.2 nor 1.3")
}

// parseProtocol returns the name that ALPN has for it.
func parseProtocol(s string) (string, error) {
	switch s {
	case "h2":
		return "h2", nil
	case "h1", "http/1.1":
		return "http/1.1", nil
	}
	return "", errors.New("is neither h2 nor h1")
}
