// Command gendocs writes the reference page of the settings, and the lists of other servers'
// settings into theirs.
package main

import (
	"fmt"
	"os"

	"hostler/config"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "gendocs: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("give the files to write: of the settings, and of those of other servers")
	}
	if err := os.WriteFile(args[0], []byte(config.Reference()), 0o644); err != nil {
		return fmt.Errorf("cannot write the reference page: %w", err)
	}
	was, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("cannot read the page: %w", err)
	}
	page, err := config.ForeignReference(string(was))
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[1], []byte(page), 0o644); err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	return nil
}
