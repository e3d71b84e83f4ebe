package main

import (
	"bytes"
	"crypto/tls"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"hostler/internal/testcert"
)

// shape is how the server of a round is set up. Every round has the next one,
// beginning with the seed's.
type shape struct {
	name    string
	preload bool
	tls     bool   // half of the clients speak HTTP/2 then
	files   bool   // some requests are for --static
	byNeed  bool   // --workers MIN:MAX
	front   bool   // nginx has the address, and the server a unix socket
	asgi    bool   // some requests are streams then, and there are WebSockets
	adapter string // what makes another application of app.py
	args    []string
}

func shapes() []shape {
	return []shape{
		{name: "tls", tls: true, args: []string{"--max-requests", "3000", "--max-requests-jitter", "1000", "--pool", "busy=/burn:1"}},
		{name: "Flask behind nginx", front: true, adapter: flaskApp, args: []string{"--behind", "nginx"}},
		{name: "Django, preloaded", preload: true, adapter: djangoApp},
		{name: "by need", byNeed: true, preload: true, files: true, args: []string{"--max-memory-hard", "190M"}},
		{name: "ASGI", asgi: true, adapter: asgiApp, args: []string{"--http2-cleartext", "--max-requests", "3000", "--max-requests-jitter", "1000"}},
		{name: "ASGI, uvloop, TLS", asgi: true, tls: true, preload: true, adapter: asgiApp, args: []string{"--loop", "uvloop"}},
		{name: "plain"},
		{name: "preload", preload: true, args: []string{"--pool", "slow=/sleep:1"}},
	}
}

//go:embed flaskapp.py
var flaskApp string

//go:embed djangoapp.py
var djangoApp string

//go:embed asgiapp.py
var asgiApp string

const (
	// mostWorkers is MAX in --workers MIN:MAX; MIN is workers.
	mostWorkers = 5
	// fileCount is how many files --static has; each is larger than the one before.
	fileCount = 4
)

// prepare makes the files that the shape needs in dir and returns its arguments.
func (s *shape) prepare(dir string) ([]string, error) {
	args := append([]string{"-w", strconv.Itoa(workers)}, s.args...)
	if s.byNeed {
		args[1] = fmt.Sprintf("%d:%d", workers, mostWorkers)
	}
	if s.preload {
		args = append(args, "--preload")
	}
	if s.tls {
		file := filepath.Join(dir, "cert.pem")
		cert, key, err := testcert.New(1, "127.0.0.1")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, append(cert, key...), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--certfile", file)
	}
	if s.files {
		files := filepath.Join(dir, "files")
		if err := os.Mkdir(files, 0o755); err != nil {
			return nil, err
		}
		for i := range fileCount {
			if err := os.WriteFile(filepath.Join(files, strconv.Itoa(i)), fileContent(i), 0o644); err != nil {
				return nil, err
			}
		}
		args = append(args, "--static", "/files="+files)
	}
	return args, nil
}

// fileContent is what is in the file of that number: from less than a packet to
// more than a socket takes at once.
func fileContent(i int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("file %d\n", i)), 20<<(4*i))
}

// encryption is what a client of the server needs: nil without TLS. That it is
// the right server is not what is in question here.
func (s *shape) encryption(protocols ...string) *tls.Config {
	if !s.tls {
		return nil
	}
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
}
