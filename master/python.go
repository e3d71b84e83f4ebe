package master

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoPython reports that there is no interpreter to run the application with.
var ErrNoPython = errors.New("no Python interpreter found")

// pythonSearch is where an interpreter is looked for.
type pythonSearch struct {
	configured string // --python
	binary     Binary
	virtualEnv string // $VIRTUAL_ENV
	dir        string // where the application runs (--chdir)
	path       string // $PATH
}

// Binary is where the hostler that runs is, as it was when it started: an installer may
// have put another one there since, and then the kernel only knows of a file that is gone.
type Binary struct {
	Called   string // the absolute path that it was called by: a link, for what tools like pipx install
	Resolved string // the file itself
}

// find returns the absolute path of the interpreter to use. Symbolic links are
// left alone: an interpreter finds its virtual environment by the name it was
// called by.
func (p pythonSearch) find() (string, error) {
	if p.configured != "" {
		path, err := p.lookup(p.configured)
		if err != nil {
			return "", fmt.Errorf("cannot use the interpreter %q: %w", p.configured, err)
		}
		return path, nil
	}
	var looked []string
	try := func(path string) (string, bool) {
		looked = append(looked, path)
		return path, executable(path) == nil
	}
	beside := func(binary string) (string, bool) {
		for _, name := range []string{"python3", "python"} {
			if path, ok := try(filepath.Join(filepath.Dir(binary), name)); ok {
				return path, true
			}
		}
		return "", false
	}
	// What is in an environment serves that one. What is not, a distribution's package or
	// a tool that has an environment for itself alone, serves the one that is in use.
	ours := inEnvironment(p.binary.Called)
	if ours {
		if path, ok := beside(p.binary.Called); ok {
			return path, nil
		}
	}
	if p.virtualEnv != "" {
		if path, ok := try(filepath.Join(p.virtualEnv, "bin", "python")); ok {
			return filepath.Abs(path)
		}
	}
	if path, ok := try(filepath.Join(p.dir, ".venv", "bin", "python")); ok {
		return filepath.Abs(path)
	}
	if p.binary.Called != "" && !ours {
		if path, ok := beside(p.binary.Called); ok {
			return path, nil
		}
	}
	if p.binary.Resolved != "" && filepath.Dir(p.binary.Resolved) != filepath.Dir(p.binary.Called) {
		if path, ok := beside(p.binary.Resolved); ok {
			return path, nil
		}
	}
	if path, err := p.lookup("python3"); err == nil {
		return path, nil
	}
	looked = append(looked, "python3 on PATH")
	return "", fmt.Errorf("%w; looked for %s; name one with --python", ErrNoPython, strings.Join(looked, ", "))
}

// inEnvironment reports whether the file is one of a virtual environment's programs.
func inEnvironment(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(path), "..", "pyvenv.cfg"))
	return err == nil
}

// checkDirectory returns an error if workers would have no directory to run in.
func checkDirectory(set *Settings) error {
	if set.Chdir != "" {
		return nil // a worker says what is wrong with that
	}
	if _, err := unix.Getcwd(make([]byte, unix.PathMax)); err != nil {
		dir, _ := os.Readlink("/proc/self/cwd")
		return noDirectory(strings.TrimSuffix(dir, " (deleted)"))
	}
	return nil
}

// lookup finds name: on the path if it is bare, else relative to the current
// directory, as a shell would.
func (p pythonSearch) lookup(name string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		if err := executable(name); err != nil {
			return "", err
		}
		return filepath.Abs(name)
	}
	for _, dir := range filepath.SplitList(p.path) {
		if dir == "" {
			dir = "."
		}
		if path := filepath.Join(dir, name); executable(path) == nil {
			return filepath.Abs(path)
		}
	}
	return "", exec.ErrNotFound
}

// executable reports why path cannot be executed; nil if it can.
func executable(path string) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		var pe *os.PathError
		if errors.As(err, &pe) {
			return pe.Err
		}
		return err
	case st.IsDir():
		return errors.New("it is a directory")
	case st.Mode()&0o111 == 0:
		return os.ErrPermission
	}
	return nil
}
