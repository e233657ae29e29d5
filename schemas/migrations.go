package schemas

import (
	"embed"
	"io/fs"
)

//go:embed sql/*.sql
var migrations embed.FS

// Migrations returns the numbered DDL files of the warehouse, forward-only, in a
// directory of their own.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "sql")
	if err != nil {
		panic("schemas: the embedded migrations have no directory sql")
	}
	return sub
}
