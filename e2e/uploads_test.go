package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// upload is what the applications of these tests say of a body.
type upload struct {
	Length   *string `json:"CONTENT_LENGTH"`
	Encoding *string `json:"HTTP_TRANSFER_ENCODING"`
	Ends     bool    `json:"wsgi.input_terminated"`
	Size     int     `json:"size"`
	Digest   string  `json:"digest"`
	Seekable bool    `json:"seekable"`
	First    int     `json:"first"`
	Middle   string  `json:"middle"`
	End      string  `json:"end"`
	Again    bool    `json:"again"`
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
}

// noLength hides what net/http would know the length of.
type noLength struct{ io.Reader }

// upload posts a body, and wants it to have arrived.
func (s *server) upload(c *http.Client, scheme, page, kind string, body io.Reader, want string) (u upload) {
	s.t.Helper()
	r, err := c.Post(scheme+"://"+s.addr+page, kind, body)
	if err != nil {
		s.t.Errorf("%s: %v", page, err)
		return u
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || json.Unmarshal(b, &u) != nil {
		s.t.Errorf("%s: %s %v %.200s", page, r.Status, err, b)
		return u
	}
	if u.Size != len(want) || u.Digest != sha(want) {
		s.t.Errorf("%s: %d bytes instead of %d, or others: %.200s", page, u.Size, len(want), b)
	}
	return u
}

// TestBodiesWithoutLength: what comes in chunks, or as an HTTP/2 body without a length,
// and is whole when the application is called, has a length there.
func TestBodiesWithoutLength(t *testing.T) {
	s := start(t, "--http2-cleartext", "uploads:app")
	for _, c := range []*http.Client{client, h2client()} {
		for _, size := range []int{0, 5, 70_000, 1_000_000} {
			body := filler(size)
			u := s.upload(c, "http", "/", "text/plain", noLength{strings.NewReader(body)}, body)
			if u.Length == nil || *u.Length != jsonOf(size) || u.Encoding != nil || !u.Ends || !u.Seekable {
				t.Errorf("%d bytes: %s", size, jsonOf(u))
			}
		}
	}
	w := s.dial() // with trailers, and another request right behind
	w.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n" + getLine("/unread"))
	if _, b := w.answer("POST"); !strings.Contains(b, `"CONTENT_LENGTH": "3", "HTTP_TRANSFER_ENCODING": null`) {
		t.Error(b)
	}
	if _, b := w.answer("GET"); !strings.Contains(b, `"CONTENT_LENGTH": null`) {
		t.Error(b)
	}
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// multipartOf is a form with a file in it.
func multipartOf(t *testing.T, file string) (kind string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	part, err := m.CreateFormFile("file", "a.bin")
	if err == nil {
		_, err = io.WriteString(part, file)
	}
	if err == nil {
		err = m.WriteField("name", "what follows the file")
	}
	if err != nil || m.Close() != nil {
		t.Fatal(err)
	}
	return m.FormDataContentType(), b.Bytes()
}

// TestFrameworkUploads: Django and Flask see the same whether a client says how long
// its body is or not.
func TestFrameworkUploads(t *testing.T) {
	for _, app := range []string{"uploads_django:application", "uploads_flask:app"} {
		s := start(t, "--threads", "2", "--http2-cleartext", app)
		for _, c := range []*http.Client{client, h2client()} {
			for _, size := range []int{10, 400_000, 4_000_000} {
				body := filler(size)
				kind, form := multipartOf(t, body)
				s.upload(c, "http", "/raw", "application/octet-stream", strings.NewReader(body), body)
				s.upload(c, "http", "/raw", "application/octet-stream", noLength{strings.NewReader(body)}, body)
				for _, r := range []io.Reader{bytes.NewReader(form), noLength{bytes.NewReader(form)}} {
					if u := s.upload(c, "http", "/form", kind, r, body); u.Name != "what follows the file" {
						t.Errorf("%s: %q", app, u.Name)
					}
				}
			}
		}
		s.stop()
	}
}
