package config

import (
	"fmt"
	"slices"
	"strings"

	"hostler/settings"
)

// The kinds of proxy that --behind knows. What they change stands with the
// settings in the table.
const (
	presetNginx      = "nginx"
	presetALB        = "alb"
	presetGCP        = "gcp"
	presetCloudflare = "cloudflare"
)

var presets = []string{presetNginx, presetALB, presetGCP, presetCloudflare}

func parsePreset(s string) (string, error) {
	s = strings.ToLower(s)
	if s != "" && !slices.Contains(presets, s) {
		return "", fmt.Errorf("%q is not one of %s", s, strings.Join(presets, ", "))
	}
	return s, nil
}

func parseForwardedHeader(s string) (string, error) {
	s = strings.ToLower(s)
	switch s {
	case "for", "proto", "host", "prefix", "forwarded", "cf-connecting-ip":
		return s, nil
	}
	return "", fmt.Errorf("%q is not one of for, proto, host, prefix, forwarded, cf-connecting-ip", s)
}

func parseForwardedUntrusted(s string) (string, error) {
	s = strings.ToLower(s)
	if s != settings.ForwardedKeep && s != settings.ForwardedDrop {
		return "", fmt.Errorf("%q is neither keep nor drop", s)
	}
	return s, nil
}

// parseProxyProtocol also takes Gunicorn's way to write it.
func parseProxyProtocol(s string) (string, error) {
	s = strings.ToLower(s)
	switch s {
	case "off", "":
		return "", nil
	case "v1", "v2", "auto":
		return s, nil
	}
	return "", fmt.Errorf("%q is not one of off, v1, v2, auto", s)
}
