package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"hostler/master/spawn"
)

// evaluateTime is how long a settings file that is a program may take. A reload
// waits no longer than prepareTime for all that comes before its first process.
const evaluateTime = 15 * time.Second

// restTime is how long what it has said is read after its end, where somebody else holds the
// pipe still: more than a busy machine takes to read what is there.
const restTime = 2 * time.Second

// Evaluation is a program of the user's Python's that says something on descriptor 3.
type Evaluation struct {
	Binary      Binary   // as in Options
	Python      string   // as in Settings
	Chdir       string   // likewise: where a .venv is looked for
	User, Group string   // whose rights it has
	Program     string   // for -c
	Args        []string // for sys.argv
	MaxAnswer   int64
}

// Evaluate runs the program to its end, as the user that workers will be, and
// returns what it has said. It tells who that user is, if it is another one.
//
// Nothing of the program's can be relied on: it may say too much, never end, leave
// children behind that hold the pipe. It gets nothing of ours but standard error.
func Evaluate(e Evaluation) (answer []byte, unprivileged string, err error) {
	set := new(Settings)
	set.Python, set.Chdir, set.User, set.Group = e.Python, e.Chdir, e.User, e.Group
	python, err := findPython(set, e.Binary)
	if err != nil {
		return nil, "", err
	}
	who, err := findIdentity(e.User, e.Group)
	if err != nil {
		return nil, "", err
	}
	if who != nil {
		unprivileged = set.workersUser()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), evaluateTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, slices.Concat([]string{"-c", e.Program}, e.Args)...)
	env, _ := workerEnv(slices.Concat(os.Environ(), loginEnv(e.User)), nil)
	cmd.Env = spawn.SafePath(env)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: who == nil, Setsid: who != nil, // as workers
		Pdeathsig:  syscall.SIGKILL,
		Credential: who,
	}
	// All that is in its group goes with it, if it does not end.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	ended := make(chan error, 1)
	go func() {
		// The signal at our end is sent when the thread that has started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		w.Close()
		if err == nil {
			err = cmd.Wait()
		}
		// What it has said is in the pipe by now; who else holds that is not waited for.
		_ = r.SetReadDeadline(time.Now().Add(restTime))
		ended <- err
	}()
	answer, readErr := io.ReadAll(io.LimitReader(r, e.MaxAnswer+1))
	if int64(len(answer)) > e.MaxAnswer {
		cancel()
	}
	err = <-ended
	switch {
	case int64(len(answer)) > e.MaxAnswer:
		return nil, "", errors.New("it says too much")
	case ctx.Err() != nil:
		return nil, "", fmt.Errorf("it takes longer than %v", evaluateTime)
	case err != nil && len(answer) == 0:
		return nil, "", fmt.Errorf("cannot be run by %s%s: %w", python, as(unprivileged), err)
	case readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded):
		return nil, "", fmt.Errorf("cannot read what it says: %w", readErr)
	}
	return answer, unprivileged, nil
}

func as(user string) string {
	if user == "" {
		return ""
	}
	return " as " + user
}
