package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/statement"
)

// Whoever adds a statement that reads all tenants says why, in the file itself; whoever
// adds the filter takes the reason away; and whoever adds a package with statements
// adds it to readQueries, so that what it runs has a name.
func TestEveryStatementKeepsToATenantOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	q, err := readQueries()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for i := range q.catalog.Statements {
		s := &q.catalog.Statements[i]
		known[s.Source] = true
		switch {
		case s.Verdict == statement.Missing:
			t.Errorf("%s: %s\nadd the condition, or a first line that says why all tenants are read:\n-- all tenants: …", s.Source, strings.Join(s.Problems, "; "))
		case s.Reason != "" && s.Verdict != statement.Declared:
			t.Errorf("%s says why it reads all tenants and does not: %q", s.Source, s.Reason)
		}
	}
	var onDisk []string
	for _, pattern := range []string{"../../*/sql/*.sql", "../../internal/*/sql/*.sql"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		onDisk = append(onDisk, found...)
	}
	if len(onDisk) == 0 {
		t.Fatal("no statements found")
	}
	slices.Sort(onDisk)
	for _, name := range onDisk {
		source := strings.TrimPrefix(strings.TrimPrefix(name, "../../"), "internal/")
		if !strings.HasPrefix(source, "schemas/") && !known[source] { // migrations are no statements
			t.Errorf("%s is not among the statements of readQueries: add its package there", name)
		}
	}
}
