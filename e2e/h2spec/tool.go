//go:build tools

// Package h2spec pins the version of h2spec, a conformance test for HTTP/2 servers
// (MIT licence), that the end-to-end tests run. It is a module of its own, so that
// nothing of it is among the server's dependencies.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"
