package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"hostler/config"
	"hostler/internal/cli"
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
	if status != 0 || !strings.HasPrefix(stdout, "Usage: hostler [serve] [flags] MODULE") || !strings.HasSuffix(stdout, config.Help()) || stderr != "" {
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
hostler: HOSTLER_THREADS: "x" is not a whole number from 1 to 256, or "auto"
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

// TestCommandTree: what is a command, and what is an application.
func TestCommandTree(t *testing.T) {
	for _, c := range []struct {
		args           string
		status         int
		stdout, stderr string // how they begin
	}{
		{"version", 0, versionLine() + "\n", ""},
		{"--version", 0, versionLine() + "\n", ""},
		{"-V", 0, versionLine() + "\n", ""},
		{"-v", 0, versionLine() + "\n", ""},
		{"serve --version", 0, versionLine() + "\n", ""},
		{"help", 0, "Usage: hostler [serve] [flags] MODULE", ""},
		{"--help", 0, "Usage: hostler [serve] [flags] MODULE", ""},
		{"-w 4 --help", 0, "Usage: hostler [serve] [flags] MODULE", ""},
		{"serve -h", 0, "Usage: hostler [serve] [flags] MODULE", ""},
		{"help serve", 0, "Usage: hostler [serve] [flags] MODULE", ""},
		{"help check", 0, "Usage: hostler check [flags]", ""},
		{"check --help", 0, "Usage: hostler check [flags]", ""},
		{"help ctl", 0, "Usage: hostler ctl ", ""},
		{"ctl --help", 0, "Usage: hostler ctl ", ""},
		{"help ctl scale", 0, "Usage: hostler ctl scale N", ""},
		{"ctl scale -h", 0, "Usage: hostler ctl scale N", ""},
		{"migrate -h", 0, "Usage: hostler migrate ", ""},
		{"completion bash", 0, "# bash completion", ""},
		{"completion tcsh", 2, "", "hostler completion: completion takes bash, zsh or fish\n"},
		{"help ctl scael", 2, "", `hostler help: there is no command "scael" (did you mean scale?)` + "\n"},
		{"help migrat", 2, "", `hostler help: there is no command "migrat" (did you mean migrate?)` + "\n"},
		{"ctl stauts", 2, "", `hostler ctl: there is no command "stauts" (did you mean status?)` + "\n"},
		{"migrate --pyton x", 2, "", "hostler migrate: unknown flag: --pyton (did you mean --python?)\n"},
		{"migrate some/Procfile", 2, "", "hostler: migrate: some/Procfile: has a command in it, and no settings: put hostler in the place of the server's name\n"},
		{"migrate no.conf.py", 1, "", "hostler: migrate: no.conf.py: cannot read it: no such file or directory\n"},
		{"check --wrkers 2 shop", 2, "", "hostler: unknown flag --wrkers (did you mean --workers?)\n"},
		{"serve", 2, "", "hostler: no application given"},
		{"-w 0 version", 2, "", `hostler: --workers: "0" is not`}, // a module
		{"version:app -w 0", 2, "", `hostler: --workers: "0" is not`},
		{"serve version -w 0", 2, "", `hostler: --workers: "0" is not`},
	} {
		status, stdout, stderr := command(t, nil, strings.Fields(c.args)...)
		if status != c.status || !strings.HasPrefix(stdout, c.stdout) || !strings.HasPrefix(stderr, c.stderr) ||
			(c.stdout == "") != (stdout == "") || (c.stderr == "") != (stderr == "") {
			t.Errorf("hostler %s: status %d, %.200q, %q", c.args, status, stdout, stderr)
		}
	}
}

// TestMistypedCommand: where there is no such application, a command may have been meant.
func TestMistypedCommand(t *testing.T) {
	const hint = "hostler: there is no command \"chekc\" (did you mean check?)\n"
	if status, _, stderr := command(t, nil, "chekc", "shop:app"); status != 2 || !strings.HasSuffix(stderr, hint) {
		t.Errorf("status %d, %q", status, stderr)
	}
	for _, arg := range []string{"chekc:app", "./chekc", "serious", "-w"} {
		if _, _, stderr := command(t, nil, arg, "shop:app", "-w", "0"); strings.Contains(stderr, "there is no command") {
			t.Errorf("%s: %q", arg, stderr)
		}
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("chekc.py", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	if run(t.Context(), []string{"chekc", "-w", "0"}, nil, &stderr, &stderr); strings.Contains(stderr.String(), "there is no command") {
		t.Errorf("it is there: %q", stderr.String())
	}
}

// TestHelpFits: every help has lines of 80 columns.
func TestHelpFits(t *testing.T) {
	var walk func(path []string, c *cobra.Command)
	walk = func(path []string, c *cobra.Command) {
		_, stdout, _ := command(t, nil, append([]string{"help"}, path...)...)
		for line := range strings.Lines(stdout) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > cli.Width {
				t.Errorf("help %q: %d columns: %s", path, n, line)
			}
		}
		for _, sub := range c.Commands() {
			walk(append(slices.Clone(path), sub.Name()), sub)
		}
	}
	walk(nil, tree(process{}))
}
