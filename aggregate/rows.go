package aggregate

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

//go:embed sql/*.sql
var statements embed.FS

// statement returns the text of sql/<name>.sql.
func statement(name string) string { return warehouse.Statement(statements, "aggregate", name) }

// DB is the warehouse as this package uses it; *warehouse.DB is one.
type DB interface {
	// Database is the one that all tenants share, and that has the ledger.
	Database() string
	Query(ctx context.Context, sql string, params ...warehouse.Param) (*warehouse.Rows, error)
}

// nameDest and totalsDest are where a row's columns go, in the order in which
// all statements of this package select them.
func nameDest(names *[dimensionCount]string) []any {
	return []any{&names[0], &names[1], &names[2], &names[3], &names[4]}
}

func totalsDest(t *Totals) []any {
	dest := []any{&t.Calls, &t.Errors, &t.Unpriced, &t.LatencyMS}
	for i := range t.Tokens {
		dest = append(dest, &t.Tokens[i])
	}
	return append(dest, &t.Cost)
}

// ledgerPosition returns the end of the newest committed range.
func ledgerPosition(ctx context.Context, db DB, shard uint32) (Position, error) {
	rows, err := db.Query(ctx, statement("ledger_position"), warehouse.Param{Name: "shard", Value: shard})
	if err != nil {
		return Position{}, fmt.Errorf("read ledger position: %w", err)
	}
	return scanPosition(rows, "read ledger position")
}

// rollupPosition returns how far the rollups have come.
func rollupPosition(ctx context.Context, db DB) (Position, error) {
	// The name under which passes are recorded is a word of the schema; see
	// job_runs.
	rows, err := db.Query(ctx, statement("rollup_position"), warehouse.Param{Name: "job", Value: "rollup"})
	if err != nil {
		return Position{}, fmt.Errorf("read rollup position: %w", err)
	}
	return scanPosition(rows, "read rollup position")
}

func scanPosition(rows *warehouse.Rows, action string) (Position, error) {
	var p Position
	err := rows.Each(func() error {
		var ms int64
		err := rows.Scan(&p.Seq, &ms)
		p.Time = time.UnixMilli(ms).UTC()
		return err
	})
	if err != nil {
		return Position{}, fmt.Errorf("%s: %w", action, err)
	}
	return p, nil
}

// scanEvent reads a row of usage_raw as recent.sql and find.sql select it.
func scanEvent(rows *warehouse.Rows, tenant string) (schemas.Accepted, error) {
	a, err := scanEventAfter(rows)
	a.Tenant = tenant
	return a, err
}

// scanEventAfter scans a row that has these columns before those of an event.
func scanEventAfter(rows *warehouse.Rows, before ...any) (schemas.Accepted, error) {
	var a schemas.Accepted
	e := &a.Event
	var kind, units, tags string
	var cost *schemas.Money
	var calls int64
	dest := append(before,
		&a.Seq, &a.Idx, &a.ReceivedAt, &e.Time, &e.Source, &e.ID, &kind, &calls,
		&e.Provider, &e.Model, &e.Department, &e.CostCenter, &e.Agent, &e.User, &e.Session, &e.Run, &e.ParentRun,
		&e.Status, &e.Error, &e.LatencyMS, &e.Completeness, &e.ServiceTier, &e.Flag,
	)
	for i := range e.Tokens {
		dest = append(dest, &e.Tokens[i])
	}
	dest = append(dest, &units, &tags, &e.Corrects.Source, &e.Corrects.ID, &cost, &a.UnpricedReason, &a.PriceRevision,
		&a.ReportedModel)
	if err := rows.Scan(dest...); err != nil {
		return a, err
	}
	e.Type, a.Calls = schemas.EventType(kind), int8(calls)
	if a.Priced = cost != nil; a.Priced {
		a.Cost = *cost
	}
	err := readLabels(e, units, tags)
	// An amount is kept as the cost. What has a model might be priced by its counts;
	// without one, only an amount gives an adjustment a cost.
	counts := e.Tokens != (schemas.Tokens{}) || len(e.Units) > 0
	if e.Type == schemas.TypeAdjustment && a.Priced && (e.Model == "" || !counts) {
		e.Amount, e.HasAmount = a.Cost, true
	}
	return a, err
}
