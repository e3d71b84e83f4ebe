package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"hostler/config"
	"hostler/protocol"
	"hostler/worker/http1"
)

// command runs hostler where there is no settings file.
func command(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out, problems bytes.Buffer
	status = run(t.Context(), args, env, &out, &problems)
	return status, out.String(), problems.String()
}

func TestHelp(t *testing.T) {
	status, stdout, stderr := command(t, nil, "-h")
	if status != 0 || stdout != config.Help() || stderr != "" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

func TestVersion(t *testing.T) {
	defer func(v string) { version = v }(version)
	version = "1.2.3"
	status, stdout, stderr := command(t, nil, "--version")
	if status != 0 || !strings.HasPrefix(stdout, "hostler 1.2.3 (go") || strings.Count(stdout, "\n") != 1 || stderr != "" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

func TestVersionFromBuildInfo(t *testing.T) {
	info := func(v string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: v}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}
	for _, c := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{info("v1.2.3"), "1.2.3"},
		{info("(devel)"), "development"},
		{info("", revision), "development-0123456789ab"},
		{info("(devel)", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "development-0123456789ab+changes"},
		{info("", debug.BuildSetting{Key: "vcs.revision", Value: "ab"}, debug.BuildSetting{Key: "vcs.modified", Value: "false"}), "development-ab"},
	} {
		if got := versionFrom(c.info); got != c.want {
			t.Errorf("%+v: version %q, want %q", c.info, got, c.want)
		}
	}
}

func TestProblemsAreUsageErrors(t *testing.T) {
	status, stdout, stderr := command(t, []string{"HOSTLER_THREADS=x"}, "--wrkers", "3")
	want := `hostler: unknown flag --wrkers (did you mean --workers?)
hostler: HOSTLER_THREADS: "x" is not a whole number from 1 to 256
hostler: no application given: hostler MODULE:ATTR, e.g. hostler shop.wsgi:application
hostler --help tells about the settings.
`
	if status != 2 || stdout != "" || stderr != want {
		t.Errorf("status %d, %q, got\n%s\nwant\n%s", status, stdout, stderr, want)
	}
}

func TestFileInWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hostler.toml"), []byte("\ntreads = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"shop"}, nil, &stdout, &stderr)
	if status != 2 || !strings.HasPrefix(stderr.String(), "hostler: hostler.toml:2: unknown key treads (did you mean threads?)\n") {
		t.Errorf("status %d, %q", status, stderr.String())
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestHelpThatCannotBeWritten(t *testing.T) {
	var stderr bytes.Buffer
	status := run(t.Context(), []string{"--help"}, nil, fullDisk{}, &stderr)
	if want := "hostler: cannot write to standard output: no space left on device\n"; status != 1 || stderr.String() != want {
		t.Errorf("status %d, %q", status, stderr.String())
	}
}

// config knows nothing of the other packages; its bounds must be theirs.
func TestBoundsAgree(t *testing.T) {
	t.Chdir(t.TempDir())
	for flag, most := range map[string]int{
		"--workers":              protocol.MaxSlots / 2, // two generations at a time
		"--threads":              protocol.MaxThreads,
		"--limit-request-fields": http1.MaxFields,
	} {
		load := func(n int) error {
			_, err := config.Load([]string{"shop", flag, strconv.Itoa(n)}, nil, config.Options{})
			return err
		}
		if load(most) != nil || load(most+1) == nil {
			t.Errorf("%s: the most should be %d; %d: %v, %d: %v", flag, most, most, load(most), most+1, load(most+1))
		}
	}
}
