package websocket

import (
	"strings"
	"testing"

	"hostler/worker/http1"
)

func parsed(t *testing.T, head string) ([]byte, *http1.Request) {
	t.Helper()
	lim := http1.DefaultLimits()
	r := &http1.Request{Fields: make([]http1.Field, lim.Fields+1)}
	b := []byte(strings.ReplaceAll(head, "\n", "\r\n"))
	if ok, reason := http1.Parse(b, 0, &lim, r); !ok || reason != http1.ReasonNone {
		t.Fatalf("%q: %v", head, reason)
	}
	return b, r
}

const (
	sampleKey    = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n" // RFC 6455, 1.3
	sampleAccept = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	begin        = "GET /chat HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: Upgrade\n"
	version      = "Sec-WebSocket-Version: 13\n"
)

func TestAsked(t *testing.T) {
	for _, c := range []struct {
		head string
		want bool
	}{
		{begin + sampleKey + version, true},
		{begin, true}, // and refused
		{"GET / HTTP/1.1\nHost: a\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n", true}, // Firefox
		{"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: WebSocket\n", true},
		{"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: h2c, websocket\n", true},
		{"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: foo/2, websocket\n", true},
		{"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websockets\n", false},
		{"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: h2c\n", false},
		{"GET / HTTP/1.1\nHost: a\nUpgrade: websocket\n", false},
		{"GET / HTTP/1.1\nHost: a\nConnection: upgrade\n", false},
		{"GET / HTTP/1.0\nHost: a\nConnection: upgrade\nUpgrade: websocket\n", false},
		{"POST / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n", false},
	} {
		if b, r := parsed(t, c.head+"\n"); Asked(b, r) != c.want {
			t.Errorf("%q: %v", c.head, !c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	const ext, deflates = "Sec-WebSocket-Extensions: ", "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, c := range []struct {
		fields string
		status int
		agreed string
	}{
		{sampleKey + version, 0, ""},
		{strings.ToUpper(sampleKey[:17]) + sampleKey[17:] + strings.ToLower(version), 0, ""},
		{sampleKey, 426, ""},
		{sampleKey + "Sec-WebSocket-Version: 8\n", 426, ""},
		{sampleKey + "Sec-WebSocket-Version: 13, 8\n", 426, ""},
		{sampleKey + version + version, 426, ""},
		{version, 400, ""},
		{sampleKey + sampleKey + version, 400, ""},
		{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\n" + version, 400, ""},
		{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\n" + version, 400, ""},
		{"Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\n" + version, 400, ""},
		{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEyMzQ1Njc4\n" + version, 400, ""},
		{sampleKey + version + "Content-Length: 3\n", 400, ""},
		{sampleKey + version + "Transfer-Encoding: chunked\n", 400, ""},
		{sampleKey + version + "Content-Length: 0\n", 0, ""},
		{sampleKey + version + "Sec-WebSocket-Protocol: a b\n", 400, ""},
		{sampleKey + version + ext + "permessage-deflate\n", 0, deflates},
		{sampleKey + version + ext + "permessage-deflate; client_max_window_bits\n", 0, deflates},
		{sampleKey + version + ext + "permessage-deflate; client_max_window_bits=9; server_no_context_takeover\n", 0, deflates},
		{sampleKey + version + ext + "permessage-deflate; server_max_window_bits=15\n", 0, deflates},
		{sampleKey + version + ext + "permessage-deflate; server_max_window_bits=\"10\"\n", 0, deflates + "; server_max_window_bits=10"},
		{sampleKey + version + ext + "permessage-deflate; server_max_window_bits=8 , permessage-deflate\n", 0, deflates + "; server_max_window_bits=8"},
		{sampleKey + version + ext + "foo, permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=9\n", 0, deflates + "; server_max_window_bits=9"},
		{sampleKey + version + ext + "x-webkit-deflate-frame\n" + ext + "permessage-deflate\n", 0, deflates},
		{sampleKey + version + ext + "permessage-deflate; server_max_window_bits=7\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate; server_max_window_bits=010\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate; server_max_window_bits\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate; server_no_context_takeover=1\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate; server_no_context_takeover; server_no_context_takeover\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate; client_max_window_bits=0\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate; new=1\n", 0, ""},
		{sampleKey + version + ext + ", ,\n", 0, ""},
		{sampleKey + version + ext + "permessage-deflate;\n", 400, ""},
		{sampleKey + version + ext + "permessage-deflate x\n", 400, ""},
		{sampleKey + version + ext + "permessage-deflate; a=\"b\n", 400, ""},
		{sampleKey + version + ext + "permessage-deflate; a=\n", 400, ""},
	} {
		b, r := parsed(t, begin+c.fields+"\n")
		h, refusal := Check(b, r)
		if c.status != 0 {
			if refusal == nil || refusal.Status != c.status {
				t.Errorf("%q: %v, want %d", c.fields, refusal, c.status)
			}
			continue
		}
		if refusal != nil {
			t.Errorf("%q: %v", c.fields, refusal)
			continue
		}
		want := sampleAccept
		if c.agreed != "" {
			want += c.agreed + "\r\n"
		}
		if got := string(h.AppendAnswer(nil, "")); got != want {
			t.Errorf("%q: %q, want %q", c.fields, got, want)
		}
	}
}

func TestProtocols(t *testing.T) {
	b, r := parsed(t, begin+sampleKey+version+"Sec-WebSocket-Protocol: graphql-ws ,, chat.v2\nSec-WebSocket-Protocol: soap\n\n")
	var got []string
	Protocols(b, r, func(p []byte) { got = append(got, string(p)) })
	if strings.Join(got, " ") != "graphql-ws chat.v2 soap" {
		t.Error(got)
	}
	h, refusal := Check(b, r)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if a := string(h.AppendAnswer(nil, "soap")); a != sampleAccept+"Sec-WebSocket-Protocol: soap\r\n" {
		t.Errorf("%q", a)
	}
}

func TestValidProtocol(t *testing.T) {
	for p, want := range map[string]bool{"chat": true, "v1.chat+json": true, "": false, "a b": false, "a,b": false, "a\r\nb": false, "é": false} {
		if ValidProtocol([]byte(p)) != want {
			t.Errorf("%q: %v", p, !want)
		}
	}
}
