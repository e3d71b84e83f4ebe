// Package static decides how a request for a file is answered: which file it is, in
// which encoding, whether the client has it already and which part it wants. It
// opens the file; sending it is the caller's business.
//
//	roots, err := static.Open(dirs)
//	if root := roots.Find(path); root != nil {
//		answer := root.Answer(&static.Request{Method: "GET", Path: path, Target: target})
//		// send answer.Status, answer.Fields, then answer.Body or answer.File
//	}
//
// Conditions and ranges are net/http's: http.ServeContent decides about them, with a
// ResponseWriter that notes which bytes it would have copied.
//
// # No way out
//
// Names are resolved by os.Root, beneath a directory that is opened once: neither
// ".." nor a symbolic link leads out of it, whatever is renamed meanwhile. Apart
// from that a path has to be written in the one way that there is for a file: empty
// segments, "." and "..", a slash in its escaped form and a zero byte are not found.
// Nor are names that begin with a dot, but for ".well-known": what lies there
// (.git, .env, .htpasswd) was not meant to be seen.
package static
