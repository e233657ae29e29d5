package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

// The house rules that a review forgets. Each subtest is one rule.

const module = "github.com/agentik-os/panda"

const (
	fileLinesMax     = 520
	functionLinesMax = 90
)

type goFile struct {
	path string // relative to the module's root
	dir  string
	test bool
	file *ast.File
	fset *token.FileSet
	text []byte
}

func sourceFiles(t *testing.T) []goFile {
	t.Helper()
	root := os.DirFS("../..")
	var files []goFile
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, goFile{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), file, fset, text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func imports(f goFile) []string {
	var list []string
	for _, spec := range f.file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		list = append(list, name)
	}
	return list
}

// within reports whether a directory is one of those or below it.
func within(dir string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") })
}

func TestTidyImports(t *testing.T) {
	t.Parallel()
	stages := []string{"ingest", "aggregate", "rollup", "alerting"}
	for _, f := range sourceFiles(t) {
		if f.test {
			continue
		}
		for _, name := range imports(f) {
			local := strings.TrimPrefix(name, module+"/")
			switch {
			case f.dir == "schemas" && strings.Contains(name, "."):
				t.Errorf("%s imports %s: schemas imports the standard library only", f.path, name)
			case strings.HasPrefix(name, "github.com/nats-io/") && !within(f.dir, "internal/eventlog"):
				t.Errorf("%s imports %s: NATS belongs to internal/eventlog", f.path, name)
			case strings.HasPrefix(name, "github.com/ClickHouse/") && !within(f.dir, "internal/warehouse"):
				t.Errorf("%s imports %s: ClickHouse belongs to internal/warehouse", f.path, name)
			case strings.HasPrefix(name, "github.com/stripe/") && !within(f.dir, "rollup/stripe"):
				t.Errorf("%s imports %s: Stripe belongs to rollup/stripe", f.path, name)
			case strings.HasPrefix(local, "cmd/"):
				t.Errorf("%s imports %s: nothing imports cmd", f.path, name)
			case name == "testing" && !strings.HasSuffix(f.dir, "test"):
				t.Errorf("%s imports testing outside a test package", f.path)
			}
			for _, a := range stages {
				for _, b := range stages {
					if a != b && within(f.dir, a) && within(local, b) && name != local {
						t.Errorf("%s imports %s: stages do not import each other", f.path, name)
					}
				}
			}
		}
	}
}

// pureFiles hold the cores that a test runs without anything around them.
var pureFiles = []string{
	"ingest/identity.go", "ingest/verdict.go", "ingest/envelope.go", "ingest/filter.go",
	"aggregate/fold.go", "aggregate/foldspent.go", "aggregate/decide.go", "aggregate/decide_message.go", "rollup/plan.go",
	"alerting/threshold.go", "alerting/page.go", "rollup/bill/calculate.go", "rollup/bill/settle.go", "rollup/bill/adjust.go",
	"alerting/outbox/plan.go", "alerting/outbox/schedule.go",
	"schemas/money.go", "schemas/tokens.go", "schemas/price_rate.go", "schemas/window.go",
}

func TestTidyPureFiles(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range sourceFiles(t) {
		if !slices.Contains(pureFiles, f.path) {
			continue
		}
		seen[f.path] = true
		for _, name := range imports(f) {
			if slices.Contains([]string{"context", "os", "net", "net/http", "github.com/rs/zerolog"}, name) {
				t.Errorf("%s is pure and imports %s", f.path, name)
			}
		}
		if bytes.Contains(f.text, []byte("time.Now")) {
			t.Errorf("%s is pure and looks at a clock", f.path)
		}
	}
	for _, name := range pureFiles {
		if !seen[name] {
			t.Errorf("%s is on the list of pure files and does not exist", name)
		}
	}
}

func TestTidyPackagesHaveDocs(t *testing.T) {
	t.Parallel()
	documented, dirs := map[string]bool{}, map[string]bool{}
	for _, f := range sourceFiles(t) {
		if f.test {
			continue
		}
		dirs[f.dir] = true
		if path.Base(f.path) == "doc.go" && f.file.Doc != nil {
			documented[f.dir] = true
		}
	}
	for dir := range dirs {
		if !documented[dir] {
			t.Errorf("%s has no doc.go", dir)
		}
	}
}

