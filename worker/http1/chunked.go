package http1

// Bounds of what a chunked body may have beside its payload.
const (
	maxSizeDigits = 16
	// maxChunkExt bounds how far the extensions of all chunks together may
	// exceed the payload up to there: an upload with a signature on each chunk
	// passes, however long it is, a flood of extensions does not.
	maxChunkExt = 16 << 10
	maxTrailer  = 8 << 10
)

// Chunked takes the chunked framing off a body. The zero value is ready.
type Chunked struct {
	remaining uint64 // of the chunk, or its size as far as it has been read
	ext       uint32 // bytes of extensions that payload has not paid for
	trailer   uint32 // bytes of trailers
	state     chunkState
	digits    uint8
	nameLen   uint8
	name      [maxForbidden]byte // start of the trailer's name, in lower case
}

type chunkState uint8

const (
	chunkSize       chunkState = iota
	chunkExtName               // after ';': blanks, then the name
	chunkExtInName             // in the name
	chunkExtAfter              // after a name and blanks: '=' or ';'
	chunkExtValue              // after '=': blanks, then the value
	chunkExtToken              // in a value
	chunkExtQuoted             // in a quoted value
	chunkExtEscaped            // after a backslash in it
	chunkExtDone               // after a quoted value: ';', blanks or the end
	chunkExtBlank              // after the size or a value, and blanks: ';', for the end has none ahead
	chunkSizeLF                // CR seen
	chunkData
	chunkDataCR // the chunk is whole
	chunkDataLF
	trailerStart // at the start of a line after the last chunk
	trailerName
	trailerValue
	trailerLF // CR seen in a value
	finalLF   // CR seen at the start of a line
	chunkDone
)

// Decode takes bytes from src, of which the first follow those that an earlier
// call took, and writes payload to dst. It returns how many bytes of payload it
// wrote (n) and how many of src it took (m), and true when the body with its
// trailers has ended. It stops when dst has no room for the payload that comes
// next. dst may start where src does or ahead of it in the same memory. After an
// error, or the end, d must not be used again.
func (d *Chunked) Decode(dst, src []byte) (n, m int, done bool, reason Reason) {
	for m < len(src) {
		if d.state == chunkData {
			k := min(uint64(len(src)-m), uint64(len(dst)-n), d.remaining)
			if k == 0 {
				return n, m, false, ReasonNone
			}
			copy(dst[n:], src[m:m+int(k)])
			n += int(k)
			m += int(k)
			d.ext -= uint32(min(uint64(d.ext), k))
			if d.remaining -= k; d.remaining == 0 {
				d.state = chunkDataCR
			}
			continue
		}
		if d.state == chunkDone {
			break
		}
		if reason := d.step(src[m]); reason != ReasonNone {
			return n, m, false, reason
		}
		m++
	}
	return n, m, d.state == chunkDone, ReasonNone
}

// step takes one byte of framing.
func (d *Chunked) step(c byte) Reason {
	switch d.state {
	case chunkSize:
		return d.sizeByte(c)
	case chunkSizeLF:
		if c != '\n' {
			return ReasonBareCR
		}
		d.digits = 0
		d.state = chunkData
		if d.remaining == 0 {
			d.state = trailerStart
		}
	case chunkDataCR:
		if c != '\r' {
			return ReasonBadChunkEnd
		}
		d.state = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return ReasonBadChunkEnd
		}
		d.state = chunkSize
	case trailerStart, trailerName, trailerValue, trailerLF, finalLF:
		return d.trailerByte(c)
	default:
		if d.ext++; d.ext > maxChunkExt {
			return ReasonChunkExtTooLarge
		}
		return d.extByte(c)
	}
	return ReasonNone
}

func (d *Chunked) sizeByte(c byte) Reason {
	switch {
	case class[c]&isHex != 0:
		if d.digits++; d.digits > maxSizeDigits {
			return ReasonBadChunkSize
		}
		d.remaining = d.remaining<<4 | uint64(unhex(c))
		if d.remaining >= 1<<63 {
			return ReasonBadChunkSize
		}
		return ReasonNone
	case c == '\n':
		return ReasonBareLF
	case d.digits == 0:
		return ReasonBadChunkSize
	case c == '\r':
		d.state = chunkSizeLF
		return ReasonNone
	case c == ';':
		d.state = chunkExtName
		return ReasonNone
	case c == ' ' || c == '\t':
		d.state = chunkExtBlank
		return ReasonNone
	}
	return ReasonBadChunkSize
}

