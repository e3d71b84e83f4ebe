// Command genman writes the manual page, hostler(1), for a version.
package main

import (
	"fmt"
	"os"

	"hostler/config"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "genman: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("give the file to write, and the version")
	}
	if err := os.WriteFile(args[0], []byte(config.Manual(args[1])), 0o644); err != nil {
		return fmt.Errorf("cannot write the manual page: %w", err)
	}
	return nil
}
