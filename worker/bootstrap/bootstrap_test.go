package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// pythons returns the interpreters of this machine; those in $PYTHONS alone, where that
// is set (separated as in $PATH).
func pythons(t *testing.T) []string {
	found := filepath.SplitList(os.Getenv("PYTHONS"))
	if len(found) == 0 {
		home, _ := os.UserHomeDir()
		found, _ = filepath.Glob(filepath.Join(home, ".pyenv/versions/*/bin/python3"))
		if path, err := exec.LookPath("python3"); err == nil {
			found = append(found, path)
		}
	}
	var able []string
	for _, path := range found {
		if exec.Command(path, "-c", "import sys; sys.exit(sys.version_info < (3, 8))").Run() == nil {
			able = append(able, path)
		}
	}
	if len(able) == 0 {
		t.Fatal("there is no python3")
	}
	return able
}

// TestPython runs the modules' own tests, tests/test_*.py, in every CPython of the machine.
func TestPython(t *testing.T) {
	for _, python := range pythons(t) {
		t.Run(python, func(t *testing.T) {
			cmd := exec.Command(python, "-B", "-W", "error::ResourceWarning", "-m", "unittest", "discover", "-t", ".", "-s", "tests")
			cmd.Env = append(os.Environ(), "PYTHONPATH=.")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if ran := regexp.MustCompile(`Ran (\d+) tests`).FindSubmatch(out); ran == nil || bytes.Equal(ran[1], []byte("0")) || bytes.Contains(out, []byte("skipped")) {
				t.Errorf("not all tests ran:\n%s", out)
			}
		})
	}
}

// launch runs the launcher as the master does, with settings and these modules.
func launch(t *testing.T, python string, modules []byte, settings string, env ...string) (string, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "modules"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(modules); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", Launch, settings, "3")
	cmd.ExtraFiles = []*os.File{f} // where the control socket is, elsewhere
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// framed returns modules as Modules does; these are the first.
func framed(texts map[string]string, first ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, strings.Join(first, " "))
	for name, text := range texts {
		fmt.Fprintf(&b, "%s %d\n%s", name, len(text), text)
	}
	return b.Bytes()
}

// start is a start.py that shows what it finds.
const start = `
import os, sys, traceback
import __main__
from _hostler import other


def main(finder):
    names = set(vars(__main__)) - {"__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__builtins__"}
    assert not names, names
    finder.need(["later", "nobody"])
    assert not [fd for fd in (finder.fd, finder.r) if os.get_inheritable(fd)]
    try:
        raise AssertionError("a child is there", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        pass
    if os.environ["HOW"] == "closed":
        os.closerange(3, 100)
        try:
            from _hostler import later
            raise AssertionError("where is it from?")
        except ImportError as e:
            assert "closed by the application" in str(e), e
        taken = [os.open("/dev/zero", os.O_RDWR) for _ in range(8)]
    else:
        from _hostler import later
        assert later.TEXT == "later"
        if os.environ["HOW"] == "whole":
            finder.whole()
        from _hostler import unasked
        assert unasked.TEXT == "unasked"
    assert other.TEXT == "größer", other.TEXT
    assert sys.modules["_hostler.other"] is other and not hasattr(other, "__file__")
    import theirs
    assert theirs.other.__name__ == "other"
    finder.close()
    assert finder not in sys.meta_path
    if os.environ["HOW"] == "closed":
        for fd in taken:
            os.close(fd)
    left = [os.readlink("/proc/self/fd/%d" % fd) for fd in range(3, 100) if os.path.exists("/proc/self/fd/%d" % fd)]
    assert set(left) <= {"/dev/null"}, left  # that is somebody else's
    try:
        from _hostler import late
    except ImportError:
        pass
    else:
        raise AssertionError("closed, and yet it finds a module")
    try:
        other.fails()
    except ZeroDivisionError:
        traceback.print_exc()
`

