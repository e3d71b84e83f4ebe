// Package websocket is one WebSocket without its connection: the handshake, the codec and
// the state of what is received (RFC 6455), and permessage-deflate (RFC 7692). It does no
// input or output.
//
//	hs, refusal := websocket.Check(buf, &request)
//	if refusal == nil {
//		head = hs.AppendAnswer(head, subprotocol) // the fields of the 101
//	}
//
//	r := websocket.Reader{Max: 16 << 20, Deflate: hs.Deflate.On}
//	for len(b) > 0 {
//		n, m, err := r.Next(b, &scratch)
//		b = b[n:]
//		switch {
//		case err != nil:
//			// send the close frame that err asks for, and read no more
//		case m.Kind != websocket.Nothing:
//			// m.Data is good until the next call, or the caller's if m.Own
//		}
//	}
//
// # What a Reader keeps
//
// Next takes every byte that it is given, so nothing has to be kept for it: the head of a
// frame that has not come whole, the begin of a message, half a character. A message that
// came whole in one frame is handed out where it lies, unmasked in place; one in several
// frames, or larger than what is read at once, is gathered in memory of its own, which the
// caller gets. Between messages a Reader keeps nothing: it is some 100 bytes for a
// WebSocket that is idle.
//
// # Compression
//
// Neither side takes its context over to the next message. So what compresses and inflates
// belongs to whoever works at the moment (Scratch), not to the WebSocket, and ten thousand
// that are idle hold none of it. A client that bounds the window that it has to keep
// (server_max_window_bits) is obeyed: what it gets is compressed in pieces of that size.
//
// Ours is klauspost/compress: its stateless writer takes neither the 800 kB of
// compress/flate's nor the time to clear them (BenchmarkDeflate has both).
package websocket
