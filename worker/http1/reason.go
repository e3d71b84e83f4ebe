package http1

// Reason says why a request was refused.
type Reason uint8

// The reasons. Their order is free, but every one has a label and a status
// below.
const (
	ReasonNone Reason = iota
	ReasonBareLF
	ReasonBareCR
	ReasonObsFold
	ReasonSpaceBeforeColon
	ReasonBadFieldName
	ReasonBadFieldValue
	ReasonDuplicateHost
	ReasonMissingHost
	ReasonBadHost
	ReasonDuplicateContentLength
	ReasonBadContentLength
	ReasonLengthAndChunked
	ReasonDuplicateTransferEncoding
	ReasonBadTransferEncoding
	ReasonUnsupportedTransferEncoding
	ReasonChunkedInHTTP10
	ReasonDuplicateContentType
	ReasonBadExpect
	ReasonBadMethod
	ReasonBadTarget
	ReasonBadRequestLine
	ReasonBadVersion
	ReasonUnsupportedVersion
	ReasonLineTooLong
	ReasonFieldTooLong
	ReasonTooManyFields
	ReasonHeadTooLarge
	ReasonBadChunkSize
	ReasonBadChunkExt
	ReasonChunkExtTooLarge
	ReasonBadChunkEnd
	ReasonBadTrailer
	ReasonTrailerTooLarge
	ReasonTruncatedHead // for the caller: the peer ended in the middle
	ReasonTruncatedBody
	ReasonBadForwarded      // for the caller: a trusted proxy's word makes no sense
	ReasonForwardedMismatch // … or contradicts itself
	ReasonBadProxyHeader    // for the caller: the PROXY protocol's header; no request has begun
	ReasonMissingProxyHeader
	ReasonBodyTooLarge    // for the caller: beyond its limit
	ReasonConnect         // … for it is no proxy
	ReasonUnknownProtocol // … or a tunnel for a protocol that it does not speak (RFC 8441)
	ReasonHTTP2Stream     // … which speaks HTTP/2, too: a stream that is malformed
	ReasonHTTP2Connection
	ReasonSpoolStalled // … whose disk does not take the body
	numReasons
)

// NumReasons is the number of reasons, ReasonNone included.
const NumReasons = int(numReasons)

var reasons = [NumReasons]struct {
	label  string
	status uint16
}{
	ReasonNone:                        {"none", 200},
	ReasonBareLF:                      {"bare_lf", 400},
	ReasonBareCR:                      {"bare_cr", 400},
	ReasonObsFold:                     {"obs_fold", 400},
	ReasonSpaceBeforeColon:            {"space_before_colon", 400},
	ReasonBadFieldName:                {"bad_field_name", 400},
	ReasonBadFieldValue:               {"bad_field_value", 400},
	ReasonDuplicateHost:               {"duplicate_host", 400},
	ReasonMissingHost:                 {"missing_host", 400},
	ReasonBadHost:                     {"bad_host", 400},
	ReasonDuplicateContentLength:      {"duplicate_content_length", 400},
	ReasonBadContentLength:            {"bad_content_length", 400},
	ReasonLengthAndChunked:            {"length_and_chunked", 400},
	ReasonDuplicateTransferEncoding:   {"duplicate_transfer_encoding", 400},
	ReasonBadTransferEncoding:         {"bad_transfer_encoding", 400},
	ReasonUnsupportedTransferEncoding: {"unsupported_transfer_encoding", 501},
	ReasonChunkedInHTTP10:             {"chunked_in_http10", 400},
	ReasonDuplicateContentType:        {"duplicate_content_type", 400},
	ReasonBadExpect:                   {"bad_expect", 417},
	ReasonBadMethod:                   {"bad_method", 400},
	ReasonBadTarget:                   {"bad_target", 400},
	ReasonBadRequestLine:              {"bad_request_line", 400},
	ReasonBadVersion:                  {"bad_version", 400},
	ReasonUnsupportedVersion:          {"unsupported_version", 505},
	ReasonLineTooLong:                 {"line_too_long", 414},
	ReasonFieldTooLong:                {"field_too_long", 431},
	ReasonTooManyFields:               {"too_many_fields", 431},
	ReasonHeadTooLarge:                {"head_too_large", 431},
	ReasonBadChunkSize:                {"bad_chunk_size", 400},
	ReasonBadChunkExt:                 {"bad_chunk_ext", 400},
	ReasonChunkExtTooLarge:            {"chunk_ext_too_large", 400},
	ReasonBadChunkEnd:                 {"bad_chunk_end", 400},
	ReasonBadTrailer:                  {"bad_trailer", 400},
	ReasonTrailerTooLarge:             {"trailer_too_large", 431},
	ReasonTruncatedHead:               {"truncated_head", 400},
	ReasonTruncatedBody:               {"truncated_body", 400},
	ReasonBadForwarded:                {"bad_forwarded", 400},
	ReasonForwardedMismatch:           {"forwarded_mismatch", 400},
	ReasonBadProxyHeader:              {"bad_proxy_header", 400},
	ReasonMissingProxyHeader:          {"missing_proxy_header", 400},
	ReasonBodyTooLarge:                {"body_too_large", 413},
	ReasonConnect:                     {"connect", 405},
	ReasonUnknownProtocol:             {"unknown_protocol", 501},
	ReasonHTTP2Stream:                 {"http2_stream", 400},
	ReasonHTTP2Connection:             {"http2_connection", 400},
	ReasonSpoolStalled:                {"spool_stalled", 503},
}

// String returns the reason as a label for a metric.
func (r Reason) String() string {
	if r >= numReasons {
		return "unknown"
	}
	return reasons[r].label
}

// Status returns the HTTP status that answers a request refused for r.
func (r Reason) Status() int {
	if r >= numReasons {
		return 400
	}
	return int(reasons[r].status)
}
