package main

import (
	"io/fs"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// readStatements reads the SQL of all stages, so that what is run of it has a name.
func (p *pipeline) readStatements() (err error) {
	p.statements, err = statement.NewCatalog(schemas.Migrations(), map[string]fs.FS{
		"aggregate": aggregate.Statements(), "ingest": ingest.Statements(), "rollup": rollup.Statements(),
	})
	if err == nil {
		p.runs = warehouse.NewRuns(warehouse.RunsConfig{Names: p.statements.Names()})
	}
	return err
}
