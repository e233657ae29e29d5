package erasure

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

//go:embed sql/*.sql
var statements embed.FS

// statement returns the text of sql/<name>.sql.
func statement(name string) string { return warehouse.Statement(statements, "erasure", name) }

// DB is the warehouse as this package uses it; *warehouse.DB is one.
type DB interface {
	Query(ctx context.Context, sql string, params ...warehouse.Param) (*warehouse.Rows, error)
	Exec(ctx context.Context, sql string, params ...warehouse.Param) error
	Insert(ctx context.Context, table string, columns ...warehouse.Column) error
	Forget(ctx context.Context, tables ...string) (replaced, detached int, err error)
	Database() string
}

// The states of the row in table erasures.
const (
	statePlanned uint8 = 1
	stateDone    uint8 = 2
)

// plainName is what a tenant's or a plan's id looks like; nothing else is put into the
// text of a mutation, which the engine keeps in a file beside the table.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func (e *Eraser) shard() warehouse.Param {
	return warehouse.Param{Name: "shard", Value: e.cfg.Shard.ID}
}

func (e *Eraser) query(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	rows, err := e.db.Query(ctx, statement(name), params...)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", name, errors.Join(err, rows.Close()))
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// entriesPerInsert bounds a block, whose arrays may be long.
const entriesPerInsert = 1_000

func values[T any](entries []entry, value func(*entry) T) []T {
	out := make([]T, len(entries))
	for i := range entries {
		out[i] = value(&entries[i])
	}
	return out
}

// record writes what goes per range. Nobody looks at it before the row of settle.
func (e *Eraser) record(ctx context.Context, st *state, entries []entry) error {
	whole := uint8(0)
	if st.Whole {
		whole = 1
	}
	for part := range slices.Chunk(entries, entriesPerInsert) {
		list := func(of func(*entry) []uint64) [][]uint64 { return values(part, of) }
		number := func(of func(*entry) uint64) []uint64 { return values(part, of) }
		signed := func(of func(*entry) int64) []int64 { return values(part, of) }
		err := e.db.Insert(ctx, "erased",
			warehouse.Column{Name: "shard", Values: values(part, func(*entry) uint32 { return e.cfg.Shard.ID })},
			warehouse.Column{Name: "from_seq", Values: number(func(r *entry) uint64 { return r.From })},
			warehouse.Column{Name: "erasure", Values: values(part, func(*entry) string { return st.plan() })},
			warehouse.Column{Name: "tenant", Values: values(part, func(*entry) string { return st.Tenant })},
			warehouse.Column{Name: "whole", Values: values(part, func(*entry) uint8 { return whole })},
			warehouse.Column{Name: "messages", Values: number(func(r *entry) uint64 { return r.Messages })},
			warehouse.Column{Name: "events", Values: number(func(r *entry) uint64 { return r.Events })},
			warehouse.Column{Name: "accepted", Values: number(func(r *entry) uint64 { return r.Accepted })},
			warehouse.Column{Name: "duplicates", Values: number(func(r *entry) uint64 { return r.Duplicates })},
			warehouse.Column{Name: "conflicts", Values: number(func(r *entry) uint64 { return r.Conflicts })},
			warehouse.Column{Name: "quarantined", Values: number(func(r *entry) uint64 { return r.Quarantined })},
			warehouse.Column{Name: "calls", Values: signed(func(r *entry) int64 { return r.Calls })},
			warehouse.Column{Name: "unpriced", Values: number(func(r *entry) uint64 { return r.Unpriced })},
			warehouse.Column{Name: "late", Values: number(func(r *entry) uint64 { return r.Late })},
			warehouse.Column{Name: "tokens", Values: signed(func(r *entry) int64 { return r.Tokens })},
			warehouse.Column{Name: "cost", Values: values(part, func(r *entry) schemas.Money { return r.Cost })},
			warehouse.Column{Name: "row_hash", Values: number(func(r *entry) uint64 { return r.RowHash })},
			warehouse.Column{Name: "keys", Values: list(func(r *entry) []uint64 { return r.Keys })},
			warehouse.Column{Name: "seqs", Values: list(func(r *entry) []uint64 { return r.Seqs })},
			warehouse.Column{Name: "rows", Values: list(func(r *entry) []uint64 { return r.Rows })})
		if err != nil {
			return fmt.Errorf("record what is erased: %w", err)
		}
	}
	return nil
}

// mark makes an erasure count, or says that it is done.
func (e *Eraser) mark(ctx context.Context, st *state, to uint8) error {
	whole := uint8(0)
	if st.Whole {
		whole = 1
	}
	err := e.db.Insert(ctx, "erasures",
		warehouse.Column{Name: "erasure", Values: []string{st.plan()}},
		warehouse.Column{Name: "shard", Values: []uint32{e.cfg.Shard.ID}},
		warehouse.Column{Name: "tenant", Values: []string{st.Tenant}},
		warehouse.Column{Name: "whole", Values: []uint8{whole}},
		warehouse.Column{Name: "position", Values: []uint64{st.Position}},
		warehouse.Column{Name: "state", Values: []uint8{to}},
		warehouse.Column{Name: "at", Values: []time.Time{e.cfg.Now().UTC()}})
	if err != nil {
		return fmt.Errorf("mark erasure %s: %w", st.plan(), err)
	}
	return nil
}

// eraseTables takes rows out of the tables and their files off the disk.
func (e *Eraser) eraseTables(ctx context.Context, st *state) error {
	if !plainName.MatchString(st.Tenant) || !plainName.MatchString(st.plan()) {
		return fmt.Errorf("erase %q: the ids are none of ours: %w", st.plan(), schemas.ErrInvalid)
	}
	listed := func(column string) string {
		return fmt.Sprintf("IN (SELECT arrayJoin(%s) FROM %s.erased WHERE erasure = '%s')", column, e.db.Database(), st.plan())
	}
	own := "tenant = '" + st.Tenant + "'"
	var steps [][2]string
	if st.Whole {
		until := fmt.Sprintf(" AND bitNot(rank) <= %d", st.Position)
		upTo := fmt.Sprintf(" AND seq <= %d", st.Position)
		steps = [][2]string{
			{"usage_keys", "DELETE WHERE seq " + listed("keys")},
			{"usage_raw", "DELETE WHERE " + own + until},
			{"conflicts", "DELETE WHERE " + own + upTo},
			{"quarantine", "DELETE WHERE " + own + upTo},
			{"rollup", "DELETE WHERE " + own},
		}
	} else {
		at := " AND bitShiftLeft(seq, 16) + idx " + listed("rows")
		steps = [][2]string{
			{"usage_raw", "UPDATE user = '', session = '', run = '', parent_run = '', tags = map(), error = '' WHERE " + own +
				" AND bitShiftLeft(bitNot(rank), 16) + idx " + listed("rows")},
			{"conflicts", "UPDATE body = '' WHERE " + own + at},
			{"quarantine", "UPDATE body = '', pointer = '', detail = '' WHERE " + own + at},
		}
	}
	databases, err := e.databases(ctx, st.Tenant)
	if err != nil {
		return err
	}
	steps = everywhere(databases, steps)
	var touched []string
	for i, step := range steps {
		e.progress("tables", uint64(i), uint64(len(steps)))
		// A replicated table asks to be told that every replica finds the same.
		sql := "ALTER TABLE " + step[0] + " " + step[1] + " SETTINGS allow_nondeterministic_mutations = 1"
		if err := e.db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("erase from %s: %w", step[0], err)
		}
		touched = append(touched, step[0])
		failpoint.Hit(failpoint.ErasureTable)
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.ForgetMax)
	defer cancel()
	replaced, detached, err := e.db.Forget(ctx, touched...)
	st.Erased["parts"] += uint64(replaced + detached)
	if err != nil {
		return fmt.Errorf("take replaced files off the disk: %w", err)
	}
	failpoint.Hit(failpoint.ErasureForgotten)
	return nil
}