func TestTidySizes(t *testing.T) {
	t.Parallel()
	for _, f := range sourceFiles(t) {
		if ast.IsGenerated(f.file) {
			continue // nobody reads or changes it
		}
		lines := bytes.Count(f.text, []byte("\n"))
		if lines > fileLinesMax && !f.test {
			t.Errorf("%s has %d lines; at most %d", f.path, lines, fileLinesMax)
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncDecl)
			if !ok || fn.Body == nil || f.test {
				return true
			}
			length := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line
			if length > functionLinesMax {
				t.Errorf("%s: %s has %d lines; at most %d", f.path, fn.Name.Name, length, functionLinesMax)
			}
			return true
		})
	}
}

// TestTidyNoFloats looks for floats where usage and money are. Prometheus wants
// floats for its metrics, so metrics files may have them.
func TestTidyNoFloats(t *testing.T) {
	t.Parallel()
	float := regexp.MustCompile(`\bfloat(32|64)\b`)
	for _, f := range sourceFiles(t) {
		if f.test || !within(f.dir, "schemas", "ingest", "aggregate", "rollup", "alerting", "internal/api", "internal/pricelist") {
			continue
		}
		if strings.Contains(path.Base(f.path), "metrics") {
			continue
		}
		for i, line := range strings.Split(string(f.text), "\n") {
			code, _, _ := strings.Cut(line, "//")
			measured := strings.Contains(code, "cfg.Metrics.") || strings.Contains(code, "w.cfg.Metrics")
			if float.MatchString(code) && !measured {
				t.Errorf("%s:%d has a float: %s", f.path, i+1, strings.TrimSpace(line))
			}
		}
	}
}

func TestTidyNoGlobalsNoInitNoSkips(t *testing.T) {
	t.Parallel()
	for _, f := range sourceFiles(t) {
		for _, decl := range f.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s has an init function", f.path)
			}
		}
		if f.test && f.path != "cmd/panda/tidy_test.go" {
			for _, word := range []string{"t.Skip(", "t.SkipNow(", "t.Skipf(", "time.Sleep("} {
				// In a bubble of synctest a sleep takes no time.
				bubble := word == "time.Sleep(" && slices.Contains(imports(f), "testing/synctest")
				if bytes.Contains(f.text, []byte(word)) && !bubble {
					t.Errorf("%s calls %s", f.path, strings.TrimSuffix(word, "("))
				}
			}
		}
	}
}

// insertSelect finds the head of an INSERT … SELECT.
var insertSelect = regexp.MustCompile(`(?m)^INSERT INTO [^;]*?\)\s*SELECT`)

// placeholder finds {name:Type} in a statement.
var placeholder = regexp.MustCompile(`\{(\w+):([^}]+)\}`)

// TestTidySQL holds every statement to the real engine: it is named in the code
// of its package, says why it is there, and can be explained.
func TestTidySQL(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	if err := db.Migrate(t.Context(), schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../*/sql/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no statements found: %v", err)
	}
	// Some of these change tables, which cannot be explained; tests run each of them.
	inner, err := filepath.Glob("../../internal/*/sql/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]string{}
	for _, f := range sourceFiles(t) {
		if !f.test {
			code[f.dir] += string(f.text)
		}
	}
	for _, name := range slices.Concat(files, inner) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "--") {
			t.Errorf("%s does not begin with a comment that says why", name)
		}
		stage := strings.TrimPrefix(filepath.Dir(filepath.Dir(name)), "../../")
		if stage == "schemas" {
			continue // Migrate ran them
		}
		word := strings.TrimSuffix(filepath.Base(name), ".sql")
		family := word[:strings.LastIndexByte(word, '_')+1] // named "verify_" + grain
		if !strings.Contains(code[stage], `"`+word+`"`) && (family == "" || !strings.Contains(code[stage], `"`+family+`"`)) {
			t.Errorf("%s: no code of %s names it", name, stage)
		}
		if slices.Contains(inner, name) {
			continue
		}
		if err := explain(t, db, string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func explain(t *testing.T, db *warehouse.DB, text string) error {
	t.Helper()
	var params []warehouse.Param
	seen := map[string]bool{}
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		if seen[m[1]] {
			continue
		}
		seen[m[1]] = true
		var value any = "1"
		switch {
		case strings.HasPrefix(m[2], "Array(String"):
			value = []string{}
		case strings.HasPrefix(m[2], "Array("):
			value = []uint64{}
		case m[2] == "Identifier":
			value = db.Database()
		case strings.HasPrefix(m[2], "Enum"), m[1] == "grain":
			value = "hour"
		}
		params = append(params, warehouse.Param{Name: m[1], Value: value})
	}
	// What an INSERT … SELECT costs is its SELECT.
	if at := insertSelect.FindStringIndex(text); at != nil {
		text = text[at[1]-len("SELECT"):]
	}
	rows, err := db.Query(t.Context(), "EXPLAIN "+text, params...)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}
