package settings

import "strings"

// ACME says which certificates an authority is to be asked for (RFC 8555).
type ACME struct {
	Certs     []ACMECert // none: it is asked for none
	Email     string     // for the authority; "": it gets none
	Directory string     // the authority's URL
	Storage   string     // directory for keys and certificates
	CA        string     // file of the authorities that the authority's own server is verified with; "": the system's
	EAB       string     // file with the ID and the key of an external account; "": there is none
}

// ACMECert is the names of a certificate, with commas between them.
type ACMECert string

// Names are the names of the certificate.
func (c ACMECert) Names() []string { return strings.Split(string(c), ",") }
