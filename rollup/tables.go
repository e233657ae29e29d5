package rollup

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
)

//go:embed sql/*.sql
var statements embed.FS

// statement returns the text of sql/<name>.sql.
func statement(name string) string { return warehouse.Statement(statements, "rollup", name) }

// DB is the warehouse as this package uses it; *warehouse.DB is one.
type DB interface {
	// Database is the one that all tenants share, and that has the ledger.
	Database() string
	Exec(ctx context.Context, sql string, params ...warehouse.Param) error
	Query(ctx context.Context, sql string, params ...warehouse.Param) (*warehouse.Rows, error)
}

// Store is the warehouse as a Worker sees it. After an error a write may or may
// not have happened, and is repeated.
type Store interface {
	// Position returns how far a job has come: the position of its newest run that
	// ended well.
	Position(ctx context.Context, job string) (Reached, error)
	// Ranges returns the committed ranges after a position, in order, at most
	// limit, and before them the range that should end at the position.
	Ranges(ctx context.Context, shard uint32, position uint64, limit uint32) ([]Range, error)
	// Dirty returns the hours that the ledger names in (after, upto], each once.
	Dirty(ctx context.Context, shard uint32, after, upto uint64) ([]DirtyHour, error)
	// Recompute replaces the dirty windows of a batch by what their events (hours)
	// or their finer windows (days, months) add up to as of position; after and
	// b.NamedUpto bound the part of the ledger that names them.
	Recompute(ctx context.Context, shard uint32, b *Batch, after, position uint64, at time.Time) error
	// Record writes a run down. For a pass it is the commit point.
	Record(ctx context.Context, r Run) error
}

// Tables is the Store in ClickHouse. See schemas/sql for the tables and why they
// are as they are.
type Tables struct {
	db     DB
	places *placement.Map
}

var _ Store = Tables{}

// NewTables returns the Store of a warehouse whose migrations have run. Without
// places, all tenants share one database.
func NewTables(db DB, places *placement.Map) Tables { return Tables{db, placesOf(db, places)} }

// placesOf returns places, or that of a warehouse in which all tenants share one
// database.
func placesOf(db DB, places *placement.Map) *placement.Map {
	if places == nil {
		return placement.Shared(db.Database())
	}
	return places
}

// Position implements Store.
func (t Tables) Position(ctx context.Context, job string) (Reached, error) {
	return readPosition(ctx, t.db, job)
}

// Record implements Store.
func (t Tables) Record(ctx context.Context, r Run) error { return recordRun(ctx, t.db, r) }

// Ranges implements Store; see sql/ranges.sql.
func (t Tables) Ranges(ctx context.Context, shard uint32, position uint64, limit uint32) ([]Range, error) {
	rows, err := t.db.Query(ctx, statement("ranges"),
		warehouse.Param{Name: "shard", Value: shard},
		warehouse.Param{Name: "position", Value: position},
		warehouse.Param{Name: "limit", Value: limit})
	if err != nil {
		return nil, fmt.Errorf("read ledger after %d: %w", position, err)
	}
	var ranges []Range
	err = rows.Each(func() error {
		ranges = append(ranges, Range{})
		r := &ranges[len(ranges)-1]
		return rows.Scan(&r.From, &r.To, &r.Pairs)
	})
	if err != nil {
		return nil, fmt.Errorf("read ledger after %d: %w", position, err)
	}
	return ranges, nil
}

// Dirty implements Store; see sql/dirty.sql.
func (t Tables) Dirty(ctx context.Context, shard uint32, after, upto uint64) ([]DirtyHour, error) {
	rows, err := t.db.Query(ctx, statement("dirty"),
		warehouse.Param{Name: "shard", Value: shard},
		warehouse.Param{Name: "after", Value: after},
		warehouse.Param{Name: "upto", Value: upto})
	if err != nil {
		return nil, fmt.Errorf("read dirty hours: %w", err)
	}
	var dirty []DirtyHour
	err = rows.Each(func() error {
		dirty = append(dirty, DirtyHour{})
		d := &dirty[len(dirty)-1]
		return rows.Scan(&d.Tenant, &d.Start)
	})
	if err != nil {
		return nil, fmt.Errorf("read dirty hours: %w", err)
	}
	return dirty, nil
}

// Recompute implements Store; see sql/hours.sql, sql/days.sql and sql/months.sql. It is
// one statement per place that a tenant of the batch has.
func (t Tables) Recompute(ctx context.Context, shard uint32, b *Batch, after, position uint64, at time.Time) error {
	view, err := t.places.View(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	for _, place := range view.Among(b.Tenants) {
		if err := t.recompute(ctx, place, shard, b, after, position, at); err != nil {
			return err
		}
	}
	return nil
}

func (t Tables) recompute(ctx context.Context, place placement.Place, shard uint32, b *Batch, after, position uint64, at time.Time) error {
	params := append(place.Params(),
		warehouse.Param{Name: "shard", Value: shard},
		warehouse.Param{Name: "after", Value: after},
		warehouse.Param{Name: "position", Value: position},
		warehouse.Param{Name: "named_upto", Value: cmp.Or(b.NamedUpto, position)},
		warehouse.Param{Name: "computed_ms", Value: at.UnixMilli()},
		warehouse.Param{Name: "from_s", Value: b.From.Unix()},
		warehouse.Param{Name: "to_s", Value: b.To.Unix()},
		warehouse.Param{Name: "first_tenant", Value: b.First.Tenant},
		warehouse.Param{Name: "first_s", Value: b.First.Start},
		warehouse.Param{Name: "last_tenant", Value: b.Last.Tenant},
		warehouse.Param{Name: "last_s", Value: b.Last.Start})
	return t.db.Exec(ctx, statement(string(b.Grain)+"s"), params...)
}
