package http1

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/http.md names a test for each rule; here they are looked up. A case of a
// test is one if its name stands in the package's tests as a string.
func TestDocumentedTestsExist(t *testing.T) {
	const root = "../../"
	page, err := os.ReadFile(root + "docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	for name, dir := range map[string]string{"http1": "worker/http1", "worker": "worker", "e2e": "e2e"} {
		files, err := filepath.Glob(root + dir + "/*_test.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no tests in %s: %v", dir, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sources[name] += string(b)
		}
	}
	named := regexp.MustCompile("`(http1|worker|e2e) ((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")
	seen := 0
	for _, item := range strings.Split("\n"+string(page), "\n* ")[1:] {
		item, _, _ = strings.Cut(item, "\n\n")
		rule, _, _ := strings.Cut(strings.TrimPrefix(item, "**"), "**")
		found := named.FindAllStringSubmatch(item, -1)
		for _, m := range found {
			seen++
			source := sources[m[1]]
			if !strings.Contains(source, "\nfunc "+m[2]+"(") {
				t.Errorf("%s: there is no %s in %s", rule, m[2], m[1])
			}
			if m[3] != "" && !strings.Contains(source, `"`+m[3]+`"`) {
				t.Errorf("%s: there is no case %q in %s", rule, m[3], m[1])
			}
		}
		rest, isRule := strings.CutPrefix(item, "**"+rule+"**")
		if isRule && !strings.HasPrefix(rest, " refuses ") && len(found) == 0 {
			t.Errorf("a rule without a test: %s", rule)
		}
	}
	if seen < 80 {
		t.Errorf("only %d tests are named", seen)
	}
	for r := ReasonNone + 1; r < numReasons; r++ {
		if !strings.Contains(string(page), "`"+r.String()+"`") {
			t.Errorf("the reason %v is not explained", r)
		}
	}
}
