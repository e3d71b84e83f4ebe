package http1

// MaxFields is the largest number of fields that Limits can allow.
const MaxFields = 1 << 15

// Span is a part of the buffer that was handed to Parse.
type Span struct{ Off, Len uint32 }

// In returns the bytes that s stands for.
func (s Span) In(buf []byte) []byte { return buf[s.Off : s.Off+s.Len] }

// Field is a header field. Its value is without the blanks around it. With
// FlagAbsolute the Host's is the target's authority; if the client sent none, the
// last field is it, and has no name.
type Field struct {
	Name, Value Span
	Known       uint32 // index into KnownFields; 0: not among them
}

// Request is a parsed request head. C code reads it: the order of its fields is
// fixed.
type Request struct {
	Method, Target Span
	Path           Span   // of Target, still percent-encoded; Len 0 where an absolute-form target has none
	Query          Span   // what follows the first '?'
	HeadLen        uint32 // with the empty line, and the tolerated one ahead
	NFields        uint32
	MethodID       uint32 // index into KnownMethods; 0: not among them
	Minor          uint32 // the version is HTTP/1.Minor
	Flags          uint32
	_              uint32
	ContentLength  int64 // -1: there is no Content-Length
	// Fields is the caller's to make; the first NFields of them are the request's.
	// There have to be as many as Limits allow, and one more for a Host that
	// nobody sent. C code knows the slice as the pointer that it begins with.
	Fields []Field
}

// Flags of a Request.
const (
	FlagChunked      = 1 << iota // the body is chunked
	FlagExpect                   // the client waits for 100 Continue, and has a body to send
	FlagKeepAlive                // the client can use the connection again
	FlagPathEscaped              // Path holds a '%'
	FlagUpgrade                  // the client offers another protocol
	FlagDroppedField             // a field was left out for the underscore in its name
	FlagAuthority                // the target is that of a CONNECT, host:port; Path is empty
	FlagAsterisk                 // the target is the '*' of an OPTIONS; Path is empty
	FlagAbsolute                 // the target is an absolute URI
	FlagForwarded                // a field speaks of the client on whose behalf a proxy asks

	// What Parse has to remember, never in a result.
	sawHost
	sawTransferEncoding
	sawContentType
	sawExpect
	sawUpgrade
	tokenClose
	tokenKeepAlive
	tokenUpgrade
	flagsInternal = sawHost | sawTransferEncoding | sawContentType | sawExpect | sawUpgrade |
		tokenClose | tokenKeepAlive | tokenUpgrade
)

// FlagWebSocket is the caller's: the request has turned out to be the handshake of a
// WebSocket.
const FlagWebSocket = 1 << 30

// The indices of KnownMethods.
const (
	MethodOther = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodPatch
	MethodOptions
	MethodTrace
	MethodConnect
	NumMethods
)

// KnownMethods has the methods by Request.MethodID. It is never written to.
var KnownMethods = [NumMethods]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"}

// Limits bounds request heads. A value of zero or less stands for the default.
type Limits struct {
	Line   int // bytes of the request line, without its CRLF
	Field  int // bytes of one field line, without its CRLF
	Fields int // number of fields, at most MaxFields, and what a Request has room for
	Head   int // bytes of the whole head

	Underscores bool // fields whose names hold one are kept: nobody makes CGI's variables of them
}

// DefaultLimits returns the limits that hold where nothing else is asked for.
func DefaultLimits() Limits { return Limits{Line: 8192, Field: 8192, Fields: 100, Head: 64 << 10} }

// maxLimit keeps every offset within a Span.
const maxLimit = 1 << 30

func bounded(limit, standard int) int {
	if limit <= 0 {
		return standard
	}
	return min(limit, maxLimit)
}

func (l *Limits) line() int   { return bounded(l.Line, 8192) }
func (l *Limits) field() int  { return bounded(l.Field, 8192) }
func (l *Limits) head() int   { return bounded(l.Head, 64<<10) }
func (l *Limits) fields() int { return min(bounded(l.Fields, 100), MaxFields) }
