package ctl

import (
	"context"
	"regexp"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hostler/internal/cli"
	"hostler/protocol"
)

const long = `Controls a running server by its control socket.

Exit status: 0 done, 1 failed or no server there, 2 wrong usage.`

// verb is a command: what it takes and does.
type verb struct {
	use, short  string
	long        string // instead of short, in its own help
	least, most int    // arguments
	takes       string // for messages
	flags       []func(c *Command, f *pflag.FlagSet)
	words       []string // what its argument may be, for completion
	run         func(c *Command, ctx context.Context, args []string) error
}

const (
	noArgument = "no argument"
	maybeOne   = "at most one argument, a worker's number"
)

// verbs are all commands, in the order of the help.
func verbs() []verb {
	return []verb{
		{use: "status", short: "the server and its workers",
			takes: noArgument, flags: []func(*Command, *pflag.FlagSet){watchFlag}, run: (*Command).status},
		{use: "top", short: "the server on the whole terminal, anew each second; q quits",
			takes: noArgument, flags: []func(*Command, *pflag.FlagSet){topFlags}, run: (*Command).top},
		{use: "config", short: "every setting in force, and where it is from, as a settings file",
			takes: noArgument, run: (*Command).config},
		{use: "reload", short: "settings and code anew, as by SIGHUP; waits, and fails if the reload does",
			takes: noArgument, run: (*Command).reload},
		{use: "scale N|+N|-N|auto", short: "so many workers, so many more or fewer; by need again",
			least: 1, most: 1, takes: "a number (N, +N or -N) or auto", words: []string{"auto"}, run: (*Command).scale},
		{use: "restart [WORKER]", short: "replace a worker, or all one by one; each replacement is ready first; waits",
			most: 1, takes: maybeOne, run: (*Command).restart},
		{use: "dump [WORKER]", short: "Python tracebacks of every thread, here and in the error log; harms nothing",
			most: 1, takes: maybeOne, run: (*Command).dump},
		{use: "events", short: "what happened to server and workers lately, and why",
			takes: noArgument, flags: []func(*Command, *pflag.FlagSet){lastFlag("only the last `N` of them")}, run: (*Command).events},
		{use: "slow", short: "the worst requests by route, with the stacks that --slow-request took",
			takes: noArgument, flags: []func(*Command, *pflag.FlagSet){lastFlag("only the `N` worst routes")}, run: (*Command).slow},
		{use: "profile SECONDS [WORKER]", short: "where Python threads spend their time: a flame graph (SVG)",
			long:  "Where Python threads spend their time: a flame graph (SVG), to standard output or --output. On a terminal it goes to hostler-profile.svg.",
			least: 1, most: 2, takes: "a number of seconds, and a worker's number if only that one is meant",
			flags: []func(*Command, *pflag.FlagSet){profileFlags}, run: (*Command).profile},
		{use: "upgrade", short: "replace the binary, as by SIGUSR2; waits, and fails if the upgrade does",
			takes: noArgument, run: (*Command).upgrade},
		{use: "drain", short: "finish what runs and stop, as by SIGTERM; waits until the server is gone",
			takes: noArgument, run: (*Command).drain},
		{use: "log-level LEVEL", short: "debug, info, warning or error, for master and workers, until the next reload",
			least: 1, most: 1, takes: "a level: debug, info, warning or error",
			words: []string{"debug", "info", "warning", "error"}, run: (*Command).logLevel},
	}
}

func watchFlag(c *Command, f *pflag.FlagSet) {
	f.BoolVarP(&c.watch, "watch", "w", false, "again every second, until interrupted")
}

func lastFlag(help string) func(*Command, *pflag.FlagSet) {
	return func(c *Command, f *pflag.FlagSet) { f.IntVarP(&c.last, "last", "n", 0, help) }
}

func profileFlags(c *Command, f *pflag.FlagSet) {
	f.StringVarP(&c.output, "output", "o", "", "write it to a `FILE`")
	f.BoolVar(&c.folded, "folded", false, "folded stacks with microseconds, for other tools, not a drawing")
	f.IntVar(&c.rate, "rate", 0, "samples a second, `N`; else 100")
}

// Tree returns hostler ctl with its commands.
func (c *Command) Tree() *cobra.Command {
	top := &cobra.Command{
		Use:   "ctl [--socket PATH] [--json] COMMAND",
		Short: "control a running server", Long: long,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no command given")
			}
			return cli.Unknown(cmd, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	top.PersistentFlags().SortFlags = false
	top.PersistentFlags().StringVarP(&c.socket, "socket", "s", "", "of the server, a `PATH`; default: HOSTLER_CTL_SOCKET, or ctl_socket in ./hostler.toml, or that of the only server of yours")
	top.PersistentFlags().BoolVar(&c.json, "json", false, "answers as JSON")
	for _, v := range verbs() {
		top.AddCommand(c.command(v))
		for _, flags := range v.flags { // they may stand before the command, too
			f := pflag.NewFlagSet("", pflag.ContinueOnError)
			flags(c, f)
			top.Flags().AddFlagSet(f)
		}
	}
	top.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	return top
}

func (c *Command) command(v verb) *cobra.Command {
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < v.least || len(args) > v.most {
				return usagef("%s takes %s", cmd.Name(), v.takes)
			}
			if err := c.checkFlags(cmd.Flags()); err != nil {
				return err
			}
			if err := c.findSocket(cmd.Context(), cmd.Flags().Changed("socket")); err != nil {
				return err
			}
			c.client = NewClient(c.socket)
			return c.finish(v.run(c, cmd.Context(), args))
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return v.words, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().SortFlags = false
	for _, flags := range v.flags {
		flags(c, cmd.Flags())
	}
	return cmd
}

func (c *Command) checkFlags(flags *pflag.FlagSet) error {
	switch {
	case flags.Changed("rate") && (c.rate < 1 || c.rate > protocol.MaxProfileRate):
		return usagef("--rate is 1 to %d samples a second", protocol.MaxProfileRate)
	case flags.Changed("last") && c.last < 1:
		return usagef("--last N is at least 1")
	}
	return nil
}

// negative is an argument of scale that looks like a flag.
var negative = regexp.MustCompile(`^-[0-9]+$`)

// Args returns the command line, which begins with ctl, such that nobody takes -2 for
// flags.
func Args(args []string) []string {
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	var numbers []string
	rest := slices.DeleteFunc(slices.Clone(args[:end]), func(a string) bool {
		if negative.MatchString(a) {
			numbers = append(numbers, a)
			return true
		}
		return false
	})
	if len(numbers) == 0 {
		return args
	}
	rest = append(append(rest, "--"), numbers...)
	if end < len(args) {
		rest = append(rest, args[end+1:]...)
	}
	return rest
}
