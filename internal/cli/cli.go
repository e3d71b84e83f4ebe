// Package cli is what hostler's commands have in common: how they are run, their help,
// and what is said of a mistake.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hostler/internal/nearest"
)

// Exit statuses.
const (
	OK    = 0
	Error = 1
	Usage = 2 // the command, or a setting, is wrong
)

// Status is how a command has ended, which has told why itself.
type Status int

func (s Status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Exit makes an exit status what a cobra command returns.
func Exit(status int) error {
	if status == OK {
		return nil
	}
	return Status(status)
}

// Wrong is a mistake of the caller's.
type Wrong struct{ Text string }

func (w Wrong) Error() string { return w.Text }

// Wrongf makes a Wrong.
func Wrongf(format string, args ...any) error { return Wrong{fmt.Sprintf(format, args...)} }

// output remembers that it could not write: cobra's help does not tell.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	o.err = errors.Join(o.err, err)
	return n, err
}

// Run runs the command of root that args name, and returns the exit status.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	prepare(root)
	out := &output{Writer: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var status Status
	switch {
	case errors.As(err, &status):
		return int(status)
	case err != nil:
		fmt.Fprintf(stderr, "%s: %s\n%s\n", family(cmd).CommandPath(), strings.ReplaceAll(err.Error(), "\n", " "), more(cmd))
		return Usage
	case out.err != nil:
		fmt.Fprintf(stderr, "%s: cannot write to standard output: %v\n", root.Name(), out.err)
		return Error
	}
	return OK
}

// family is the command in whose name others of its kind speak: hostler ctl.
func family(cmd *cobra.Command) *cobra.Command {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd
}

func more(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " --help tells about the commands."
	}
	return cmd.CommandPath() + " --help tells more."
}

// prepare has cobra print nothing of its own.
func prepare(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), Help(cmd)) })
	root.SetFlagErrorFunc(wrongFlag)
	each(root, func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("help") == nil {
			cmd.Flags().BoolP("help", "h", false, "print this and exit")
		}
	})
}

func each(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		each(sub, do)
	}
}

// wrongFlag says what is wrong with a flag of cmd's. One that others of its kind have is
// no typing error.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return Wrong{err.Error()}
	}
	name, letters := unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()
	var others, known []string
	has := func(c *cobra.Command) *pflag.Flag {
		if letters != "" {
			return c.LocalFlags().ShorthandLookup(letters[:1])
		}
		return c.LocalFlags().Lookup(name)
	}
	if p := cmd.Parent(); p != nil {
		for _, c := range p.Commands() {
			if f := has(c); f != nil {
				others, name = append(others, c.Name()), f.Name
			}
		}
	}
	if len(others) > 0 {
		return Wrongf("--%s goes with %s, not with %s", name, strings.Join(others, " or "), cmd.Name())
	}
	if letters != "" {
		return Wrongf("unknown flag: -%s", letters[:1])
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	return Wrongf("unknown flag: --%s%s", name, nearest.Hint("--"+name, known))
}

// Unknown is the mistake of a name that is none of parent's commands.
func Unknown(parent *cobra.Command, name string) error {
	var names []string
	for _, c := range parent.Commands() {
		names = append(names, c.Name())
	}
	return Wrongf("there is no command %q%s", name, nearest.Hint(name, names))
}
