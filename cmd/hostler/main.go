// Command hostler serves Python web applications: it reads the settings and
// hands them to the master.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"hostler/config"
	"hostler/internal/cli"
	"hostler/internal/inode"
	"hostler/internal/nearest"
)

// Exit statuses.
const (
	exitOK    = cli.OK
	exitError = cli.Error
	exitUsage = cli.Usage
)

// version is set by the build (-ldflags "-X main.version=…").
var version string

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// server is hostler without a command.
func server(ctx context.Context, args []string, p process) int {
	cfg, err := config.Load(args, p.env, config.Options{ReadFile: readFirst, Evaluate: evaluate})
	switch {
	case errors.Is(err, config.ErrHelp):
		return printed(p, serverHelp(tree(p)))
	case errors.Is(err, config.ErrVersion):
		return printed(p, versionLine()+"\n")
	case err != nil:
		explain(p.stderr, err)
		mistyped(p.stderr, args, p)
		return exitUsage
	case cfg.PrintConfig:
		return printed(p, cfg.Print())
	}
	log := openLog(cfg, p.stderr)
	defer log.flush()
	if err := start(ctx, cfg, args, p.env, log); err != nil {
		fmt.Fprintf(log.to, "hostler: %v\n", err)
		mistyped(log.to, args, p)
		return exitError
	}
	return exitOK
}

// mistyped says that a command may have been meant where there was no application.
func mistyped(to io.Writer, args []string, p process) {
	if name := meant(args, p); name != "" {
		fmt.Fprintf(to, "hostler: there is no command %q%s\n", args[0], nearest.Meant(name))
	}
}

// start does what cfg asks for, until that ends.
func start(ctx context.Context, cfg *config.Config, args, env []string, out *errorLog) error {
	log := out.Logger()
	remark(log, cfg)
	if cfg.ConfigFile != "" {
		log.Info("settings come from a file, too", "file", cfg.ConfigFile)
	}
	o := serveOptions{
		binary:  findBinary(os.Args[0]),
		version: buildVersion(),
		config:  cfg,
		log:     log,
		level:   out.level,
		errors:  out.writer,
		texts:   out,
		screen:  newScreen(cfg, out.to),
		reload: func() (*config.Config, error) {
			c, err := config.Load(args, env, config.Options{ReadFile: readAgain, Evaluate: evaluate})
			if err == nil {
				out.follow(c)
			}
			return c, err
		},
	}
	if cfg.Check {
		return check(ctx, o)
	}
	return serve(ctx, o)
}

// remark logs what is to be said about settings.
func remark(log *slog.Logger, cfg *config.Config) {
	for _, n := range cfg.Notes {
		log.Info(n)
	}
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
}

// maxSettings is more than people write into a settings file.
const maxSettings = 1 << 20

// writerTime is how long a pipe of settings may be without a writer.
const writerTime = 5 * time.Second

// readFirst reads the settings file at the start.
func readFirst(path string) ([]byte, error) { return inode.ReadPiped(path, writerTime) }

// readAgain reads the settings file for a reload. The first time it may be a pipe of
// the shell's; the master of a server waits for none.
func readAgain(path string) ([]byte, error) { return inode.ReadRegular(path, maxSettings) }

// printed writes what was asked for: if that fails, as on a full disk, the
// exit status must say so.
func printed(p process, text string) int {
	if _, err := io.WriteString(p.stdout, text); err != nil {
		fmt.Fprintf(p.stderr, "hostler: cannot write to standard output: %v\n", err)
		return exitError
	}
	return exitOK
}

// explain prints every problem on a line of its own.
func explain(stderr io.Writer, err error) {
	problems := []string{err.Error()}
	var wrong *config.Error
	if errors.As(err, &wrong) {
		problems = wrong.Problems
	}
	for _, p := range problems {
		fmt.Fprintf(stderr, "hostler: %s\n", p)
	}
	fmt.Fprintln(stderr, "hostler --help tells about the settings.")
}

// versionLine is the answer to --version.
func versionLine() string {
	return fmt.Sprintf("hostler %s (%s, %s/%s)", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// buildVersion is the version that the build has set, or else what the Go
// toolchain noted down about the source.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionFrom(info)
}

func versionFrom(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if revision == "" {
		return "development"
	}
	return "development-" + revision + modified
}
