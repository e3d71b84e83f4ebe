// Command gendocs writes the reference page of the metrics.
package main

import (
	"fmt"
	"os"

	"hostler/metrics"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "gendocs: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the file to write")
	}
	if err := os.WriteFile(args[0], []byte(metrics.Reference()), 0o644); err != nil {
		return fmt.Errorf("cannot write the reference page: %w", err)
	}
	return nil
}
