package master

import (
	"slices"
	"testing"

	"hostler/internal/mentions"
	"hostler/protocol"
)

// TestEveryMessageIsTaken: whatever a process of ours may say, the master knows what to
// do.
func TestEveryMessageIsTaken(t *testing.T) {
	for _, c := range []struct {
		from      protocol.Party
		dir       string
		functions []string
	}{
		{protocol.PartyWorker | protocol.PartyDeveloped, ".", []string{"workerSaid"}},
		{protocol.PartyMold, "spawn", []string{"heard", "hear"}},
		{protocol.PartyHooks, ".", []string{"helperSaid"}},
	} {
		handled, err := mentions.In(c.dir, "protocol.Kind", c.functions...)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range protocol.MessageKinds() {
			if may := m.From&c.from != 0; may != slices.Contains(handled, "Kind"+m.Name) {
				t.Errorf("%s is what %v may say: %t; %q take: %q", m.Name, c.from, may, c.functions, handled)
			}
		}
	}
	if words := protocol.Words(protocol.PartyNewborn); words != string(protocol.KindBorn) {
		t.Errorf("awaitName takes one word, not %q", words)
	}
}
