package master

import (
	"os/user"
	"slices"
	"testing"
)

// TestLoginEnv: workers that run as somebody else are at home there.
func TestLoginEnv(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"HOME=" + me.HomeDir, "USER=" + me.Username, "LOGNAME=" + me.Username}
	if got := loginEnv(me.Username); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := loginEnv(""); got != nil {
		t.Errorf("without a user: %q", got)
	}
	env, _ := workerEnv(append([]string{"HOME=/root", "A=b"}, loginEnv(me.Username)...), []string{"USER=mine"})
	for _, kv := range []string{"HOME=" + me.HomeDir, "USER=mine", "LOGNAME=" + me.Username, "A=b"} {
		if !slices.Contains(env, kv) {
			t.Errorf("no %s in %q", kv, env)
		}
	}
}
