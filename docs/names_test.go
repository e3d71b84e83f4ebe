package docs

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hostler/config"
	"hostler/ctl"
)

// In the pages about the inside a name in backticks is one of this project's: a file, a
// Go, C or Python name, a flag, a metric, a command, a text in the code. What is the
// kernel's, Go's or Python's stands there without. So a name that has been given up is
// found out when it is, and not by whoever looks for it.
func TestNamesAreAlive(t *testing.T) {
	known := index(t)
	seen := 0
	for _, page := range pages(t) {
		if page != "docs/architecture.md" && page != "CONTRIBUTING.md" && !strings.HasPrefix(page, "docs/internals/") {
			continue
		}
		for _, m := range inline.FindAllString(withoutCode(read(t, page)), -1) {
			seen++
			if name := strings.Join(strings.Fields(strings.Trim(m, "`")), " "); !known.alive(name) {
				t.Errorf("%s: %s is no name of this project's", page, m)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d names", seen)
	}
}

// What this test would let pass is of no use.
func TestDeadNames(t *testing.T) {
	known := index(t)
	for _, name := range []string{"worker/nowhere.go", "nowhere.go", "Loop.nowhere", "protocol.Nowhere", "nowhereAtAll", "nowhere()",
		"--nowhere", "--workers-nowhere", "hostler_nowhere_total", "make nowhere", "hostler ctl nowhere", "TestNowhereAtAll", "/nowhere"} {
		if known.alive(name) {
			t.Errorf("%s is alive", name)
		}
	}
	for _, name := range []string{"worker/loop.go", "loop.go", "Loop.Next", "protocol.Message", "KindDrain", "thread_loop", "load_app()",
		"--workers", "--workers MIN:MAX", "-w", "hostler_requests_total", "make lint", "hostler ctl reload", "HOSTLER", "TestDocumentedTestsExist", "/readyz", "cmd/hostler"} {
		if !known.alive(name) {
			t.Errorf("%s is not alive", name)
		}
	}
}

// names are what the project has.
type names struct {
	root     string
	files    map[string]bool            // names of files, without their folder
	words    map[string]bool            // what Go, C and Python declare
	members  map[string]map[string]bool // of Go's types and packages
	texts    map[string]bool            // whole strings in the code
	flags    map[string]bool
	commands map[string]bool // of hostler ctl
	targets  map[string]bool // of make
}

var (
	flagName   = regexp.MustCompile(`(?:^|[ ,])(--?[a-z][a-z0-9-]*)`)
	ctlName    = regexp.MustCompile(`(?m)^  ([a-z][a-z-]+)\b`)
	targetName = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	comments   = regexp.MustCompile(`(?s)/\*.*?\*/|(?m)//.*$`)
	identifier = regexp.MustCompile(`[A-Za-z_]\w*`)
	pyName     = regexp.MustCompile(`(?m)^\s*(?:def|class) (\w+)|^(\w+) = `)
	quoted     = regexp.MustCompile(`"([^"\n]*)"`)
)

func index(t *testing.T) *names {
	t.Helper()
	n := &names{root: "..", files: make(map[string]bool), words: make(map[string]bool), members: make(map[string]map[string]bool),
		texts: make(map[string]bool), flags: make(map[string]bool), commands: make(map[string]bool), targets: make(map[string]bool)}
	fset := token.NewFileSet()
	err := filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "build" || name == "bin" || name == "payload" || name == ".git" || name == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || strings.HasPrefix(path, "../docs/") {
			return nil
		}
		n.files[name] = true
		switch filepath.Ext(name) {
		case ".go":
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			if strings.HasSuffix(name, "_test.go") {
				n.addTests(f)
			} else {
				n.addGo(f)
			}
		case ".c", ".h", ".py", ".ld":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.addOther(string(text), filepath.Ext(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	c := ctl.Command{Stdout: &help, Stderr: &help}
	if status := c.Run(context.Background(), []string{"--help"}); status != 0 {
		t.Fatalf("hostler ctl --help: %d", status)
	}
	for _, name := range ctlName.FindAllStringSubmatch(help.String(), -1) {
		if status := c.Run(context.Background(), []string{name[1], "--help"}); status != 0 {
			t.Fatalf("hostler ctl %s --help: %d", name[1], status)
		}
	}
	for _, m := range flagName.FindAllStringSubmatch(config.Help()+help.String()+strings.ReplaceAll(config.Reference(), "`", " "), -1) {
		n.flags[m[1]] = true
	}
	for _, m := range ctlName.FindAllStringSubmatch(help.String(), -1) {
		n.commands[m[1]] = true
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range targetName.FindAllStringSubmatch(string(makefile), -1) {
		n.targets[m[1]] = true
	}
	return n
}

// member notes that a type or a package has one of that name.
func (n *names) member(of, name string) {
	if n.members[of] == nil {
		n.members[of] = make(map[string]bool)
	}
	n.members[of][name] = true
	n.words[name] = true
}

func (n *names) addGo(f *ast.File) {
	pkg := f.Name.Name
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			n.member(receiver(d, pkg), d.Name.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				n.addSpec(pkg, s)
			}
		}
	}
	ast.Inspect(f, func(node ast.Node) bool {
		if lit, ok := node.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				n.texts[text] = true
				if method, path, ok := strings.Cut(text, " "); ok && (method == "GET" || method == "POST") {
					n.texts[path] = true
				}
			}
		}
		return true
	})
}

// shouted is what a test asks the environment for.
var shouted = regexp.MustCompile(`^"[A-Z][A-Z0-9_]+"$`)

// addTests adds what people may call by its name in tests.
func (n *names) addTests(f *ast.File) {
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(d.Name.Name, "Test") {
			n.words[d.Name.Name] = true
		}
	}
	ast.Inspect(f, func(node ast.Node) bool {
		if lit, ok := node.(*ast.BasicLit); ok && shouted.MatchString(lit.Value) {
			n.texts[strings.Trim(lit.Value, `"`)] = true
		}
		return true
	})
}

// receiver is the type that a function is a method of, or else its package.
func receiver(d *ast.FuncDecl, pkg string) string {
	if d.Recv == nil {
		return pkg
	}
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name
		default:
			return pkg
		}
	}
}

