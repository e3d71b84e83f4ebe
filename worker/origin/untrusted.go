package origin

import (
	"slices"

	"hostler/worker/http1"
)

// Distrust deals with what somebody whose word is not taken says of the client. It
// returns the first field that does (an index into http1.KnownFields), or 0, and takes
// SCRIPT_NAME out of r, and with drop all the others.
func (p *Policy) Distrust(r *http1.Request, drop bool) (field uint32) {
	takeScriptName(r)
	fields := r.Fields[:r.NFields]
	i := slices.IndexFunc(fields, p.tells)
	if i < 0 {
		return 0 // a field of Cloudflare's that counts for nobody
	}
	field = fields[i].Known
	if drop {
		r.NFields = uint32(len(slices.DeleteFunc(fields, p.tells)))
	}
	return field
}

// tells reports whether f says something of the client.
func (p *Policy) tells(f http1.Field) bool {
	k := f.Known
	return k >= http1.KnownXForwardedFor && k <= http1.KnownXRealIP || k == http1.KnownForwarded ||
		k == http1.KnownCFConnectingIP && p.Fields&FieldCloudflare != 0
}

// takeScriptName takes the fields of that name, with an underscore, out of a request and
// returns the value of the last. Proxies in front of Gunicorn say by it where the
// application is; as a header it would be anybody's word in environ.
func takeScriptName(r *http1.Request) (value http1.Span) {
	fields := r.Fields[:r.NFields]
	kept := slices.DeleteFunc(fields, func(f http1.Field) bool {
		if f.Known != http1.KnownScriptName {
			return false
		}
		value = f.Value
		return true
	})
	r.NFields = uint32(len(kept))
	return value
}
