package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestFastAPI serves examples/fastapi.
func TestFastAPI(t *testing.T) {
	dir, err := filepath.Abs("../examples/fastapi")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "--python", asgiPython(t), "--chdir", dir, "app")
	c := newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)
	if _, b := s.get("/"); !strings.Contains(b, "FastAPI on hostler") {
		t.Errorf("the page: %q", b)
	}
	c.want(t, `{"n":7,"square":49}`, "GET", "/squares/7", "", nil)
	c.want(t, `{"slept":0.01}`, "GET", "/sleep?seconds=0.01", "", nil)
	large := strings.Repeat("0123456789abcde\n", 200_000)
	for _, body := range []string{"", "short", large} {
		c.want(t, fmt.Sprintf(`{"sha256":"%s","bytes":%d}`, digest(body), len(body)), "POST", "/digest", "application/octet-stream", unsized{strings.NewReader(body)})
	}
	r, err := http.Get("http://" + s.addr + "/clock")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	line, err := bufio.NewReader(r.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "data: ") || r.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Errorf("the clock: %q, %v, %v", line, r.Header, err)
	}
}
