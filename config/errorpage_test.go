package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"hostler/settings"
)

func TestErrorPage(t *testing.T) {
	want := []settings.ErrorPage{{Status: 5, Type: "text/html; charset=utf-8", File: "sorry.html"}, {Status: 503, Type: "application/json", File: "/srv/busy.JSON"}}
	for _, c := range []struct {
		name string
		file files
		env  []string
		args []string
	}{
		{"flags", nil, nil, []string{"--error-page", "5xx=sorry.html", "--error-page=503=/srv/busy.JSON"}},
		{"list", files{"hostler.toml": "error_page = ['5xx=sorry.html', '503=/srv/busy.JSON']\n"}, nil, nil},
	} {
		if got := mustLoad(t, c.file, c.env, append([]string{"shop"}, c.args...)...); !reflect.DeepEqual(got.ErrorPages, want) || len(got.Warnings) != 0 {
			t.Errorf("%s: %+v, %q", c.name, got.ErrorPages, got.Warnings)
		}
	}
	got := mustLoad(t, files{"hostler.toml": "[error_page]\n503 = '/srv/busy.JSON'\n5xx = 'sorry.html'\n"}, nil, "shop")
	slices.SortFunc(got.ErrorPages, func(a, b settings.ErrorPage) int { return a.Status - b.Status })
	if !reflect.DeepEqual(got.ErrorPages, want) {
		t.Errorf("a table: %+v", got.ErrorPages)
	}
	if got := mustLoad(t, nil, nil, "shop", "--error-page", "502=x.html"); len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "hostler never answers 502 by itself") {
		t.Errorf("502: %q", got.Warnings)
	}
	for arg, want := range map[string]string{
		"x.html":      `"x.html" is not STATUS=FILE`,
		"503=":        `"503=" is not STATUS=FILE`,
		"200=x.html":  `"200" is no status of an error`,
		"3xx=x.html":  `"3xx" is no status of an error`,
		"600=x.html":  `"600" is no status of an error`,
		"503=x":       "says nothing of its type: it has to end with one of .htm, .html, .json, .txt, .xml",
		"503=x.php":   "says nothing of its type",
		"0503=x.html": "two files for 503",
	} {
		if all := problems(t, nil, nil, "shop", "--error-page", "503=y.html", "--error-page", arg); len(all) != 1 || !strings.Contains(all[0], want) {
			t.Errorf("%s: %q", arg, all)
		}
	}
}
