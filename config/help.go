package config

import (
	"fmt"
	"strings"

	"hostler/internal/cli"
)

const helpTail = `
Times are seconds (30, 0.5) or have a unit (500ms, 2m). Most settings may also
be an environment variable (--max-requests: HOSTLER_MAX_REQUESTS) or a key in
the settings file (max_requests = 1000). Flags go before variables, variables
before the file.

Signals to the master:
  HUP          read the settings again and load the code anew; no request is
               lost
  TERM, INT    finish what runs, then stop; a second INT stops now
  QUIT         stop now
  TTIN, TTOU   one worker more, one fewer
  USR1         open log files anew
  USR2         replace the binary; no request is lost

hostler ctl shows and controls the running server: hostler ctl --help.

Examples:
  hostler shop.wsgi
  hostler -w auto --threads 4 -b 0.0.0.0:8000 shop:app
  hostler -b unix:/run/shop.sock --access-log - "shop:create_app()"
  hostler check -c /etc/shop/hostler.toml
`

// helpColumn is where descriptions begin. A flag too wide for that has its
// description on the next line.
const helpColumn = 32

// Help returns what --help says of the settings.
func Help() string {
	var b strings.Builder
	group := ""
	for _, s := range table() {
		if s.positional() {
			continue
		}
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		flag := "      --" + s.name
		if s.short != "" {
			flag = "  -" + s.short + ", --" + s.name
		}
		if s.arg != "" {
			flag += " " + s.arg
		}
		text := s.help
		if s.def != "" {
			text += " [" + s.def + "]"
		}
		cli.Row(&b, flag, helpColumn, text)
	}
	b.WriteString(helpTail)
	return b.String()
}
