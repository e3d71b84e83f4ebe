package http1

import "bytes"

// Parse parses the request head at the start of buf into r. It returns true when
// the head is whole, false and ReasonNone when more bytes are needed, and false
// and another reason when the request must be refused; r is complete only in the
// first case. from is the number of bytes in which earlier calls did not find the
// end of the head (0 in the first call): with it, input that comes byte by byte
// costs no more than its length.
func Parse(buf []byte, from int, lim *Limits, r *Request) (whole bool, reason Reason) {
	if from > 0 && nothingNew(buf, from, lim) {
		return false, ReasonNone
	}
	// Each line is parsed in a view of buf that ends where its limit does. To
	// run off the end means either that there is no more, or that the limit is
	// exceeded; and which error comes first does not depend on how much of the
	// input is here.
	head := lim.head()
	i := 0
	if len(buf) > 1 && buf[0] == '\r' && buf[1] == '\n' {
		i = 2
	}
	bound := i + lim.line() + 2
	view := buf[:min(len(buf), bound, head)]
	r.Flags, r.ContentLength = 0, -1
	i, reason = requestLine(view, i, r)
	if reason != ReasonNone {
		return false, reason
	}
	if i < 0 {
		return false, overrun(len(buf), bound, head, ReasonLineTooLong)
	}

	lineLimit, maxFields := lim.field(), min(lim.fields(), len(r.Fields))
	nfields := 0 // those stored; count has those left out too
	for count := 0; ; count++ {
		bound := i + lineLimit + 2
		view := buf[:min(len(buf), bound, head)]
		if i >= len(view) {
			return false, overrun(len(buf), bound, head, ReasonFieldTooLong)
		}
		if view[i] == '\r' {
			if i+1 >= len(view) {
				return false, overrun(len(buf), bound, head, ReasonFieldTooLong)
			}
			if view[i+1] != '\n' {
				return false, ReasonBareCR
			}
			break
		}
		if count == maxFields {
			return false, ReasonTooManyFields
		}
		colon, seen := i, uint8(0)
		for colon < len(view) {
			c := class[view[colon]]
			if c&isToken == 0 {
				break
			}
			seen |= c
			colon++
		}
		if colon == len(view) {
			return false, overrun(len(buf), bound, head, ReasonFieldTooLong)
		}
		if view[colon] != ':' || colon == i {
			return false, badName(view[colon], colon == i)
		}
		start := colon + 1
		for start < len(view) && (view[start] == ' ' || view[start] == '\t') {
			start++
		}
		end := control(view, start)
		if end+1 >= len(view) {
			if end < len(view) && view[end] != '\r' {
				return false, badValue(view[end])
			}
			return false, overrun(len(buf), bound, head, ReasonFieldTooLong)
		}
		if view[end] != '\r' {
			return false, badValue(view[end])
		}
		if view[end+1] != '\n' {
			return false, ReasonBareCR
		}
		next := end + 2
		for end > start && (view[end-1] == ' ' || view[end-1] == '\t') {
			end--
		}
		known := uint32(KnownScriptName)
		if seen&isUnderscore == 0 {
			known = lookup(view[i:colon])
		} else if !isScriptName(view[i:colon]) {
			if !lim.Underscores {
				r.Flags |= FlagDroppedField
				i = next
				continue
			}
			known = KnownNone
		}
		if interpreted>>known&1 != 0 {
			if reason := interpret(known, view[start:end], r); reason != ReasonNone {
				return false, reason
			}
		}
		f := &r.Fields[nfields]
		f.Name = Span{uint32(i), uint32(colon - i)}
		f.Value = Span{uint32(start), uint32(end - start)}
		f.Known = known
		nfields++
		i = next
	}
	r.HeadLen, r.NFields = uint32(i+2), uint32(nfields)
	if reason := conclude(buf, r); reason != ReasonNone {
		return false, reason
	}
	return true, ReasonNone
}

// nothingNew says that what follows from neither ends a line nor makes one, or
// the head, too long. Then there is no need to look at what is before it.
func nothingNew(buf []byte, from int, lim *Limits) bool {
	if from > len(buf) || bytes.IndexByte(buf[from:], '\n') >= 0 || len(buf) >= lim.head() {
		return false
	}
	line, field := lim.line(), lim.field()
	if len(buf) < min(line, field)+2 {
		return true
	}
	// Is this still the request line? The LF at 1 would be the empty line's.
	if bytes.IndexByte(buf[2:], '\n') < 0 {
		return len(buf) < line+2
	}
	return bytes.IndexByte(buf[max(0, len(buf)-field-2):], '\n') >= 0
}

// overrun tells what it means that the input ends before the line does.
func overrun(have, bound, head int, tooLong Reason) Reason {
	switch {
	case have < min(bound, head):
		return ReasonNone
	case bound <= head:
		return tooLong
	}
	return ReasonHeadTooLarge
}

func badName(c byte, first bool) Reason {
	switch {
	case c == '\n':
		return ReasonBareLF
	case c != ' ' && c != '\t':
		return ReasonBadFieldName
	case first:
		return ReasonObsFold
	}
	return ReasonSpaceBeforeColon
}

func badValue(c byte) Reason {
	if c == '\n' {
		return ReasonBareLF
	}
	return ReasonBadFieldValue
}
