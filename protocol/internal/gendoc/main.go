// Command gendoc puts the table of messages into the documentation of package protocol.
package main

import (
	"fmt"
	"os"
	"regexp"

	"hostler/protocol"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "gendoc: %v\n", err)
		os.Exit(1)
	}
}

// table is what stands in the file now, between its head and the next.
var table = regexp.MustCompile(`(?s)(// # Messages\n//\n).*?//\n// # `)

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the file to write to")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	m := table.FindSubmatchIndex(text)
	if m == nil {
		return fmt.Errorf("%s has no head # Messages", args[0])
	}
	out := append([]byte(nil), text[:m[3]]...)
	out = append(out, protocol.MessageDoc()...)
	out = append(out, text[m[1]-len("//\n// # "):]...)
	return os.WriteFile(args[0], out, 0o644)
}
