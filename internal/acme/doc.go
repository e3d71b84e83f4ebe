// Package acme gets certificates from an authority that speaks ACME (RFC 8555), keeps
// them in a directory and renews them in time.
//
// The directory is the truth: what is in use is read from there, by every master that is
// given it, and a challenge under way lies there, too, so that each of them can answer
// it. Whoever orders holds the directory's lock, and looks again at what there is when he
// has it: two masters do not order the same.
//
// Nothing here is in a hurry, and nothing hammers the authority. When it may be asked
// next stands in the directory before it is asked, so that a server which dies of it, or
// is restarted for ever, asks no more often than one that lives.
package acme
