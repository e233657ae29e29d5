package statement

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Tables are the tables of the warehouse, each with the column that names the tenant
// of a row; "" for a table without one.
type Tables map[string]string

// ReadTables reads the tables from the migrations.
func ReadTables(migrations fs.FS) (Tables, error) {
	tables := Tables{}
	files, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	for _, file := range files {
		sql, err := fs.ReadFile(migrations, file)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		if err := tables.add(string(sql)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return tables, nil
}

// add reads every CREATE TABLE of a text.
func (t Tables) add(sql string) error {
	tokens, err := lex(sql)
	if err != nil {
		return err
	}
	nodes, err := nest(tokens)
	if err != nil {
		return err
	}
	for i := 0; i < len(nodes); i++ {
		if !nodes[i].is("CREATE") || i+1 >= len(nodes) || !nodes[i+1].is("TABLE") {
			continue
		}
		name := ""
		for i += 2; i < len(nodes) && !nodes[i].isGroup(); i++ {
			if n := nodes[i]; name == "" && n.kind == word && !n.is("IF") && !n.is("NOT") && !n.is("EXISTS") {
				name = n.text
			}
		}
		if name == "" || i == len(nodes) {
			return fmt.Errorf("a CREATE TABLE without name or columns")
		}
		t[name] = tenantColumn(nodes[i].group)
	}
	return nil
}

// tenantColumn returns the column that names tenants: tenant, else one with the word
// in its name.
func tenantColumn(columns []node) (found string) {
	first := true
	for _, n := range columns {
		if first && n.kind == word && strings.Contains(strings.ToLower(n.text), "tenant") && (found == "" || n.text == tenant) {
			found = n.text
		}
		first = n.mark(",")
	}
	return found
}

// tenant is the column, and the parameter, that every filter is made of.
const tenant = "tenant"

// Without lists the tables that name no tenant, sorted.
func (t Tables) Without() (names []string) {
	for name, column := range t {
		if column == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
