package main

import (
	"bytes"
	"fmt"

	"hostler/internal/inode"
)

// Bounds of --admin-token: what is short can be guessed, and nobody types what is long.
const (
	shortestToken = 16
	mostToken     = 4 << 10
)

// readToken reads the file that --admin-token names; "": there is none, and no token.
func readToken(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := inode.ReadRegular(file, mostToken)
	if err != nil {
		return "", fmt.Errorf("cannot read --admin-token: %w", err)
	}
	token := string(bytes.TrimSpace(b))
	if len(token) < shortestToken {
		return "", fmt.Errorf("cannot use --admin-token: %s has a token of %d bytes; it takes %d or more", file, len(token), shortestToken)
	}
	return token, nil
}
