package config

import (
	"fmt"
	"strings"

	"hostler/config/foreign"
)

// ForeignReference returns a page with the lists in it that the tables of other
// servers' settings make: what stands between the marks of a list is made anew.
func ForeignReference(page string) (string, error) {
	for _, server := range []foreign.Server{foreign.Gunicorn, foreign.Uvicorn, foreign.Granian, foreign.Hypercorn, foreign.UWSGI} {
		begin, end := fmt.Sprintf("<!-- settings of %s, by go generate -->\n", server), "<!-- end -->"
		head, rest, ok := strings.Cut(page, begin)
		if !ok {
			return "", fmt.Errorf("the page has no line %q", begin)
		}
		_, tail, ok := strings.Cut(rest, end)
		if !ok {
			return "", fmt.Errorf("the page has no line %q", end)
		}
		page = head + begin + "\n" + foreignList(server) + "\n" + end + tail
	}
	return page, nil
}

func foreignList(server foreign.Server) string {
	var b strings.Builder
	for _, i := range foreign.All() {
		if i.Server != server {
			continue
		}
		var names []string
		if i.Key != "" && server == foreign.Gunicorn {
			names = append(names, "`"+i.Key+"`")
		}
		for _, f := range i.Flags {
			names = append(names, "`"+f+"`")
		}
		b.WriteString(wrapped("* "+strings.Join(names, ", ")+": "+becomes(i)+".", "  "))
	}
	return b.String()
}

// becomes says what becomes of a setting.
func becomes(i foreign.Info) string {
	link := fmt.Sprintf("[`--%s`](settings.md#%s)", i.Here, i.Here)
	why := ""
	if i.Why != "" {
		why = "; " + mdText(i.Why)
	}
	switch {
	case i.Hook && i.Here == "hooks":
		return "a [hook](hooks.md)" + why
	case i.Here == "app":
		return "the application" + why
	case newLoader().find(i.Here) == nil && i.Here != "": // a part of something
		return mdText(i.Why)
	case i.Here != "":
		return link + why
	case i.Fate == foreign.Idle:
		return "not needed" + why
	case i.Fate == foreign.Refused:
		return "refused" + why
	case i.Fate == foreign.Lost:
		return "no counterpart" + why
	}
	return strings.TrimPrefix(why, "; ")
}
