package spawn

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

// TestWords: a process is believed in what its part has to say, and what else it
// sends is said once, and how much it was at its end.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		name   string
		config protocol.WorkerConfig
		may    string
	}{
		{"worker", protocol.WorkerConfig{}, "RFhEQZXOACde"},
		{"worker of a developer", protocol.WorkerConfig{Worker: settings.Worker{Development: true}}, "RFhEQZXMOACde"},
		{"mold", protocol.WorkerConfig{Mold: true, Worker: settings.Worker{Preload: true}}, "RFPMA"},
		{"hooks", protocol.WorkerConfig{HooksOnly: true}, "FNK"},
	} {
		var log bytes.Buffer
		h := hearing{log: slog.New(slog.NewTextHandler(&log, nil)), pid: 4711, words: wordsOf(&c.config)}
		heard, odd := "", 1
		h.parse(nil, 4711)
		for kind := range 256 {
			packet := []byte{byte(kind)}
			if protocol.Kind(kind) == protocol.KindForked {
				packet = []byte("P")
			}
			if m, ok := h.parse(packet, 4711); ok {
				heard += string(rune(m.Kind))
			} else {
				odd++
			}
		}
		h.end()
		if len(heard) != len(c.may) || strings.Trim(heard, c.may) != "" {
			t.Errorf("%s: heard %s, not %s", c.name, heard, c.may)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 || h.odd != odd || !strings.Contains(log.String(), "packets=") {
			t.Errorf("%s: %d packets of %d are odd; log:\n%s", c.name, h.odd, odd, &log)
		}
	}
}

// TestTalkerWaits: who sends without end is slowed down; the parts of a long profile
// are not.
func TestTalkerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hearing
		begun := time.Now()
		for range 2 * protocol.MaxProfile / protocol.MaxMessage {
			h.pause()
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("a profile took %v", d)
		}
		for range 10000 {
			h.pause()
		}
		if d := time.Since(begun); d < 90*time.Second {
			t.Errorf("10000 messages took %v", d)
		}
		time.Sleep(time.Hour)
		begun = time.Now()
		h.pause()
		if d := time.Since(begun); d != 0 {
			t.Errorf("after a rest a message took %v", d)
		}
	})
}