// everywhere makes one step for each database of those about rows and windows.
func everywhere(databases []string, steps [][2]string) (all [][2]string) {
	for _, step := range steps {
		if step[0] != "usage_raw" && step[0] != "rollup" {
			all = append(all, step)
			continue
		}
		for _, database := range databases {
			all = append(all, [2]string{database + "." + step[0], step[1]})
		}
	}
	return all
}

// content is the database in which a tenant's rows count, for a statement; done ends the
// view of it.
func (e *Eraser) content(ctx context.Context, tenant string) (database warehouse.Param, done func(), err error) {
	view, err := e.cfg.Placement.View(ctx)
	if err != nil {
		return warehouse.Param{}, nil, err
	}
	return view.Of(tenant).Param(), view.Close, nil
}

// databases are those that may hold rows of a tenant, whether they count there or not:
// what a move left behind, or a backup brought back, goes too.
func (e *Eraser) databases(ctx context.Context, tenant string) (names []string, err error) {
	err = e.query(ctx, "databases", func(rows *warehouse.Rows) error {
		names = append(names, "")
		return rows.Scan(&names[len(names)-1])
	}, warehouse.Param{Name: "shared", Value: e.db.Database()},
		warehouse.Param{Name: "own", Value: placement.DatabaseOf(e.db.Database(), tenant)})
	return names, err
}

