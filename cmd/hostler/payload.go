package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"hostler/master"
	"hostler/worker/bootstrap"
)

// payloadFiles holds what make has put into payload/. A plain go build finds
// the directory without them; that binary knows everything but how to serve.
//
//go:embed payload
var payloadFiles embed.FS

var errNoPayload = errors.New("this binary was built without the worker library; build it with make")

// payload returns what the binary carries for its workers.
func payload() (master.Payload, error) {
	lib := func() ([]byte, error) { return payloadFiles.ReadFile("payload/worker.so") } // a copy
	if _, err := fs.Stat(payloadFiles, "payload/worker.so"); err != nil {
		return master.Payload{}, fmt.Errorf("cannot start workers: %w", errNoPayload)
	}
	return master.Payload{Library: lib, Bootstrap: bootstrap.Launch, Modules: bootstrap.Modules()}, nil
}
