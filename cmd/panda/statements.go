package main

import (
	"io/fs"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// statements is the SQL of all stages.
func statements() (*statement.Catalog, error) {
	return statement.NewCatalog(schemas.Migrations(), map[string]fs.FS{
		"aggregate": aggregate.Statements(), "ingest": ingest.Statements(), "rollup": rollup.Statements(),
	})
}
