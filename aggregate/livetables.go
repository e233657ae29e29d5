package aggregate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
)

// LiveStore is the warehouse as Live sees it.
type LiveStore interface {
	// Position returns the end of the newest committed range.
	Position(ctx context.Context, shard uint32) (Position, error)
	// Totals calls add for every sum over the events of the kept windows as of a
	// position. add does not keep the row.
	Totals(ctx context.Context, keep Keep, position uint64, add func(*LiveRow)) error
	// Levels calls add for the newest level of every tenant and name over the kept
	// months as of a position.
	Levels(ctx context.Context, keep Keep, position uint64, add func(tenant string, level Level)) error
}

// A LiveRow is the sum over a tenant's events of one combination of names, in a
// kept day, or in what lies in a month before the kept days.
type LiveRow struct {
	Tenant string
	// Month is the start of the month; Day that of the day, zero before the kept
	// days.
	Month, Day time.Time
	// Names are in the order of schemas.Dimensions.
	Names [dimensionCount]string
	Totals
}

// LiveTables is the LiveStore in ClickHouse.
type LiveTables struct {
	db     DB
	places *placement.Map
}

var _ LiveStore = LiveTables{}

// NewLiveTables returns the LiveStore of a warehouse whose migrations have run.
// Without places, all tenants share one database.
func NewLiveTables(db DB, places *placement.Map) LiveTables {
	return LiveTables{db, placesOf(db, places)}
}

// placesOf returns places, or that of a warehouse in which all tenants share one
// database.
func placesOf(db DB, places *placement.Map) *placement.Map {
	if places == nil {
		return placement.Shared(db.Database())
	}
	return places
}

// everywhere runs a statement in every place that counts and calls scan for all
// rows. Each tenant is in one place, so what the rows are about does not overlap. A
// position that params name must have been read before.
func (t LiveTables) everywhere(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	view, err := t.places.View(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	for _, place := range view.All() {
		rows, err := t.db.Query(ctx, statement(name), slices.Concat(params, place.Params())...)
		if err != nil {
			return err
		}
		if err := rows.Each(func() error { return scan(rows) }); err != nil {
			return err
		}
	}
	return nil
}

// Position implements LiveStore.
func (t LiveTables) Position(ctx context.Context, shard uint32) (Position, error) {
	return ledgerPosition(ctx, t.db, shard)
}

// Totals implements LiveStore.
func (t LiveTables) Totals(ctx context.Context, keep Keep, position uint64, add func(*LiveRow)) error {
	err := t.everywhere(ctx, "rebuild", func(rows *warehouse.Rows) error {
		var r LiveRow
		var monthS, dayS int64
		dest := append([]any{&r.Tenant, &monthS, &dayS}, nameDest(&r.Names)...)
		if err := rows.Scan(append(dest, totalsDest(&r.Totals)...)...); err != nil {
			return err
		}
		r.Month = time.Unix(monthS, 0)
		if dayS != 0 {
			r.Day = time.Unix(dayS, 0)
		}
		add(&r)
		return nil
	}, warehouse.Param{Name: "from_ms", Value: keep.MonthsFrom.UnixMilli()},
		warehouse.Param{Name: "days_from_ms", Value: keep.DaysFrom.UnixMilli()},
		warehouse.Param{Name: "position", Value: position})
	if err != nil {
		return fmt.Errorf("rebuild live totals: %w", err)
	}
	return nil
}

// Levels implements LiveStore.
func (t LiveTables) Levels(ctx context.Context, keep Keep, position uint64, add func(tenant string, level Level)) error {
	err := t.everywhere(ctx, "rebuild_levels", func(rows *warehouse.Rows) error {
		var tenant string
		var level Level
		if err := rows.Scan(&tenant, &level.Name, &level.Value, &level.Time, &level.Seq, &level.Idx); err != nil {
			return err
		}
		add(tenant, level)
		return nil
	}, warehouse.Param{Name: "from_ms", Value: keep.MonthsFrom.UnixMilli()},
		warehouse.Param{Name: "position", Value: position})
	if err != nil {
		return fmt.Errorf("rebuild levels: %w", err)
	}
	return nil
}
