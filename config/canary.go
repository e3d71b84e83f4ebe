package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hostler/settings"
)

const (
	acceptsCanary = "`SHARE%:TIME`, e.g. `5%:30s`: up to 50 %, for a second to a day; or `off`"
	// A canary is compared with the others, so that these have to have enough of the requests.
	mostCanary  = 50
	leastCanary = time.Second
	maxCanary   = 24 * time.Hour
)

// canaryShare is a number of percent.
var canaryShare = regexp.MustCompile(`^[0-9]{1,2}(\.[0-9]{1,3})?%$`)

// parseCanary reads SHARE%:TIME. Of a share without the sign nobody could tell whether 0.05 of
// all was meant, or 0.05 %.
func parseCanary(s string) (c settings.Canary, err error) {
	if s == "" || s == "off" {
		return c, nil
	}
	share, text, ok := strings.Cut(s, ":")
	if !ok {
		return c, fmt.Errorf("%q is not SHARE%%:TIME, e.g. 5%%:30s", s)
	}
	if !canaryShare.MatchString(share) {
		return c, fmt.Errorf("%q is not a share of the requests: give percent, with the sign (5%%, 0.5%%)", share)
	}
	percent, _ := strconv.ParseFloat(strings.TrimSuffix(share, "%"), 64) // the pattern says that it is one
	if percent <= 0 || percent > mostCanary {
		return c, fmt.Errorf("%q is no share for a canary: more than 0 %%, and %d %% at most", share, mostCanary)
	}
	d, ok := parseTime(text)
	if !ok || d < leastCanary || d > maxCanary {
		return c, fmt.Errorf("%q is no time for a canary: give seconds (30) or a number with s, m or h (2m), from 1s to 24h", text)
	}
	return settings.Canary{Share: percent / 100, Time: d}, nil
}
