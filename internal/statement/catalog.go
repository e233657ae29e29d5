package statement

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Statement is one .sql file of a stage.
type Statement struct {
	// Name is the stage and the file: "aggregate/recent".
	Name string
	// Source is where its text is: "aggregate/sql/recent.sql".
	Source string
	Text   string
	Analysis
}

// Catalog holds all statements. It is not changed after it was made.
type Catalog struct {
	Tables     Tables
	Statements []Statement // in the order of names
}

// NewCatalog reads the statements of stages, each a file system with sql/*.sql, by
// the stage's name.
func NewCatalog(migrations fs.FS, stages map[string]fs.FS) (*Catalog, error) {
	tables, err := ReadTables(migrations)
	if err != nil {
		return nil, err
	}
	c := &Catalog{Tables: tables}
	for stage, files := range stages {
		names, err := fs.Glob(files, "sql/*.sql")
		if err != nil || len(names) == 0 {
			return nil, fmt.Errorf("stage %s has no statements (%w)", stage, err)
		}
		for _, name := range names {
			sql, err := fs.ReadFile(files, name)
			if err != nil {
				return nil, fmt.Errorf("read a statement of %s: %w", stage, err)
			}
			c.Statements = append(c.Statements, Statement{
				Name: stage + "/" + strings.TrimSuffix(path.Base(name), ".sql"), Source: stage + "/" + name, Text: string(sql),
				Analysis: Analyse(string(sql), tables),
			})
		}
	}
	slices.SortFunc(c.Statements, func(a, b Statement) int { return cmp.Compare(a.Name, b.Name) })
	return c, nil
}

// Names are the names of the statements by their text.
func (c *Catalog) Names() map[string]string {
	names := make(map[string]string, len(c.Statements))
	for i := range c.Statements {
		names[c.Statements[i].Text] = c.Statements[i].Name
	}
	return names
}

// Find returns a statement by its name.
func (c *Catalog) Find(name string) (*Statement, bool) {
	i, ok := slices.BinarySearchFunc(c.Statements, name, func(s Statement, name string) int { return cmp.Compare(s.Name, name) })
	if !ok {
		return nil, false
	}
	return &c.Statements[i], true
}

// Analyse reads a statement that is in no file.
func (c *Catalog) Analyse(sql string) Analysis { return Analyse(sql, c.Tables) }
