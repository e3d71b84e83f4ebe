package websocket

import "encoding/binary"

// FrameCount knows where frames begin in a stream of them.
type FrameCount struct {
	head [14]byte // of the frame that comes, as far as it is there
	n    int
	left uint64 // of its payload
}

// Between says that a frame has ended, or none has begun.
func (f *FrameCount) Between() bool { return f.n == 0 && f.left == 0 }

// Next takes bytes up to the end of a frame, and returns how many of b these are.
func (f *FrameCount) Next(b []byte) int {
	at := 0
	for f.left == 0 && at < len(b) {
		f.head[f.n] = b[at]
		f.n++
		at++
		if f.n == f.headLen() {
			f.left, f.n = f.payload(), 0
			break
		}
	}
	if f.n > 0 {
		return at
	}
	n := min(uint64(len(b)-at), f.left)
	f.left -= n
	return at + int(n)
}

// headLen is how long the head is, as far as can be told.
func (f *FrameCount) headLen() int {
	n := 2
	if f.n < 2 {
		return n
	}
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *FrameCount) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// AppendMaskedClose appends a close frame without a reason as a client sends it.
func AppendMaskedClose(b []byte, code int) []byte {
	const fin, masked = 0x80, 0x80
	return binary.BigEndian.AppendUint16(append(b, fin|byte(Close), masked|2, 0, 0, 0, 0), uint16(code))
}
