// Package mentions finds out, for tests, which names of another package some functions
// speak of: that every message has a handler is a matter of the source.
package mentions

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// In returns the names that begin with prefix, such as "protocol.Kind", in the functions
// of the package in dir, without its tests. A name that is only the value of the key
// Kind in a composite literal does not count: there a message is made, not handled. A
// function that is missing is an error; so a test follows one that is renamed.
func In(dir, prefix string, functions ...string) ([]string, error) {
	pkg, name, _ := strings.Cut(prefix, ".")
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the source: %w", err)
	}
	var names, found []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return nil, fmt.Errorf("cannot read the source: %w", err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && slices.Contains(functions, f.Name.Name) {
				found = append(found, f.Name.Name)
				names = append(names, spoken(f, pkg, name)...)
			}
		}
	}
	for _, f := range functions {
		if !slices.Contains(found, f) {
			return nil, fmt.Errorf("there is no function %s in %s", f, dir)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// spoken returns the names in f.
func spoken(f *ast.FuncDecl, pkg, prefix string) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Kind" {
				return false
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == pkg && strings.HasPrefix(n.Sel.Name, prefix) {
				names = append(names, n.Sel.Name)
			}
		}
		return true
	})
	return names
}
