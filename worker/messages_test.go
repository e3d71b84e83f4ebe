package worker

import (
	"slices"
	"testing"

	"hostler/internal/mentions"
	"hostler/protocol"
)

// TestEveryMessageIsObeyed: whatever the master may say to a worker, the worker knows
// what to do.
func TestEveryMessageIsObeyed(t *testing.T) {
	handled, err := mentions.In(".", "protocol.Kind", "control")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range protocol.MessageKinds() {
		if to := m.To&(protocol.PartyWorker|protocol.PartyDeveloped) != 0; to != slices.Contains(handled, "Kind"+m.Name) {
			t.Errorf("%s is for workers: %t; they take: %q", m.Name, to, handled)
		}
	}
}
