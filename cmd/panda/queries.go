package main

import (
	"io/fs"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/export"
	"github.com/agentik-os/panda/internal/isolation"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// queries are the statements of all stages, and what of them was run.
type queries struct {
	catalog *statement.Catalog
	runs    *warehouse.Runs
}

// readQueries reads the SQL of all stages, so that what is run of it has a name.
func readQueries() (q queries, err error) {
	q.catalog, err = statement.NewCatalog(schemas.Migrations(), map[string]fs.FS{
		"aggregate": aggregate.Statements(), "ingest": ingest.Statements(), "rollup": rollup.Statements(),
		"erasure": erasure.Statements(), "export": export.Statements(), "isolation": isolation.Statements(),
	})
	if err == nil {
		q.runs = warehouse.NewRuns(warehouse.RunsConfig{Names: q.catalog.Names()})
	}
	return q, err
}
