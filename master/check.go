package master

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"hostler/internal/relay"
	"hostler/master/spawn"
	"hostler/protocol"
)

// Check imports the application in one worker process that does not serve, and
// returns why that fails, after writing the application's traceback to standard
// error. Before that it looks at what else a start would need. Nothing is bound, and no
// file made.
func Check(ctx context.Context, opts Options) error {
	set := *opts.Settings
	if err := checkDirectory(&set); err != nil {
		return err
	}
	python, err := findPython(&set, opts.Binary)
	if err != nil {
		return err
	}
	identity, err := findIdentity(set.User, set.Group)
	if err != nil {
		return err
	}
	if err := checkPlaces(&set); err != nil {
		return err
	}
	board, file, err := protocol.CreateScoreboard()
	if err != nil {
		return err
	}
	defer board.Close()
	defer file.Close()
	modules, err := opts.openModules()
	if err != nil {
		return err
	}
	defer modules.Close()
	sp, err := spawn.New(opts.Log, opts.Payload.Bootstrap, spawn.RawFD(modules), spawn.NewLibraries(opts.Log, opts.Payload.Library, opts.CacheDir), spawn.RawFD(file))
	if err != nil {
		return err
	}
	defer relay.Finish(lastLines)
	defer sp.Close()

	board.Slot(0).Assign(1, set.Threads)
	cfg := set.workerConfig(opts.Version, 0, 1, 1, 0)
	cfg.Check = true
	spec := spawn.Spec{Python: python, Config: cfg, Identity: identity, Secrets: -1, Pages: -1, Errors: -1}
	spec.Env, cfg.InternalEnv = workerEnv(slices.Concat(os.Environ(), loginEnv(set.User)), set.Env)
	reports := make(chan spawn.Report, 8)
	proc, err := sp.Start(spec, func(r spawn.Report) {
		select {
		case reports <- r:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return set.startError(err)
	}
	defer proc.Close()
	return awaitCheck(ctx, &set, python, proc, reports)
}

// awaitCheck follows the worker to its end.
func awaitCheck(ctx context.Context, set *Settings, python string, proc spawn.Process, reports <-chan spawn.Report) error {
	var late <-chan time.Time
	if set.BootTimeout > 0 {
		late = time.After(set.BootTimeout)
	}
	ready, why := false, ""
	for {
		select {
		case r := <-reports:
			switch {
			case r.Err != nil:
				return set.startError(r.Err)
			case r.Exited && ready:
				return nil
			case r.Exited && why == "":
				return &BootError{App: set.App, Reason: "the worker " + spawn.EndedEarly(r.Status, python)}
			case r.Exited:
				return &BootError{App: set.App, Reason: why}
			case r.Message.Kind == protocol.KindReady:
				ready = true
				// It ends by itself; this is for one that does not.
				_ = proc.Send(protocol.Message{Kind: protocol.KindDrain, Mode: protocol.DrainQuick})
				late = time.After(bootLeave)
			case r.Message.Kind == protocol.KindBootFailed:
				said := set.asWhom(r.Message.Text)
				if text := strings.TrimRight(said, "\n"); strings.Contains(text, "\n") {
					fmt.Fprintln(os.Stderr, text)
				}
				why = bootReason(said)
				late = time.After(bootLeave)
			}
		case <-late:
			late = time.After(spawn.AbortGrace)
			if ready || why != "" { // that it does not end is not what was asked
				_ = proc.Signal(syscall.SIGKILL)
				continue
			}
			why = fmt.Sprintf("not ready within %v", set.BootTimeout)
			_ = proc.Signal(syscall.SIGABRT) // faulthandler writes the tracebacks
		case <-ctx.Done():
			_ = proc.Signal(syscall.SIGKILL)
			return fmt.Errorf("cannot finish the check: %w", ctx.Err())
		}
	}
}
