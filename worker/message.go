package worker

// message is what a response says in one go: a head, or the begin of the bytes,
// which data and tail go on with.
type message struct {
	kind             itemKind // of head
	head, data, tail []byte
	end              bool // of the response
}

func (m *message) size() int { return len(m.head) + len(m.data) + len(m.tail) }

// itemKind is what a piece of output is. HTTP/1.1 has bytes only; a stream of HTTP/2
// says these, and whatever waits for the client keeps its kind.
type itemKind uint8

const (
	itemBytes    itemKind = iota // of a body; in HTTP/1.1, of all else, too
	itemInterim                  // the section of an interim response (see http1.AppendSection)
	itemHead                     // that of the response
	itemTrailers                 // what follows the body
)

// outItem is a piece of output: memory, or n bytes of a file.
type outItem struct {
	kind itemKind
	end  bool // the response ends with it
	mem  []byte
	ref  uintptr // the Python object that owns mem; 0: the Go heap
	file int     // or -1
	off  int64
	n    int64
}

// fileSlice is how much of a file is sent before others have their turn: a client
// that takes it as fast as we send it must not keep the thread to itself.
const fileSlice = 1 << 20

// skip leaves out the first n bytes of b, and says how many of them are beyond its end.
func skip(b []byte, n int) ([]byte, int) {
	if n >= len(b) {
		return b[len(b):], n - len(b)
	}
	return b[n:], 0
}
