package client

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Runtimes import this package, so it brings nothing of the server with it.
func TestImportsStaySmall(t *testing.T) {
	allowed := map[string]bool{
		"github.com/agentik-os/panda/schemas": true,
		"github.com/google/uuid":              true,
		// Empty without its tag, and standard library alone with it.
		"github.com/agentik-os/panda/internal/failpoint": true,
		"github.com/klauspost/compress/gzip":             true,
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(path, ".") && !allowed[path] {
				t.Errorf("%s imports %s", e.Name(), path)
			}
		}
	}
	if files == 0 {
		t.Error("no files were looked at")
	}
}