// extByte checks the syntax of an extension; it means nothing to us.
func (d *Chunked) extByte(c byte) Reason {
	token, blank := class[c]&isToken != 0, c == ' ' || c == '\t'
	switch d.state {
	case chunkExtQuoted:
		switch {
		case c == '"':
			d.state = chunkExtDone
		case c == '\\':
			d.state = chunkExtEscaped
		case class[c]&isText == 0:
			return badExt(c)
		}
		return ReasonNone
	case chunkExtEscaped:
		if class[c]&isText == 0 {
			return badExt(c)
		}
		d.state = chunkExtQuoted
		return ReasonNone
	case chunkExtName:
		if token {
			d.state = chunkExtInName
		} else if !blank {
			return badExt(c)
		}
		return ReasonNone
	case chunkExtValue:
		switch {
		case token:
			d.state = chunkExtToken
		case c == '"':
			d.state = chunkExtQuoted
		case !blank:
			return badExt(c)
		}
		return ReasonNone
	}
	// In or after a name or a value.
	named := d.state == chunkExtInName || d.state == chunkExtAfter
	switch {
	case token && (d.state == chunkExtInName || d.state == chunkExtToken):
	case c == '=' && named:
		d.state = chunkExtValue
	case c == ';':
		d.state = chunkExtName
	case blank && named:
		d.state = chunkExtAfter
	case blank:
		d.state = chunkExtBlank
	case c == '\r' && (d.state == chunkExtInName || d.state == chunkExtToken || d.state == chunkExtDone):
		d.state = chunkSizeLF
	default:
		return badExt(c)
	}
	return ReasonNone
}

func badExt(c byte) Reason {
	if c == '\n' {
		return ReasonBareLF
	}
	return ReasonBadChunkExt
}

// forbiddenTrailers are the fields that must not come after the body: they are
// about its framing, where it goes and who sends it.
var forbiddenTrailers = [...]string{
	"host", "content-length", "transfer-encoding", "trailer", "te", "connection", "keep-alive", "upgrade", "expect",
	"content-encoding", "content-range", "authorization", "proxy-authorization", "cookie",
	"max-forwards", "cache-control", "range", "if-match", "if-none-match", "if-range",
}

// maxForbidden is the length of the longest of them, and one more to tell a
// longer name.
const maxForbidden = len("proxy-authorization") + 1

// trailerByte checks trailer fields as strictly as those of the head; they are
// discarded.
func (d *Chunked) trailerByte(c byte) Reason {
	if d.trailer++; d.trailer > maxTrailer {
		return ReasonTrailerTooLarge
	}
	switch d.state {
	case trailerStart:
		if c == '\r' {
			d.state = finalLF
			return ReasonNone
		}
		d.nameLen = 0
		d.state = trailerName
		return d.nameByte(c)
	case trailerName:
		return d.nameByte(c)
	case trailerValue:
		switch {
		case c == '\r':
			d.state = trailerLF
		case c == '\n':
			return ReasonBareLF
		case class[c]&isText == 0:
			return ReasonBadTrailer
		}
	case trailerLF:
		if c != '\n' {
			return ReasonBareCR
		}
		d.state = trailerStart
	case finalLF:
		if c != '\n' {
			return ReasonBareCR
		}
		d.state = chunkDone
	}
	return ReasonNone
}

func (d *Chunked) nameByte(c byte) Reason {
	switch {
	case class[c]&isToken != 0:
		if int(d.nameLen) < len(d.name) {
			d.name[d.nameLen] = lower(c)
			d.nameLen++
		}
	case c == '\n':
		return ReasonBareLF
	case c != ':' || d.nameLen == 0:
		return ReasonBadTrailer
	default:
		name := string(d.name[:d.nameLen])
		for _, f := range &forbiddenTrailers {
			if name == f {
				return ReasonBadTrailer
			}
		}
		d.state = trailerValue
	}
	return ReasonNone
}
