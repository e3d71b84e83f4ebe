package http1

import "encoding/binary"

// records returns fields, given as names and values in turn, as C writes them.
func records(nv ...string) []byte {
	var b []byte
	for i := 0; i < len(nv); i += 2 {
		b = binary.NativeEndian.AppendUint32(b, uint32(len(nv[i])))
		b = binary.NativeEndian.AppendUint32(b, uint32(len(nv[i+1])))
		b = append(b, nv[i]...)
		b = append(b, nv[i+1]...)
	}
	return b
}
