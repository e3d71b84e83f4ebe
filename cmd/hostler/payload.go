package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"hostler/master"
	"hostler/master/spawn"
	"hostler/worker/bootstrap"
)

// payloadFiles holds what make has put into payload/. A plain go build finds
// the directory without them; that binary knows everything but how to serve.
//
//go:embed payload
var payloadFiles embed.FS

var errNoPayload = errors.New("this binary was built without the worker library; build it with make")

// libraries are the files of payload/ that there may be.
var libraries = map[spawn.Libc]string{spawn.Glibc: "payload/worker.so", spawn.Musl: "payload/worker-musl.so"}

// payload returns what the binary carries for its workers.
func payload() (master.Payload, error) {
	some := false
	for _, file := range libraries {
		_, err := fs.Stat(payloadFiles, file)
		some = some || err == nil
	}
	if !some {
		return master.Payload{}, fmt.Errorf("cannot start workers: %w", errNoPayload)
	}
	return master.Payload{Library: library, Bootstrap: bootstrap.Launch, Modules: bootstrap.Modules()}, nil
}

// library returns the one for libc, where it lies.
func library(libc spawn.Libc) (*io.SectionReader, error) {
	f, err := payloadFiles.Open(libraries[libc])
	if err != nil {
		return nil, fmt.Errorf("it is built for %s, and this hostler has no worker library for that: docs/install.md says which one has", libc)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(f.(io.ReaderAt), 0, info.Size()), nil // files of embed are
}
