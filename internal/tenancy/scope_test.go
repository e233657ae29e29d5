package tenancy

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestScope(t *testing.T) {
	var zero Scope
	if zero.IsPlatform() || zero.TenantID() != "" || zero.Allows("") || zero.Allows(PermissionRead) {
		t.Error("the zero scope may do something")
	}
	if _, err := zero.For("ten_a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the zero scope reaches a tenant: %v", err)
	}
	tenant := ScopeOf("ten_a", "key:x", PermissionRead, PermissionRead)
	if tenant.IsPlatform() || !tenant.Allows(PermissionRead) || tenant.Allows(PermissionAdmin) || tenant.Allows("") {
		t.Errorf("scope is %+v", tenant)
	}
	if same, err := tenant.For("ten_a"); err != nil || same != tenant {
		t.Errorf("a tenant does not reach itself: %v", err)
	}
	for _, other := range []string{"ten_b", ""} {
		if _, err := tenant.For(other); !errors.Is(err, ErrNotFound) {
			t.Errorf("ten_a reaches %q: %v", other, err)
		}
	}
	platform := ScopeOf("", "key:y", Permissions()...)
	narrow, err := platform.For("ten_b")
	if err != nil || narrow.IsPlatform() || narrow.TenantID() != "ten_b" || !narrow.Allows(PermissionImport) || narrow.Actor() != "key:y" {
		t.Errorf("narrowed scope is %+v: %v", narrow, err)
	}
	if _, err := narrow.For("ten_a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a narrowed scope widens again: %v", err)
	}
}

// makers are the functions that make scopes, and the folders whose code may call
// them. Tests may call them anywhere.
var makers = map[string]struct{ pkg, allowed string }{
	"ScopeOf":    {"github.com/agentik-os/panda/internal/tenancy", "internal/auth"},
	"ForProcess": {"github.com/agentik-os/panda/internal/auth", "cmd/panda"},
}

// Nobody but authentication makes a scope: every other call in the module fails
// this test, however the package is named where it is imported.
func TestOnlyAuthenticationMakesScopes(t *testing.T) {
	root := filepath.Join("..", "..")
	calls := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, name := range scopeMakersIn(file) {
			calls++
			if m := makers[name]; filepath.ToSlash(dir) != m.allowed {
				t.Errorf("%s uses %s; only %s may, so that no scope exists without authentication", path, name, m.allowed)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls == 0 {
		t.Error("no use of ScopeOf was found at all; this test looks in the wrong place")
	}
}

// scopeMakersIn returns the makers that a file mentions through an import, called
// or passed on as values. A dot import hides where names come from, so it counts
// as a use of everything.
func scopeMakersIn(file *ast.File) []string {
	imported := map[string]string{} // name in this file -> import path
	var found []string
	for _, spec := range file.Imports {
		importPath := strings.Trim(spec.Path.Value, `"`)
		name := importPath[strings.LastIndex(importPath, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		for maker, m := range makers {
			if name == "." && m.pkg == importPath {
				found = append(found, maker)
			}
		}
		imported[name] = importPath
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := sel.X.(*ast.Ident)
		if m, is := makers[sel.Sel.Name]; ok && is && imported[from.Name] == m.pkg {
			found = append(found, sel.Sel.Name)
		}
		return true
	})
	return found
}

// The test above must see every way of getting at a maker.
func TestScopeMakersAreFound(t *testing.T) {
	const head = "package p\nimport "
	for source, want := range map[string]int{
		head + `"github.com/agentik-os/panda/internal/tenancy"` + "\nvar s = tenancy.ScopeOf(\"\", \"\")":     1,
		head + `x "github.com/agentik-os/panda/internal/tenancy"` + "\nvar make = x.ScopeOf":                  1,
		head + `. "github.com/agentik-os/panda/internal/tenancy"` + "\nvar s = ScopeOf(\"\", \"\")":           1,
		head + `"github.com/agentik-os/panda/internal/auth"` + "\nvar s = auth.ForProcess(\"x\")":             1,
		head + `"example.com/other/tenancy"` + "\nvar s = tenancy.ScopeOf()":                                  0,
		head + `"github.com/agentik-os/panda/internal/tenancy"` + "\nfunc f(s tenancy.Scope) { s.For(\"\") }": 0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := scopeMakersIn(file); len(got) != want {
			t.Errorf("%d uses found in\n%s", len(got), source)
		}
	}
}
