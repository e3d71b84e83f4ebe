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

	"hostler/config"
	"hostler/internal/inode"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2 // the settings are wrong
)

// version is set by the build (-ldflags "-X main.version=…").
var version string

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is main without the process around it. It returns the exit status.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "ctl" { // a module of that name: hostler ctl:application
		return control(ctx, args[1:], env, stdout, stderr)
	}
	if len(args) > 0 && args[0] == "migrate" {
		return migrate(args[1:], env, stdout, stderr)
	}
	cfg, err := config.Load(args, env, config.Options{Evaluate: evaluate})
	switch {
	case errors.Is(err, config.ErrHelp):
		return printed(stdout, stderr, config.Help())
	case errors.Is(err, config.ErrVersion):
		return printed(stdout, stderr, versionLine()+"\n")
	case err != nil:
		explain(stderr, err)
		return exitUsage
	case cfg.PrintConfig:
		return printed(stdout, stderr, cfg.Print())
	}
	log := openLog(cfg, stderr)
	defer log.flush()
	if err := start(ctx, cfg, args, env, log); err != nil {
		fmt.Fprintf(log.to, "hostler: %v\n", err)
		return exitError
	}
	return exitOK
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

// readAgain reads the settings file for a reload. The first time it may be a pipe of
// the shell's; the master of a server waits for none.
func readAgain(path string) ([]byte, error) { return inode.ReadRegular(path, maxSettings) }

// printed writes what was asked for: if that fails, as on a full disk, the
// exit status must say so.
func printed(stdout, stderr io.Writer, text string) int {
	if _, err := io.WriteString(stdout, text); err != nil {
		fmt.Fprintf(stderr, "hostler: cannot write to standard output: %v\n", err)
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
