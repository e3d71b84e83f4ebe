package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hostler/internal/cli"
	"hostler/internal/visible"
	"hostler/protocol"
)

// Command is one call of hostler ctl.
type Command struct {
	// DefaultSocket finds the socket where no flag names one; "" is none.
	DefaultSocket func() (string, error)
	// Places are where servers are looked for whose sockets nobody names.
	Places Places
	// PrintSetting writes a setting as a line of a settings file.
	PrintSetting   func(Setting) string
	Stdout, Stderr io.Writer

	socket      string
	json, watch bool
	once        bool
	last        int
	output      string
	folded      bool
	rate        int
	client      *Client
}

// usageError is a mistake of the caller's.
type usageError = cli.Wrong

func usagef(format string, args ...any) error { return cli.Wrongf(format, args...) }

// Run does what args, which follow "hostler ctl", ask for and returns the exit
// status.
func (c *Command) Run(ctx context.Context, args []string) int {
	root := &cobra.Command{Use: "hostler"}
	root.AddCommand(c.Tree())
	return cli.Run(ctx, root, Args(append([]string{"ctl"}, args...)), c.Stdout, c.Stderr)
}

// finish returns what cobra is to be told of how a command has ended.
func (c *Command) finish(err error) error {
	var wrong usageError
	var failed *Failure
	switch {
	case err == nil || errors.As(err, &wrong):
		return err
	case errors.As(err, &failed):
		if failed.Detail != "" && !c.json {
			c.complain(strings.TrimRight(failed.Detail, "\n"))
		}
	}
	c.complain("hostler ctl: " + oneLine(err.Error()))
	if failed != nil && failed.status == http.StatusBadRequest {
		return cli.Exit(cli.Usage)
	}
	return cli.Exit(cli.Error)
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

func (c *Command) findSocket(ctx context.Context, given bool) error {
	if !given {
		var err error
		if c.socket, err = c.DefaultSocket(); err != nil {
			return usagef("cannot tell which server: %v", err)
		}
		if c.socket == "" && c.Places.Env != nil {
			return c.findServer(ctx)
		}
	}
	c.socket = strings.TrimPrefix(c.socket, "unix:")
	if c.socket == "" {
		return usagef("which server? Give --socket PATH, or set HOSTLER_CTL_SOCKET, or ctl_socket in ./hostler.toml")
	}
	return nil
}

// findServer takes the only server of the user's, and tells of them where there are more.
func (c *Command) findServer(ctx context.Context) error {
	found := c.Places.Running(ctx)
	switch len(found) {
	case 0:
		c.complain("hostler ctl: no server of yours runs here with a control socket where they have it by default: give --socket PATH")
		return cli.Exit(cli.Error)
	case 1:
		c.socket = found[0].Path
		return nil
	}
	c.complain("hostler ctl: which server?")
	for _, f := range found {
		c.complain(fmt.Sprintf("  --socket %s  %s, process %d", f.Path, f.App, f.PID))
	}
	return cli.Exit(cli.Usage)
}

func (c *Command) print(text string) error {
	return c.write(visible.Text(text, c.json))
}

// complain writes text of others to standard error, as a line.
func (c *Command) complain(text string) {
	fmt.Fprintln(c.Stderr, visible.Text(text, false))
}

// write writes text of our own.
func (c *Command) write(text string) error {
	if _, err := io.WriteString(c.Stdout, text); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	return nil
}

// ask sends a request and decodes the answer, or with --json prints it; then
// shown is true.
func (c *Command) ask(ctx context.Context, method, name string, request, into any) (shown bool, err error) {
	b, err := c.client.Do(ctx, method, name, request)
	if c.json && b != nil {
		return true, errors.Join(err, c.print(string(b)))
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return false, fmt.Errorf("the server's answer makes no sense: %w", err)
	}
	return false, nil
}

func (c *Command) reload(ctx context.Context, _ []string) error {
	var d Done
	if shown, err := c.ask(ctx, http.MethodPost, "reload", nil, &d); shown || err != nil {
		return err
	}
	return c.print(fmt.Sprintf("reloaded: generation %d serves\n", d.Generation))
}

func (c *Command) scale(ctx context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil && args[0] != "auto" {
		return usagef("scale takes a number (N, +N or -N) or auto, not %q", args[0])
	}
	r := ScaleRequest{To: &n}
	if args[0] == "auto" {
		r = ScaleRequest{Auto: true}
	} else if strings.ContainsAny(args[0][:1], "+-") {
		r = ScaleRequest{By: &n}
	} else if n < 1 {
		return usagef("scale takes at least 1 worker")
	}
	var s Scaled
	if shown, err := c.ask(ctx, http.MethodPost, "scale", r, &s); shown || err != nil {
		return err
	}
	if s.From == s.To {
		return c.print(fmt.Sprintf("workers: %d, as before\n", s.To))
	}
	return c.print(fmt.Sprintf("workers: %d, were %d\n", s.To, s.From))
}

// workerNumber reads the optional argument of restart and dump.
func workerNumber(args []string) (WorkerRequest, error) {
	if len(args) == 0 {
		return WorkerRequest{}, nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > protocol.MaxSlots {
		return WorkerRequest{}, usagef("%q is no worker's number: status shows them", args[0])
	}
	return WorkerRequest{Worker: n}, nil
}

func (c *Command) restart(ctx context.Context, args []string) error {
	r, err := workerNumber(args)
	if err != nil {
		return err
	}
	var d Done
	if shown, err := c.ask(ctx, http.MethodPost, "restart", r, &d); shown || err != nil {
		return err
	}
	if r.Worker != 0 {
		return c.print(fmt.Sprintf("restarted: worker %d's replacement serves\n", r.Worker))
	}
	return c.print("restarted: all workers have been replaced\n")
}

func (c *Command) dump(ctx context.Context, args []string) error {
	r, err := workerNumber(args)
	if err != nil {
		return err
	}
	var d Dumped
	if shown, err := c.ask(ctx, http.MethodPost, "dump", r, &d); shown || err != nil {
		return err
	}
	return c.print(renderDumps(d.Dumps))
}

func (c *Command) upgrade(ctx context.Context, _ []string) error {
	var d Done
	if shown, err := c.ask(ctx, http.MethodPost, "upgrade", nil, &d); shown || err != nil {
		return err
	}
	// The path is the new master's by now.
	var st Status
	b, err := c.client.Do(ctx, http.MethodGet, "status", nil)
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil { // it was given another socket
		return c.print("upgraded: the new binary serves\n")
	}
	return c.print(fmt.Sprintf("upgraded: hostler %s serves, master %d in the place of %d\n", st.Master.Version, st.Master.PID, d.PID))
}

// goneTimeout is how long the last moments of a process may take.
const goneTimeout = 2 * time.Second

func (c *Command) drain(ctx context.Context, _ []string) error {
	var d Done
	shown, err := c.ask(ctx, http.MethodPost, "drain", nil, &d)
	if shown || err != nil {
		return err
	}
	// The master has answered as the last thing it did. Elsewhere its number may
	// mean nothing, and a parent may be slow to fetch its status: not for ever.
	for end := time.Now().Add(goneTimeout); time.Now().Before(end) && syscall.Kill(d.PID, 0) == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	return c.print("drained: the server has stopped\n")
}

func (c *Command) logLevel(ctx context.Context, args []string) error {
	var l Level
	if shown, err := c.ask(ctx, http.MethodPost, "log-level", LevelRequest{Level: args[0]}, &l); shown || err != nil {
		return err
	}
	return c.print(fmt.Sprintf("master and workers log at level %s until the next reload\n", l.Level))
}

func (c *Command) config(ctx context.Context, _ []string) error {
	var got Config
	if shown, err := c.ask(ctx, http.MethodGet, "config", nil, &got); shown || err != nil {
		return err
	}
	var b strings.Builder
	for _, s := range got.Settings {
		b.WriteString(c.PrintSetting(s))
	}
	return c.print(b.String())
}

func (c *Command) events(ctx context.Context, _ []string) error {
	b, err := c.client.Do(ctx, http.MethodGet, "events", nil)
	if err != nil {
		return err
	}
	var e Events
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("the server's answer makes no sense: %w", err)
	}
	if c.last > 0 && len(e.Events) > c.last {
		e.Events = e.Events[len(e.Events)-c.last:]
	}
	if c.json {
		b, err := json.Marshal(e)
		return errors.Join(err, c.print(string(b)+"\n"))
	}
	return c.print(eventLines(e.Events))
}

func (c *Command) slow(ctx context.Context, _ []string) error {
	b, err := c.client.Do(ctx, http.MethodGet, "slow", nil)
	if err != nil {
		return err
	}
	var s Slow
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("the server's answer makes no sense: %w", err)
	}
	if c.last > 0 && len(s.Routes) > c.last {
		s.Routes = s.Routes[:c.last]
	}
	if c.json {
		b, err := json.Marshal(s)
		return errors.Join(err, c.print(string(b)+"\n"))
	}
	return c.print(slowLines(s.Routes))
}

func (c *Command) status(ctx context.Context, _ []string) error {
	var before *Status
	for {
		var st Status
		shown, err := c.ask(ctx, http.MethodGet, "status", nil, &st)
		if err != nil {
			if c.watch && ctx.Err() != nil {
				return nil // that is how it is ended
			}
			return err
		}
		if !shown {
			text := statusTable(&st, before)
			if c.watch {
				if err := c.write("\x1b[H\x1b[2J"); err != nil {
					return err
				}
			}
			if err := c.print(text); err != nil {
				return err
			}
		}
		if !c.watch {
			return nil
		}
		before = &st
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}
