package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"hostler/settings"
)

func TestPools(t *testing.T) {
	want := []settings.Pool{{Name: "slow", Pattern: "/export*", Threads: 2}, {Name: "odd-1_B", Pattern: "*a:b=c", Threads: 8}}
	for _, c := range []struct {
		name string
		file files
		env  []string
		args []string
	}{
		{"flags", nil, nil, []string{"--pool", "slow=/export*:2", "--pool=odd-1_B=*a:b=c:8"}},
		{"variable", nil, []string{"HOSTLER_POOL=slow=/export*:2, odd-1_B=*a:b=c:8"}, nil},
		{"file", files{"hostler.toml": "pool = ['slow=/export*:2', 'odd-1_B=*a:b=c:8']\n"}, nil, nil},
	} {
		got := mustLoad(t, c.file, c.env, append([]string{"shop", "--threads", "8"}, c.args...)...)
		if !reflect.DeepEqual(got.Pools, want) {
			t.Errorf("%s: %+v", c.name, got.Pools)
		}
	}
	for arg, want := range map[string]string{
		"/a:1":                           `"/a:1" is not NAME=PATTERN:THREADS`,
		"x=/a":                           "is not NAME=PATTERN:THREADS",
		"=/a:1":                          `"" cannot be the name`,
		strings.Repeat("x", 33) + "=/:1": "cannot be the name",
		"x=:1":                           `the pattern ""`,
		"x=/a:9":                         "cannot have 9 threads: a worker has 8",
		"x=/a:-1":                        `"-1" is not a number of threads`,
		"x=/a:1,x=/b:1":                  "two pools called x",
		strings.Repeat("x=/:1,", 17):     "no more than 16 pools",
	} {
		all := problems(t, nil, nil, "shop", "--threads", "8", "--pool", arg)
		if !slices.ContainsFunc(all, func(p string) bool { return strings.Contains(p, want) }) {
			t.Errorf("%s: %q", arg, all)
		}
	}
}
