package http1

// Unescape writes src to dst with its percent-escapes decoded, and returns how
// many bytes that made. What only looks like an escape stays as it is. dst must
// have room for len(src) bytes and may be src.
func Unescape(dst, src []byte) int {
	n := 0
	for i := 0; i < len(src); i++ {
		c := src[i]
		if c == '%' && i+2 < len(src) && class[src[i+1]]&class[src[i+2]]&isHex != 0 {
			c = unhex(src[i+1])<<4 | unhex(src[i+2])
			i += 2
		}
		dst[n] = c
		n++
	}
	return n
}
