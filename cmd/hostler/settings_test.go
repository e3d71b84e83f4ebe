package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hostler/config"
	"hostler/settings"
	"hostler/worker/bootstrap"
)

// TestEverySettingIsRead: what can be set is used somewhere. That each field has its row
// in config's table, and each row its field, is for config to test.
func TestEverySettingIsRead(t *testing.T) {
	read := fieldsRead(t)
	python := string(bootstrap.Modules())
	for _, v := range []any{settings.Worker{}, settings.Master{}, settings.TLS{}, config.Config{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := typ.PkgPath() + "." + typ.Name() + "." + f.Name
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.IsExported() && !f.Anonymous && !read[name] && (key == "" || !strings.Contains(python, `"`+key+`"`)) {
				t.Errorf("nobody reads %s", name)
			}
		}
	}
}

// fieldsRead returns the fields of the settings that our packages read, config's own
// use of those of others apart: it fills them.
func fieldsRead(t *testing.T) map[string]bool {
	t.Helper()
	files := token.NewFileSet()
	packages := listPackages(t)
	exports := make(map[string]string)
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	read := make(map[string]bool)
	for _, p := range packages {
		if !strings.HasPrefix(p.ImportPath, "hostler/") {
			continue
		}
		var parsed []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		info := &types.Info{Selections: make(map[*ast.SelectorExpr]*types.Selection)}
		if _, err := (&types.Config{Importer: imports}).Check(p.ImportPath, files, parsed, info); err != nil {
			t.Fatal(err)
		}
		for _, f := range parsed {
			for _, s := range selectionsRead(f) {
				if name := ownerOf(info.Selections[s]); !strings.HasPrefix(name, "hostler/settings.") || p.ImportPath != "hostler/config" {
					read[name] = true
				}
			}
		}
	}
	return read
}

// selectionsRead are the x.f in file that are neither assigned to nor taken the address of.
func selectionsRead(file *ast.File) (all []*ast.SelectorExpr) {
	written := make(map[ast.Expr]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, to := range n.Lhs {
				written[to] = true
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				written[n.X] = true
			}
		case *ast.SelectorExpr:
			if !written[n] {
				all = append(all, n)
			}
		}
		return true
	})
	return all
}

// ownerOf names the field that is selected with the struct that it is declared in.
func ownerOf(s *types.Selection) string {
	if s == nil || s.Kind() != types.FieldVal {
		return ""
	}
	typ := s.Recv()
	for i, step := range s.Index() {
		if p, ok := typ.Underlying().(*types.Pointer); ok {
			typ = p.Elem()
		}
		f := typ.Underlying().(*types.Struct).Field(step)
		if i == len(s.Index())-1 {
			return fmt.Sprintf("%s.%s", types.TypeString(typ, nil), f.Name())
		}
		typ = f.Type()
	}
	return ""
}

type goPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// listPackages returns hostler's packages and what they import, compiled. Its Python side
// in C is not among them.
func listPackages(t *testing.T) (all []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "hostler/cmd/hostler", "hostler/worker")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestAdminSettings: the admin server follows its settings from one reload to the next.
func TestAdminSettings(t *testing.T) {
	o := serveOptions{config: &config.Config{}, reload: func() (*config.Config, error) {
		return &config.Config{Master: settings.Master{AdminHosts: []string{"node7"}, AdminQueries: true}}, nil
	}}
	live, err := o.keepLive()
	if err != nil {
		t.Fatal(err)
	}
	if c := live.Load(); len(c.AdminHosts) != 0 || c.AdminQueries {
		t.Errorf("before: %+v", c)
	}
	if _, err := o.reload(); err != nil {
		t.Fatal(err)
	}
	if c := live.Load(); len(c.AdminHosts) != 1 || !c.AdminQueries {
		t.Errorf("after a reload: %+v", c)
	}
}
