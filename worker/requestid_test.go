package worker

import (
	"strings"
	"testing"
)

func TestIsRequestID(t *testing.T) {
	for v, want := range map[string]bool{
		"a": true, "4bf92f3577b34da6a3ce929d0e0e4736": true, "0192-AZ_az.~+/=@:9": true, strings.Repeat("x", maxRequestID): true,
		"": false, strings.Repeat("x", maxRequestID+1): false, "a b": false, "a\"b": false, "a\\b": false, "a,b": false, "a;b": false,
		"a\tb": false, "a\x80b": false, "é": false, "[a]": false, "a{b": false, "`": false, "a^b": false, "a%0ab": false,
	} {
		if got := isRequestID([]byte(v)); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}
