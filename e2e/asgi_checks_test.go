package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// asgiPackages is where anyio and uvloop of a CPython are (scripts/asgi-packages); "":
// it has none.
func asgiPackages(t *testing.T, python string) string {
	t.Helper()
	dir, err := filepath.Abs("../build/asgi/" + versionOf(t, python))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// TestASGIChecks has coroutines of requests look at what they run in: whether it is a
// Task of the loop's as any other, on every CPython and on both loops. The checks run
// one by one, all at once, and once more.
func TestASGIChecks(t *testing.T) {
	found, names := pythons(t)
	for _, name := range names {
		version := strings.Fields(name)[0]
		packages := asgiPackages(t, found[name])
		if packages == "" {
			t.Logf("%s: no packages are installed for it: asyncio alone, and no anyio", version)
		}
		for _, loop := range loops {
			if loop == "uvloop" && packages == "" {
				continue
			}
			t.Run(version+"/"+loop, func(t *testing.T) {
				args := []string{"--python", found[name], "--loop", loop}
				if packages != "" {
					args = append(args, "-e", "PYTHONPATH="+packages)
				}
				if asgiPeer != "" {
					args = append(args, "-e", "PYTHONPATH="+packages+":../../../build/asgi/lib/python3.11/site-packages")
				}
				s := startASGI(t, append(args, "checks:app")...)
				_, all := s.get("/")
				if len(strings.Fields(all)) < 25 {
					t.Fatalf("the checks: %q", all)
				}
				ask := func(check string) {
					if status, b := s.get("/" + check); status != 200 || b != "ok" {
						t.Errorf("%s: %d %s", check, status, b)
					}
				}
				for range 2 {
					for _, check := range strings.Fields(all) {
						ask(check)
					}
					var wg sync.WaitGroup
					for _, check := range strings.Fields(all) {
						if check != "signal" && check != "factory" && check != "garbage" { // which are the process's, or need that nobody else is
							wg.Go(func() { ask(check) })
						}
					}
					wg.Wait()
				}
				for _, bad := range []string{"Traceback", "was never awaited", "was never retrieved", "was destroyed"} {
					if strings.Contains(s.log.String(), bad) {
						t.Errorf("the log has %q", bad)
					}
				}
			})
		}
	}
}