// TestLaunch: modules are compiled, found, and named in tracebacks; files of the same
// names change nothing, neither for ours nor for the application.
func TestLaunch(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "_hostler"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"_hostler/__init__.py": "raise ImportError('the wrong package')", "_hostler/other.py": "raise ImportError('the wrong one')",
		"other.py": "", "start.py": "raise ImportError('theirs')", "stdlib.py": "raise ImportError('theirs')",
		"marshal.py": "raise ImportError('theirs')", "_frozen_importlib.py": "raise ImportError('theirs')",
		"theirs.py": "import other\n",
		// No process can be made, or it does not get far: the modules are there all the same.
		"sitecustomize.py": `
import builtins, os
how, fork, compile_ = os.environ.get("HOW"), os.fork, builtins.compile
def no_fork():
    raise OSError("no memory")
def fork_and_die():
    pid = fork()
    if pid == 0:
        n = [0]
        def dies(*args):
            n[0] += 1
            if n[0] == 3:
                os.kill(os.getpid(), 9)
            return compile_(*args)
        builtins.compile = dies
    return pid
if how in ("fork", "killed"):
    os.fork = no_fork if how == "fork" else fork_and_die
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	modules := framed(map[string]string{
		"_hostler": "", "_hostler.stdlib": "import time\ntime.sleep(0.2)\ndef prefer_standard_library():\n    pass\n", "_hostler.start": start, "_hostler.late": "",
		"_hostler.later": "TEXT = 'later'\n", "_hostler.unasked": "TEXT = 'unasked'\n", "_hostler.nobody": "TEXT = " + strings.Repeat("'more than a pipe takes' ", 10000),
		"_hostler.other": "TEXT = 'größer'\n\n\ndef fails():\n    1 / 0\n" + strings.Repeat("'more than a pipe takes'\n", 10000) + "TEXT += '" + strings.Repeat("x", 100000) + "'[:0]\n",
	}, "_hostler", "_hostler.stdlib", "_hostler.start", "_hostler.other")
	for _, python := range pythons(t) {
		for _, how := range []string{"", "whole", "closed", "fork", "killed"} {
			out, err := launch(t, python, modules, "{}", "PYTHONPATH="+dir, "HOW="+how)
			if err != nil || !strings.Contains(out, `File "<hostler/other.py>", line 5, in fails`) {
				t.Errorf("%s, %q: %v\n%s", python, how, err, out)
			}
		}
	}
}

// TestLaunchBroken: what does not compile is said with its place.
func TestLaunchBroken(t *testing.T) {
	modules := framed(map[string]string{"_hostler": "", "_hostler.stdlib": "x = 1\n\nif if\n"}, "_hostler", "_hostler.stdlib")
	for _, python := range pythons(t) {
		out, err := launch(t, python, modules, "{}")
		if err == nil || !strings.Contains(out, `File "<hostler/stdlib.py>", line 3`) || !strings.Contains(out, "SyntaxError") {
			t.Errorf("%s: %v\n%s", python, err, out)
		}
	}
}

// TestLaunchOld: an interpreter that is too old hears that and no more, whatever the
// modules are written in.
func TestLaunchOld(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sitecustomize.py"), []byte("import sys\nsys.version_info = (3, 7, 17, 'final', 0)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	python := pythons(t)[0]
	cmd := exec.Command(python, "-c", Launch, "{}", "4")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	out, err := cmd.CombinedOutput()
	w.Close()
	said := make([]byte, 1000)
	n, _ := r.Read(said)
	if err == nil || len(out) > 0 || !strings.HasPrefix(string(said[:n]), "FPython 3.7 is too old: hostler needs 3.8 or newer (") {
		t.Errorf("%v %q %q", err, out, said[:n])
	}
}

// TestModules: all files are there, by the names that they are imported as.
func TestModules(t *testing.T) {
	line, rest, _ := bytes.Cut(Modules(), []byte("\n"))
	if string(line) != strings.Join(first, " ") {
		t.Errorf("the first are %q", line)
	}
	names := map[string]bool{}
	for len(rest) > 0 {
		head, after, _ := bytes.Cut(rest, []byte("\n"))
		var name string
		var size int
		if _, err := fmt.Sscanf(string(head), "%s %d", &name, &size); err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		file := strings.ReplaceAll(name, ".", "/")
		if _, err := os.Stat(file); err == nil {
			file += "/__init__"
		}
		file += ".py"
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(text, after[:size]) {
			t.Errorf("%s is not %s (%v)", name, file, err)
		}
		names[name], rest = true, after[size:]
	}
	for _, name := range first {
		if !names[name] {
			t.Errorf("%s is to come first, and is not there", name)
		}
	}
	onDisk, err := filepath.Glob("_hostler/*.py")
	inPackages, _ := filepath.Glob("_hostler/*/*.py")
	onDisk = append(onDisk, inPackages...)
	if err != nil || len(names) != len(onDisk) || !names["_hostler"] || !names["_hostler.start"] {
		t.Errorf("%v %v", names, err)
	}
}
