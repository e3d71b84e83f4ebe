package e2e

import "testing"

// TestASGIKinds tells by itself of which kind an application is, and takes it as the one
// that it is said to be.
func TestASGIKinds(t *testing.T) {
	for _, c := range []struct {
		app, interfaces, want string
	}{
		{"kinds:function", "", "asgi"},
		{"kinds:instance", "", "asgi"},
		{"kinds:method", "", "asgi"},
		{"kinds:slots", "", "asgi"},
		{"kinds:partial", "", "asgi"},
		{"kinds:wrapped", "", "asgi"},
		{"kinds:make()", "", "asgi"},
		{"kinds:make_later()", "", "made on the loop"},
		{"kinds:Two", "", "asgi2"},
		{"kinds:two", "", "asgi2"},
		{"kinds:two", "asgi2", "asgi2"},
		{"kinds:function", "asgi", "asgi"},
		{"kinds:environ_first", "", "wsgi"},
		{"kinds:wsgi", "", "wsgi"},
		{"kinds:make_wsgi()", "", "wsgi"},
		{"kinds:wsgi", "wsgi", "wsgi"},
	} {
		t.Run(c.app+" "+c.interfaces, func(t *testing.T) {
			args := []string{c.app}
			if c.interfaces != "" {
				args = []string{"--interface", c.interfaces, c.app}
			}
			s := startASGI(t, args...)
			if status, b := s.get("/"); status != 200 || b != c.want {
				t.Errorf("%d %q, want %q", status, b, c.want)
			}
		})
	}
}

// TestASGIWrongKind says what to do, before a worker serves what cannot be.
func TestASGIWrongKind(t *testing.T) {
	for _, c := range []struct{ args, want []string }{
		{[]string{"kinds:events"}, []string{"asynchronous generator"}},
		{[]string{"--interface", "grpc", "kinds:function"}, []string{"--interface", "asgi2"}},
	} {
		s := launchASGI(t, c.args...)
		for _, want := range c.want {
			s.waitLog(want)
		}
		if s.exitStatus() == 0 {
			t.Errorf("%v: ended with 0", c.args)
		}
	}
}
