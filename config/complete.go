package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Completion is what a shell may offer for the word that is being written.
type Completion struct {
	Words []string // with a tab and a description behind some
	Files bool     // files, too
	Dirs  bool     // directories, and nothing else
	Open  bool     // a word is not whole: no blank follows it
}

// Complete completes word, which follows args on the command line of a server.
func Complete(args []string, word string) Completion {
	l := newLoader()
	if name, _, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "--") {
		if s := l.byFlag(dashes(name)); s != nil {
			return s.completion()
		}
		return Completion{}
	}
	if len(args) > 0 {
		if s := l.waiting(args[len(args)-1]); s != nil {
			return s.completion()
		}
	}
	if strings.HasPrefix(word, "-") {
		return Completion{Words: l.flagWords()}
	}
	return Completion{Words: modules(word), Open: true}
}

// waiting returns the setting of a flag that has no value yet.
func (l *loader) waiting(arg string) *setting {
	for _, s := range l.settings {
		if s.positional() || s.value.boolean {
			continue
		}
		if s.short != "" && arg == "-"+s.short || arg != "--" && s == l.byFlag(dashes(arg)) && strings.HasPrefix(arg, "--") {
			return s
		}
	}
	return nil
}

func (l *loader) flagWords() (words []string) {
	for _, s := range l.settings {
		if s.positional() {
			continue
		}
		words = append(words, "--"+s.name+"\t"+s.help)
		if s.short != "" {
			words = append(words, "-"+s.short+"\t"+s.help)
		}
	}
	return words
}

// literal is a word that a setting takes as it stands.
var literal = regexp.MustCompile("`([a-z0-9][a-z0-9.-]*)`")

func (s *setting) completion() Completion {
	var c Completion
	for _, m := range literal.FindAllStringSubmatch(s.value.accepts, -1) {
		c.Words = append(c.Words, m[1])
	}
	kind, _, _ := strings.Cut(s.arg, "[")
	switch kind {
	case "FILE", "PATH":
		c.Files = true
	case "DIR", "DIRS":
		c.Dirs = true
	}
	return c
}

// modules are those in this directory: applications may be in them.
func modules(word string) (words []string) {
	if strings.Contains(word, ":") {
		return nil
	}
	dir := strings.ReplaceAll(word, ".", "/")
	if i := strings.LastIndexByte(dir, '/'); i >= 0 {
		dir = dir[:i]
	} else {
		dir = "."
	}
	entries, err := os.ReadDir(filepath.FromSlash(dir))
	if err != nil {
		return nil
	}
	prefix := word[:strings.LastIndexByte(word, '.')+1]
	for _, e := range entries {
		name, isPython := strings.CutSuffix(e.Name(), ".py")
		switch {
		case strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "-. "):
		case isPython && !e.IsDir():
			words = append(words, prefix+name+":")
		case e.IsDir() && isPackage(filepath.Join(dir, name)):
			words = append(words, prefix+name, prefix+name+".", prefix+name+":")
		}
	}
	return words
}

func isPackage(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "*.py"))
	return err == nil && len(found) > 0
}
