package protocol

import "strconv"

// registered are the status codes of IANA's registry that a response can end with.
var registered = [...]int{
	101,
	200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
	300, 301, 302, 303, 304, 305, 307, 308,
	400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418,
	421, 422, 423, 424, 425, 426, 428, 429, 431, 451,
	500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
}

// NumCodes is how many codes are told apart: none, which counts requests that got no
// answer, the registered ones, and for each class all others, so that an application
// cannot make up labels.
const (
	NumCodes   = 1 + len(registered) + numClasses
	numClasses = len(Classes) - 1
	maxCode    = 599
)

// CodeOther is the name of a code that is not registered.
const CodeOther = "other"

// codeIndex has the index of each status.
var codeIndex = func() (index [maxCode + 1]uint8) {
	for status := 100; status <= maxCode; status++ {
		index[status] = uint8(len(registered) + status/100)
	}
	for i, status := range registered {
		index[status] = uint8(1 + i)
	}
	return index
}()

// CodeIndex returns the index of status in Counters.Requests. Clients take what is
// beyond 599 for 5xx.
func CodeIndex(status int) int {
	if uint(status) > maxCode {
		return NumCodes - 1
	}
	return int(codeIndex[status])
}

// CodeName is the value of the code label for an index of CodeIndex's: "none", "404",
// "other".
func CodeName(i int) string {
	switch {
	case i == 0:
		return Classes[0]
	case i <= len(registered):
		return strconv.Itoa(registered[i-1])
	}
	return CodeOther
}

// CodeClass is the index in Classes for an index of CodeIndex's.
func CodeClass(i int) int {
	switch {
	case i == 0:
		return 0
	case i <= len(registered):
		return registered[i-1] / 100
	}
	return i - len(registered)
}

// Class is the index in Classes of a status with which a request was answered.
func Class(status int) int { return CodeClass(CodeIndex(status)) }

// OfClass returns how many requests with a method (an index of Methods) ended with a
// status of a class (an index of Classes).
func (c *Counters) OfClass(method, class int) (n uint64) {
	for i := range c.Requests[method] {
		if CodeClass(i) == class {
			n += c.Requests[method][i].Load()
		}
	}
	return n
}
