package config_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hostler/config"
	"hostler/internal/testpeers"
)

// otherwise are flags of peers' that take a value here and none there, or the other way
// round.
var otherwise = []string{"--access-log", "--ws"} // what they are is told from what comes after them

// TestEveryPeerFlag: each flag that uvicorn, granian and hypercorn have is known here, and
// so is whether the next argument belongs to it: of those that testdata has, and of those
// of the newest ones where make tools has installed them.
func TestEveryPeerFlag(t *testing.T) {
	compare := func(t *testing.T, data []byte) {
		var peers map[string]struct {
			Version string
			Flags   map[string]string
		}
		if err := json.Unmarshal(data, &peers); err != nil || len(peers) != 3 {
			t.Fatalf("%d peers, %v", len(peers), err)
		}
		for name, peer := range peers {
			if len(peer.Flags) < 30 {
				t.Errorf("%s %s has only %d flags?", name, peer.Version, len(peer.Flags))
			}
			for flag, takes := range peer.Flags {
				if flag == "--help" || flag == "-h" {
					continue
				}
				args := []string{flag, "shop:app"}
				if takes == "one" && !slices.Contains(otherwise, flag) {
					args = []string{flag, "nothing:that:is:right", "shop:app"}
				}
				_, err := load(nil, nil, args...)
				if err == nil || err == config.ErrVersion {
					continue
				}
				for _, wrong := range []string{"unknown flag", "no application", "application:", "too many arguments", "strconv"} {
					if strings.Contains(err.Error(), wrong) {
						t.Errorf("%s %s: %s: %v", name, peer.Version, strings.Join(args, " "), err)
					}
				}
			}
		}
	}
	testpeers.Compare(t, "testdata/peer-flags.json", "..", "peers", "peer-flags", compare)
}
