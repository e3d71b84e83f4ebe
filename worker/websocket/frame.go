package websocket

import (
	"encoding/binary"
	"math/bits"
)

// Opcode is what a frame is.
type Opcode uint8

// The opcodes.
const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

const (
	maxControl = 125
	maxHeader  = 14 // of a frame from a client

	bitFin  = 0x80
	bitRSV1 = 0x40
	bitMask = 0x80
)

func (o Opcode) control() bool { return o >= Close }

// AppendHeader appends the header of a server's unfragmented frame with n bytes of payload,
// which are compressed as it says.
func AppendHeader(b []byte, o Opcode, n int, deflated bool) []byte {
	first := bitFin | byte(o)
	if deflated {
		first |= bitRSV1
	}
	switch {
	case n <= maxControl:
		return append(b, first, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, first, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, first, 127), uint64(n))
	}
}

// AppendControl appends a server's ping or pong. p has at most 125 bytes.
func AppendControl(b []byte, o Opcode, p []byte) []byte {
	return append(AppendHeader(b, o, len(p), false), p...)
}

// header is that of a client's frame.
type header struct {
	op   Opcode
	fin  bool
	rsv1 bool
	n    uint64
	key  uint32
}

// size is how long a header is, as its first two bytes say.
func size(b []byte) int {
	switch b[1] &^ bitMask {
	case 126:
		return 8
	case 127:
		return maxHeader
	default:
		return 6
	}
}

// parse reads a whole header.
func parse(b []byte) (h header, err *Error) {
	h.op, h.fin, h.rsv1 = Opcode(b[0]&0x0f), b[0]&bitFin != 0, b[0]&bitRSV1 != 0
	short := b[1] &^ bitMask
	switch {
	case b[0]&0x30 != 0:
		return h, errReserved
	case h.op > Binary && h.op < Close || h.op > Pong:
		return h, errOpcode
	case b[1]&bitMask == 0:
		return h, errMask
	case h.op.control() && (!h.fin || short > maxControl):
		return h, errControl
	}
	h.n = uint64(short)
	switch short {
	case 126:
		if h.n = uint64(binary.BigEndian.Uint16(b[2:])); h.n <= maxControl {
			return h, errLength
		}
	case 127:
		if h.n = binary.BigEndian.Uint64(b[2:]); h.n < 1<<16 || h.n >= 1<<63 {
			return h, errLength
		}
	}
	h.key = binary.LittleEndian.Uint32(b[size(b)-4:])
	return h, nil
}

// unmask takes the mask off p in place. It returns the key for what follows p.
func unmask(p []byte, key uint32) uint32 {
	next := bits.RotateLeft32(key, -8*(len(p)&3))
	long := uint64(key) | uint64(key)<<32
	for len(p) >= 32 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^long)
		binary.LittleEndian.PutUint64(p[8:], binary.LittleEndian.Uint64(p[8:])^long)
		binary.LittleEndian.PutUint64(p[16:], binary.LittleEndian.Uint64(p[16:])^long)
		binary.LittleEndian.PutUint64(p[24:], binary.LittleEndian.Uint64(p[24:])^long)
		p = p[32:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^long)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(key >> (8 * (i & 3)))
	}
	return next
}