func (n *names) addSpec(pkg string, s ast.Spec) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			n.member(pkg, name.Name)
		}
	case *ast.TypeSpec:
		n.member(pkg, s.Name.Name)
		ast.Inspect(s.Type, func(node ast.Node) bool {
			if field, ok := node.(*ast.Field); ok {
				for _, name := range field.Names {
					n.member(s.Name.Name, name.Name)
				}
			}
			return true
		})
	}
}

func (n *names) addOther(text, ext string) {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		n.texts[m[1]] = true
	}
	if ext == ".py" {
		for _, m := range pyName.FindAllStringSubmatch(text, -1) {
			n.words[m[1]+m[2]] = true
		}
		return
	}
	for _, word := range identifier.FindAllString(quoted.ReplaceAllString(comments.ReplaceAllString(text, ""), ""), -1) {
		n.words[word] = true
	}
}

// alive reports whether there is what a name in backticks names.
func (n *names) alive(name string) bool {
	first, rest, more := strings.Cut(name, " ")
	switch {
	case n.texts[name]:
		return true
	case strings.HasPrefix(name, "-"):
		flag, _, _ := strings.Cut(first, "=")
		return n.flags[flag]
	case first == "make" && more:
		target, _, _ := strings.Cut(rest, " ")
		return n.targets[target]
	case strings.HasPrefix(name, "hostler ctl "):
		command, _, _ := strings.Cut(strings.TrimPrefix(name, "hostler ctl "), " ")
		return n.commands[command]
	case more:
		return false
	case strings.HasPrefix(name, "hostler_") && n.texts[strings.TrimPrefix(name, "hostler_")]:
		return true
	case n.files[name]:
		return true
	case strings.Contains(name, "/"):
		_, err := os.Stat(filepath.Join(n.root, name))
		return !strings.HasPrefix(name, "/") && err == nil
	}
	name = strings.TrimSuffix(name, "()")
	if of, member, ok := strings.Cut(name, "."); ok {
		return n.members[of][member]
	}
	return n.words[name]
}
