package config_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func TestCiphers(t *testing.T) {
	const (
		gcm  = "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 ECDHE_RSA_WITH_AES_128_GCM_SHA256 ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 ECDHE_RSA_WITH_AES_256_GCM_SHA384"
		poly = "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
		cbc  = "ECDHE_ECDSA_WITH_AES_128_CBC_SHA ECDHE_RSA_WITH_AES_128_CBC_SHA ECDHE_ECDSA_WITH_AES_256_CBC_SHA ECDHE_RSA_WITH_AES_256_CBC_SHA"
	)
	for list, want := range map[string]string{
		"-":                                          gcm + " " + poly, // the default
		"ECDHE-RSA-AES128-GCM-SHA256":                "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"ecdhe-rsa-aes128-gcm-sha256":                "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"ECDHE-ECDSA-CHACHA20-POLY1305":              "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA":         "ECDHE_RSA_WITH_AES_256_CBC_SHA",
		"ECDHE-RSA-AES128-SHA, ECDHE-RSA-AES256-SHA": "ECDHE_RSA_WITH_AES_128_CBC_SHA ECDHE_RSA_WITH_AES_256_CBC_SHA",
		"TLS_AES_128_GCM_SHA256:ECDHE+CHACHA20":      poly,
		"HIGH:!aNULL:!MD5":                           gcm + " " + poly + " " + cbc,
		"HIGH:!aNULL:!eNULL:!EXPORT:!SHA1:@STRENGTH": gcm + " " + poly,
		"EECDH+AESGCM:EECDH+CHACHA20:!kRSA:!DSS":     gcm + " " + poly,
		"ECDHE+AESGCM:!AES256":                       "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"!SHA:ALL":                                   gcm + " " + poly,
		"ALL:-SHA:ECDHE-RSA-AES128-SHA":              gcm + " " + poly + " ECDHE_RSA_WITH_AES_128_CBC_SHA",
		"aECDSA+AES128+AESGCM:aRSA+CHACHA20":         "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:+AESGCM:!3DES+ALL": "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	} {
		args := []string{"shop", "--ciphers", list}
		if list == "-" {
			args = args[:1]
		}
		var got []string
		for _, id := range mustLoad(t, nil, nil, args...).TLS.Ciphers {
			got = append(got, strings.TrimPrefix(tls.CipherSuiteName(id), "TLS_"))
		}
		expected := strings.Fields(want)
		slices.Sort(got)
		slices.Sort(expected)
		if !slices.Equal(got, expected) {
			t.Errorf("%s: %q, want %q", list, got, expected)
		}
	}
	for list, want := range map[string]string{
		"DHE-RSA-AES128-GCM-SHA256":        `"DHE-RSA-AES128-GCM-SHA256" is no cipher that there is here: there are ECDHE-ECDSA-AES128-GCM-SHA256, `,
		"ECDHE+AESGCM:AES128-SHA":          `"AES128-SHA" is no cipher that there is here`,
		"ECDHE-RSA-AES128-SHA256":          `"ECDHE-RSA-AES128-SHA256" is no cipher that there is here`, // insecure, says crypto/tls
		"ECDHE+RC4":                        `"ECDHE+RC4" is no cipher that there is here`,
		"DES":                              `"DES" is no cipher that there is here`,
		"nonsense":                         `"nonsense" is no cipher that there is here`,
		"":                                 "leaves no cipher for TLS 1.2",
		"ALL:!ALL":                         "leaves no cipher for TLS 1.2",
		"TLS_AES_128_GCM_SHA256:@STRENGTH": "leaves no cipher for TLS 1.2",
	} {
		got := problems(t, nil, nil, "shop", "--ciphers="+list)
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want %s", list, got, want)
		}
	}
}
