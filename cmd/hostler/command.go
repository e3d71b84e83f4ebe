package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"hostler/config"
	"hostler/ctl"
	"hostler/internal/cli"
	"hostler/internal/nearest"
)

const (
	serveUse = "[serve] [flags] MODULE[:ATTR | :FACTORY()]"
	about    = "Serves a Python web application (WSGI or ASGI) with worker processes."

	migrateLong = `Prints a hostler.toml for a settings file of Gunicorn's or uWSGI's, and why. Without a name it is gunicorn.conf.py or uwsgi.ini in this directory. Gunicorn's is run to learn what it sets.

What stands on a command line needs no file: hostler takes the flags of Gunicorn, uvicorn, granian and hypercorn. hostler --print-config, with the application and these flags, prints a hostler.toml for them.`

	checkLong = `Checks the settings, imports the application, and exits: hostler --check. Flags are those of a server: hostler --help.

Certificates are read; directories and files must be there, or such that they can be made; addresses must be this machine's.`

	completionLong = `Prints what completes hostler's commands, flags and their values in a shell.

  bash   . <(hostler completion bash)
         or into /etc/bash_completion.d/hostler; needs bash-completion
  zsh    hostler completion zsh > "${fpath[1]}/_hostler"
  fish   hostler completion fish > ~/.config/fish/completions/hostler.fish`
)

// process is what a command has of the process around it.
type process struct {
	env            []string
	stdout, stderr io.Writer
}

// tree are the commands.
func tree(p process) *cobra.Command {
	root := &cobra.Command{
		Use: "hostler", Long: about,
		DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
		Run:               func(*cobra.Command, []string) {}, // run makes this serve
		ValidArgsFunction: completeServer,
	}
	serve := &cobra.Command{
		Use: "serve", Short: "serve an application, which is also what no command means",
		DisableFlagParsing: true, ValidArgsFunction: completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Exit(server(cmd.Context(), args, p))
		},
	}
	check := &cobra.Command{
		Use: "check [flags] [MODULE[:ATTR]]", Short: "check the settings, import the application, and exit", Long: checkLong,
		DisableFlagParsing: true, ValidArgsFunction: completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Contains(args, "-h") || slices.Contains(args, "--help") {
				return cmd.Help()
			}
			return cli.Exit(server(cmd.Context(), append([]string{"--check"}, args...), p))
		},
	}
	c := ctl.Command{
		DefaultSocket: func() (string, error) { return config.CtlSocket(p.env, config.Options{}) },
		Places:        ctl.ThesePlaces(func(name string) string { return lookup(p.env, name) }),
		PrintSetting:  func(s ctl.Setting) string { return config.PrintSetting(config.InForce(s)) },
		Stdout:        p.stdout, Stderr: p.stderr,
	}
	root.AddCommand(serve, check, migration(p), interrupted(c.Tree()), completion(), versionCommand())
	h := helpCommand(root)
	root.SetHelpCommand(h)
	root.AddCommand(h) // cobra does so later, and commanded has to know it
	return root
}

// interrupted ends what waits in a command of top's by Ctrl-C.
func interrupted(top *cobra.Command) *cobra.Command {
	for _, cmd := range top.Commands() {
		do := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			cmd.SetContext(ctx)
			return do(cmd, args)
		}
	}
	return top
}

func migration(p process) *cobra.Command {
	var python string
	cmd := &cobra.Command{
		Use: "migrate [gunicorn.conf.py | uwsgi.ini]", Short: "print a hostler.toml for another server's settings", Long: migrateLong,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Wrongf("migrate takes one file, and not %q, too", args[1])
			}
			return cli.Exit(migrate(strings.Join(args, ""), python, p))
		},
	}
	cmd.Flags().StringVar(&python, "python", "", "interpreter, a `FILE`, that runs gunicorn.conf.py")
	return cmd
}

func completion() *cobra.Command {
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
		"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
	}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "print what completes hostler's words in a shell", Long: completionLong,
		ValidArgs: []string{"bash", "zsh", "fish"}, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || shells[args[0]] == nil {
				return cli.Wrongf("completion takes bash, zsh or fish")
			}
			return shells[args[0]](cmd.Root(), cmd.OutOrStdout())
		},
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Wrongf("version takes no argument")
			}
			fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return nil
		},
	}
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND…]", Short: "tell about a command", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return cli.Unknown(of, rest[0])
			}
			if of == root || of.Name() == "serve" {
				fmt.Fprint(cmd.OutOrStdout(), serverHelp(root))
				return nil
			}
			return of.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if of, rest, err := root.Find(args); err == nil && len(rest) == 0 {
				for _, c := range of.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, c.Name()+"\t"+c.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// serverHelp is hostler --help.
func serverHelp(root *cobra.Command) string {
	return "Usage: hostler " + serveUse + "\n       hostler COMMAND …\n\n" + about + "\n\nCommands:\n" + cli.Commands(root) + config.Help()
}

// completeServer completes the command line of a server.
func completeServer(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	c := config.Complete(args, word)
	if !strings.Contains(word, "=") {
		c.Words = slices.DeleteFunc(c.Words, func(w string) bool { return !strings.HasPrefix(w, word) })
	}
	switch {
	case c.Dirs:
		return nil, cobra.ShellCompDirectiveFilterDirs
	case c.Files:
		return c.Words, cobra.ShellCompDirectiveDefault
	case c.Open && len(c.Words) > 0: // none: a command may be completed
		return c.Words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return c.Words, cobra.ShellCompDirectiveNoFileComp
}

// commanded returns args such that they begin with a command: without one, a server is
// meant. A module that is called as a command is hostler serve MODULE.
func commanded(root *cobra.Command, args []string) []string {
	if len(args) > 0 {
		if strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) { // what the shells' completion calls
			return args
		}
		for _, c := range root.Commands() {
			if c.Name() == args[0] {
				return ctl.Args(args)
			}
		}
	}
	return append([]string{"serve"}, args...)
}

// meant names the command that was probably meant by what is no application.
func meant(args []string, p process) string {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.ContainsAny(args[0], ":./") {
		return ""
	}
	for _, name := range []string{args[0], args[0] + ".py"} {
		if _, err := os.Stat(name); err == nil {
			return ""
		}
	}
	var names []string
	for _, c := range tree(p).Commands() {
		names = append(names, c.Name())
	}
	return nearest.Of(args[0], names)
}

// run is main without the process around it. It returns the exit status.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	root := tree(process{env: env, stdout: stdout, stderr: stderr})
	return cli.Run(ctx, root, commanded(root, args), stdout, stderr)
}
