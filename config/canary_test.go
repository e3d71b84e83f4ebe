package config_test

import (
	"strings"
	"testing"
	"time"

	"hostler/settings"
)

func TestCanary(t *testing.T) {
	for text, want := range map[string]settings.Canary{
		"5%:30s":  {Share: 0.05, Time: 30 * time.Second},
		"0.5%:2m": {Share: 0.005, Time: 2 * time.Minute},
		"50%:90":  {Share: 0.5, Time: 90 * time.Second},
		"off":     {},
		"":        {},
	} {
		if got := mustLoad(t, nil, nil, "shop", "--canary", text).Canary; got != want {
			t.Errorf("%s: %+v", text, got)
		}
		if got := mustLoad(t, files{"hostler.toml": "canary = '" + text + "'\n"}, nil, "shop").Canary; got != want {
			t.Errorf("%s in the file: %+v", text, got)
		}
	}
	for text, want := range map[string]string{
		"5%":        `"5%" is not SHARE%:TIME, e.g. 5%:30s`,
		"30s:5%":    `"30s" is not a share of the requests: give percent, with the sign (5%, 0.5%)`,
		"0.05:30s":  `"0.05" is not a share`,
		"5:30s":     `"5" is not a share`,
		"5 %:30s":   `"5 %" is not a share`,
		"-5%:30s":   `"-5%" is not a share`,
		"NaN%:30s":  `"NaN%" is not a share`,
		"0%:30s":    `"0%" is no share for a canary: more than 0 %, and 50 % at most`,
		"51%:30s":   `"51%" is no share for a canary`,
		"5%:":       `"" is no time for a canary: give seconds (30) or a number with s, m or h (2m), from 1s to 24h`,
		"5%:30s:1":  `"30s:1" is no time`,
		"5%:500ms":  `"500ms" is no time`,
		"5%:2d":     `"2d" is no time`,
		"5%:-30s":   `"-30s" is no time`,
		"5%:for a ": `"for a " is no time`,
	} {
		if all := strings.Join(problems(t, nil, nil, "shop", "--canary", text), "\n"); !strings.Contains(all, want) {
			t.Errorf("%s: %s", text, all)
		}
	}
}
