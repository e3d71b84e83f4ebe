package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cipher is a cipher suite of TLS 1.2 that crypto/tls has, and thinks safe.
type cipher struct {
	id    uint16
	name  string   // OpenSSL's
	words []string // OpenSSL's for sets of them that it is in
}

// ciphers returns all of them. Each is ECDHE.
func ciphers() []cipher {
	return []cipher{
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", []string{"ECDSA", "AES", "AES128", "AESGCM", "TLSv1.2"}},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", []string{"aRSA", "AES", "AES128", "AESGCM", "TLSv1.2"}},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", []string{"ECDSA", "AES", "AES256", "AESGCM", "TLSv1.2"}},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", []string{"aRSA", "AES", "AES256", "AESGCM", "TLSv1.2"}},
		{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", []string{"ECDSA", "CHACHA20", "TLSv1.2"}},
		{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", []string{"aRSA", "CHACHA20", "TLSv1.2"}},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", []string{"ECDSA", "AES", "AES128", "SHA", "SHA1"}},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", []string{"aRSA", "AES", "AES128", "SHA", "SHA1"}},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", []string{"ECDSA", "AES", "AES256", "SHA", "SHA1"}},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", []string{"aRSA", "AES", "AES256", "SHA", "SHA1"}},
	}
}

// is reports whether the suite is in the set that a word of OpenSSL's names.
func (c *cipher) is(word string) bool {
	switch word {
	case "ALL", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH":
		return true
	case "aECDSA":
		word = "ECDSA"
	}
	return slices.Contains(c.words, word) || strings.EqualFold(c.name, word) || strings.EqualFold(tls.CipherSuiteName(c.id), word)
}

// parseCiphers reads a list as OpenSSL has it. What is put in must name something that
// there is; to leave out what there is not does no harm. The order means nothing:
// crypto/tls chooses by what the two machines are quick with.
func parseCiphers(s string) ([]uint16, error) {
	all := ciphers()
	var chosen, banned []uint16
	for item := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune(":, ;", r) }) {
		word := strings.TrimLeft(item, "!-+")
		var ids []uint16
		for i := range all {
			in := true
			for w := range strings.SplitSeq(word, "+") {
				in = in && all[i].is(w)
			}
			if in {
				ids = append(ids, all[i].id)
			}
		}
		among := func(id uint16) bool { return slices.Contains(ids, id) }
		switch {
		case item[0] == '!':
			banned = append(banned, ids...)
		case item[0] == '-':
			chosen = slices.DeleteFunc(chosen, among)
		case item[0] == '+', item[0] == '@', ofTLS13(word): // an order, or of those that are always offered
		case len(ids) == 0:
			return nil, fmt.Errorf("%q is no cipher that there is here: there are %s", item, cipherNames(all))
		default:
			chosen = append(slices.DeleteFunc(chosen, among), ids...)
		}
	}
	chosen = slices.DeleteFunc(chosen, func(id uint16) bool { return slices.Contains(banned, id) })
	if len(chosen) == 0 {
		return nil, errors.New("leaves no cipher for TLS 1.2")
	}
	return chosen, nil
}

// ofTLS13 reports whether a name is that of a cipher of TLS 1.3.
func ofTLS13(name string) bool {
	return slices.ContainsFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool {
		return c.SupportedVersions[0] == tls.VersionTLS13 && strings.EqualFold(c.Name, name)
	})
}

func cipherNames(all []cipher) string {
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}
