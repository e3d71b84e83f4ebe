package e2e

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestASGIComplaints asks what people have complained about with other servers of ASGI: each
// row has whose issue it was. What is wanted is the answer less its Date and Server.
func TestASGIComplaints(t *testing.T) {
	s := startASGI(t, "complained:app")
	own := regexp.MustCompile("(?i)(date|server): .*\r\n")
	for _, c := range []struct{ issue, line, want string }{
		{"uvicorn#787: chunks of nothing", "GET /empty HTTP/1.1", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{"starlette#1764: a 204 with a body is an error", "GET /nothing HTTP/1.1", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
		{"gns3-server#1891", "GET /nothing_sized HTTP/1.1", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
		{"gunicorn#3621: the length is lost", "GET /not_modified HTTP/1.1", "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: \"x\"\r\nConnection: close\r\n\r\n"},
		{"gunicorn#3621", "HEAD /sized HTTP/1.1", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: close\r\n\r\n"},
		{"uvicorn#956: a stream with a length", "GET /sized HTTP/1.1", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello"},
		{"uvicorn#267: an empty chunk ends it", "GET /pieces HTTP/1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"},
		{"uvicorn#1360: chunks for HTTP/1.0", "GET /pieces HTTP/1.0", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"},
		{"uvicorn#1360: two Transfer-Encodings", "GET /encoded HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
		{"asgiref#196: more than its length", "GET /long HTTP/1.1", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nConnection: close\r\n\r\nhel"},
		{"gunicorn#3543: a path of UTF-8", "GET /%C3%B6/ HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n'/\\xf6/' b'/%C3%B6/'"},
		{"granian#531: raw_path is not raw", "GET /%80%81/%2F HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 32\r\nConnection: close\r\n\r\n'/\\ufffd\\ufffd//' b'/%80%81/%2F'"},
	} {
		if got := own.ReplaceAllString(s.raw(c.line+"\r\nHost: a\r\nConnection: close\r\n\r\n"), ""); got != c.want {
			t.Errorf("%s: %q, not %q", c.issue, got, c.want)
		}
	}
	// girder#3823: what clients would not understand the application is told.
	if got := s.raw("GET /twice HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 500 ") {
		t.Errorf("%q", got)
	}
	s.waitLog("ValueError: more than one Content-Length")
	// uvicorn#2238: what comes behind the last request is none.
	if got := s.raw("GET /sized HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /pieces HTTP/1.1\r\nHost: a\r\n\r\n"); strings.Count(got, "HTTP/1.1 ") != 1 {
		t.Errorf("%q", got)
	}
	// daphne#12, #150: bytes that are no URL.
	if got := s.raw("GET /\xe2\x80\xa6/test HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("%q", got)
	}
}

// TestASGIComplaintsHTTP2: anycorn#68. A target that HTTP/1.1 would refuse is refused, and the
// connection and the server go on.
func TestASGIComplaintsHTTP2(t *testing.T) {
	s := startASGI(t, "--http2-cleartext", "complained:app")
	c := s.dialTCP()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i, path := range []string{"/a b", "/x\x01y", "/x\x1fy", "/bad\xff", "/\xe2\x80\xa6/test", "/%C3%B6/"} {
		block.Reset()
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "a"}} {
			_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		id := uint32(2*i + 1)
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
		got := ""
		for got == "" {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("%q: %v", path, err)
			}
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				if frame.StreamID == id {
					got = frame.PseudoValue("status")
				}
			case *http2.RSTStreamFrame:
				if frame.StreamID == id && frame.ErrCode == http2.ErrCodeProtocol {
					got = "400"
				}
			case *http2.GoAwayFrame:
				t.Fatalf("%q: %v", path, frame)
			}
		}
		if want := map[bool]string{true: "200", false: "400"}[path == "/%C3%B6/"]; got != want {
			t.Errorf("%q: %s, not %s", path, got, want)
		}
	}
}

// TestASGIComplaintsSockets: the same of WebSockets, by an application whose lifespan ends
// without a word (hypercorn#315: the server waits for ever).
func TestASGIComplaintsSockets(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			s := startASGI(t, "--loop", loop, "complainedsockets:app")
			// hypercorn#225, uvicorn#393: a frame right behind the handshake breaks the worker.
			w := wsOpenWith(t, s.dialTCP(), "/echo", "", "\x81\x85\x00\x00\x00\x00early")
			w.want("1 early")

			// websockets#16, aiohttp#2934, cpython#74116: who sends while another waits for room fails.
			w = s.websocket("/crowd", "")
			w.say(0x81, "go")
			s.waitLog("the crowd sends go")
			for i := range 200 {
				w.want(fmt.Sprintf("1 %03d", i) + strings.Repeat("x", 50000))
			}
			w.want("close 1000 ")

			// starlette#1369: a task that waits for a message when another closes fails.
			w = s.websocket("/closer", "")
			w.want("close 4000 ")
			w.say(0x88, "\x0f\xa0")
			s.waitLog("closer: websocket.disconnect 4000")

			// websockets#1162: another thread's frames are mixed with those of the loop.
			s.websocket("/stranger", "").want("1 RuntimeError", "close 1000 ")
			if strings.Contains(s.log.String(), "Traceback") {
				t.Error("an exception is in the log")
			}
		})
	}
}
