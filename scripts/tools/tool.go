//go:build tools

// Package tools pins what make release builds with: nfpm (MIT licence) makes the .deb and
// the .rpm, cyclonedx-gomod (Apache licence) the list of what is in the binary. It is a
// module of its own, so that nothing of it is among the server's dependencies.
package tools

import (
	_ "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod"
	_ "github.com/goreleaser/nfpm/v2/cmd/nfpm"
)