// inTables counts what the tables hold of the tenant, whether it counts or not.
func (e *Eraser) inTables(ctx context.Context, st *state) (left uint64, err error) {
	add := func(rows *warehouse.Rows) error {
		var n [2]uint64
		err := rows.Scan(&n[0], &n[1])
		left += n[0] + n[1]
		return err
	}
	tenant := warehouse.Param{Name: "tenant", Value: st.Tenant}
	if err := e.query(ctx, "left", add, tenant); err != nil {
		return 0, err
	}
	databases, err := e.databases(ctx, st.Tenant)
	if err != nil {
		return 0, err
	}
	for _, database := range databases {
		if err := e.query(ctx, "left_content", add, tenant, warehouse.Param{Name: "database", Value: database}); err != nil {
			return 0, err
		}
	}
	keys, err := e.keysLeft(ctx, st)
	return left + keys, err
}

// keysLeft counts the identities that are stored of those that a plan names.
func (e *Eraser) keysLeft(ctx context.Context, st *state) (left uint64, err error) {
	err = e.query(ctx, "keys_left", func(rows *warehouse.Rows) error { return rows.Scan(&left) },
		warehouse.Param{Name: "tenant", Value: st.Tenant}, warehouse.Param{Name: "erasure", Value: st.plan()})
	return left, err
}

// counted waits until the tables hold everything up to a position, windows too, and
// returns up to where they do.
func (e *Eraser) counted(ctx context.Context, position uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CountedMax)
	defer cancel()
	const lookEvery = 100 * time.Millisecond
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := e.cfg.Halted(); err != nil {
			return 0, fmt.Errorf("nothing is counted now: %w: %w", schemas.ErrUnavailable, err)
		}
		var counted, rolledUp uint64
		err := e.query(ctx, "position", func(rows *warehouse.Rows) error { return rows.Scan(&counted, &rolledUp) }, e.shard())
		if err != nil {
			return 0, err
		}
		if counted >= position && rolledUp >= position {
			return min(counted, rolledUp), nil
		}
		e.progress("count", min(counted, rolledUp), position)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("the log is counted up to %d and rolled up to %d, %d is needed: %w: %w",
				counted, rolledUp, position, schemas.ErrUnavailable, ctx.Err())
		}
	}
}
