package foreign

import "strings"

// Info is an entry of a table, for documentation and tests.
type Info struct {
	Server Server
	Key    string
	Flags  []string
	Takes  Takes
	Fate   Fate
	Here   string // a setting of package config's; "": none
	Why    string
	Hook   bool // a function
}

// All returns all that is known.
func All() []Info {
	var all []Info
	for _, table := range tables() {
		for _, s := range table {
			all = append(all, Info{s.server, s.key, s.flags, s.takes, s.fate, strings.TrimPrefix(s.here, "+"), s.why, s.hook})
		}
	}
	return all
}
