package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hostler/config"
	"hostler/config/foreign"
	"hostler/master"
)

// evaluate runs a settings file of Gunicorn's.
func evaluate(e config.Evaluation) (config.Evaluated, error) {
	name := strings.TrimPrefix(e.File, "file:")
	if !strings.HasPrefix(e.File, "python:") {
		st, err := os.Stat(name)
		switch {
		case err != nil:
			return config.Evaluated{}, fmt.Errorf("cannot read it: %w", plain(err))
		case !st.Mode().IsRegular():
			return config.Evaluated{}, fmt.Errorf("it is no file")
		}
	}
	answer, who, err := master.Evaluate(master.Evaluation{
		Binary: findBinary(os.Args[0]), Python: e.Python, Chdir: e.Chdir, User: e.User, Group: e.Group,
		Program: foreign.Program, Args: []string{e.File, foreign.Names()}, MaxAnswer: foreign.MaxAnswer,
	})
	return config.Evaluated{Answer: answer, Unprivileged: who}, err
}

// plain is an error without the path that is named beside it.
func plain(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

// migrate is hostler migrate.
func migrate(file, python string, p process) int {
	if file == "" {
		file = firstThere(foreign.DefaultConf, "uwsgi.ini")
	}
	if file == "" {
		fmt.Fprintf(p.stderr, "hostler: migrate: there is no %s or uwsgi.ini here: name the file\n", foreign.DefaultConf)
		return exitUsage
	}
	if filepath.Base(file) == "Procfile" {
		fmt.Fprintf(p.stderr, "hostler: migrate: %s: has a command in it, and no settings: put hostler in the place of the server's name\n", file)
		return exitUsage
	}
	m, err := read(file, python, p.env)
	if err != nil {
		fmt.Fprintf(p.stderr, "hostler: migrate: %s: %v\n", file, err)
		return exitError
	}
	return printed(p, m.TOML())
}

func firstThere(names ...string) string {
	for _, n := range names {
		if _, err := os.Stat(n); err == nil {
			return n
		}
	}
	return ""
}

// read reads a settings file of another server's.
func read(file, python string, env []string) (config.Migration, error) {
	m := config.Migration{File: file}
	if filepath.Ext(file) == ".ini" {
		data, err := readAgain(file)
		if err != nil {
			return m, plain(err)
		}
		uses, unknown, err := foreign.ReadINI(file, data, func(name string) string { return lookup(env, name) })
		if err != nil {
			return m, err
		}
		m.Out = foreign.Convert(uses, foreign.Where{Draft: true})
		for _, u := range unknown {
			m.Out.Lines = append(m.Out.Lines, foreign.Line{Name: u, Fate: foreign.Lost, Text: "hostler does not know this one"})
		}
		return m, nil
	}
	got, err := evaluate(config.Evaluation{File: file, Python: python})
	if err != nil {
		return m, err
	}
	c, err := foreign.ReadConf(got.Answer)
	if err != nil {
		return m, err
	}
	m.Out, m.Hooks = foreign.Convert(c.Uses, foreign.Where{Draft: true}), len(c.Hooks) > 0 || c.Logging
	return m, nil
}

func lookup(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}
