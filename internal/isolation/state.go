package isolation

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

//go:embed sql/*.sql
var statements embed.FS

// statement returns the text of sql/<name>.sql.
func statement(name string) string { return warehouse.Statement(statements, "isolation", name) }

func (m *Mover) query(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	rows, err := m.db.Query(ctx, statement(name), params...)
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

// The outcomes under which steps of a move are kept in job_runs. They are not those of
// jobs: a move has its own.
const (
	stepBegun    = "begun"    // the target may hold something else yet
	stepCopied   = "copied"   // rows up to position are in the target, and nothing else
	stepCleaning = "cleaning" // the change stands, both were compared, old rows may be gone in part
	stepDone     = "ok"
	stepGivenUp  = "given up"
)

// state is the newest step of a move.
type state struct {
	tenant, step, target string
	copied               uint64
	at                   time.Time
}

// transfer is a move under way.
type transfer struct {
	tenant  string
	state   state
	started time.Time
	// rows is how many were copied in this call.
	rows uint64
	// newestGen is that of the windows when they were first copied: those that were
	// replaced since are of it or of a newer one.
	newestGen uint64
	// redoAfter is as of which position the newest of the windows was at the change; 0
	// after a crash, which makes all of them again.
	redoAfter uint64
}

// open reports whether a move was begun and not ended.
func (t *transfer) open() bool { return t.state.isOpen() }

func (s *state) isOpen() bool {
	return s.step == stepBegun || s.step == stepCopied || s.step == stepCleaning
}

// resume returns the move of a tenant as it was left.
func (m *Mover) resume(ctx context.Context, tenant string) (*transfer, error) {
	t := &transfer{tenant: tenant, started: m.cfg.Now()}
	states, err := m.states(ctx, tenant)
	if err == nil && len(states) > 0 {
		t.state = states[0]
	}
	return t, err
}

// openMoves returns the moves that were begun and not ended.
func (m *Mover) openMoves(ctx context.Context) ([]state, error) {
	states, err := m.states(ctx, "")
	return slices.DeleteFunc(states, func(s state) bool { return !s.isOpen() }), err
}

func (m *Mover) states(ctx context.Context, tenant string) ([]state, error) {
	var all []state
	err := m.query(ctx, "moves", func(rows *warehouse.Rows) error {
		var s state
		var atMS int64
		err := rows.Scan(&s.tenant, &s.step, &s.target, &s.copied, &atMS)
		s.at = time.UnixMilli(atMS)
		all = append(all, s)
		return err
	}, warehouse.Param{Name: "tenant", Value: tenant})
	return all, err
}

// note writes a step down. The newest is told by its time, so each is later than the
// one before, whatever the clock says.
func (m *Mover) note(ctx context.Context, t *transfer, step, target string, copied uint64) error {
	at := m.cfg.Now()
	if least := t.state.at.Add(time.Millisecond); at.Before(least) {
		at = least
	}
	next := state{tenant: t.tenant, step: step, target: target, copied: copied, at: at}
	err := m.db.Exec(ctx, statement("step"),
		warehouse.Param{Name: "tenant", Value: t.tenant}, warehouse.Param{Name: "step", Value: step},
		warehouse.Param{Name: "target", Value: target}, warehouse.Param{Name: "copied", Value: copied},
		warehouse.Param{Name: "rows", Value: t.rows},
		warehouse.Param{Name: "started_ms", Value: t.started.UnixMilli()}, warehouse.Param{Name: "at_ms", Value: at.UnixMilli()})
	if err != nil {
		return fmt.Errorf("write down how far the move is: %w", err)
	}
	t.state = next
	return nil
}

// clear takes everything of a tenant out of a place that is not in force.
func (m *Mover) clear(ctx context.Context, tenant, database string) error {
	inForce, err := m.sourceOf(ctx, tenant)
	if err != nil {
		return err
	}
	if inForce == database {
		return fmt.Errorf("take away old rows and windows: database %s is the tenant's place now: %w", database, schemas.ErrConflict)
	}
	if database != m.db.Database() {
		m.cfg.Places.Forget(database)
		return m.db.DropDatabase(ctx, database)
	}
	for _, name := range []string{"delete_rows", "delete_windows"} {
		err := m.db.Exec(ctx, statement(name), warehouse.Param{Name: "database", Value: database},
			warehouse.Param{Name: "tenant", Value: tenant})
		if err != nil {
			return fmt.Errorf("take away old rows and windows: %w", err)
		}
	}
	return nil
}

// missing reports whether a database is not there.
func (m *Mover) missing(ctx context.Context, database string) (bool, error) {
	names, err := m.databases(ctx)
	return !slices.Contains(names, database), err
}

// databases returns the shared database and those whose names begin with its own.
func (m *Mover) databases(ctx context.Context) ([]string, error) {
	var names []string
	err := m.query(ctx, "databases", func(rows *warehouse.Rows) error {
		names = append(names, "")
		return rows.Scan(&names[len(names)-1])
	}, warehouse.Param{Name: "prefix", Value: m.db.Database()})
	return names, err
}

// sweep takes away what is in force for nobody and belongs to no move under way: the
// rows of tenants that have a database of their own from the shared one, where a
// writer that was paused beyond its lease may have left some, and databases of tenants
// that have none.
func (m *Mover) sweep(ctx context.Context) error {
	candidates, err := m.candidates(ctx)
	if err != nil {
		return err
	}
	// After the list: a database in it may have been made for a tenant that is new.
	if m.cfg.CatchUp != nil {
		if err := m.cfg.CatchUp(ctx); err != nil {
			return err
		}
	}
	view, err := m.cfg.Places.View(ctx)
	if err != nil {
		return err
	}
	isolated := slices.Clone(view.Isolated())
	view.Close()
	if err := m.sweepShared(ctx, isolated); err != nil {
		return err
	}
	for _, name := range candidates {
		tenant, own := strings.CutPrefix(name, m.db.Database()+"_")
		if !own || slices.Contains(isolated, tenant) {
			continue
		}
		m.cfg.Logger.Warn().Str("tenant", tenant).Str("database", name).Msg("a database that is in force for nobody is taken away")
		if err := m.clear(ctx, tenant, name); err != nil {
			return err
		}
	}
	return nil
}

// candidates are the databases that may be taken away if no tenant is placed in them:
// those that a move has made, and those of the name of a tenant's that have our tables
// and nothing in them. Another may be somebody else's, whose name begins like ours.
func (m *Mover) candidates(ctx context.Context) ([]string, error) {
	states, err := m.states(ctx, "")
	if err != nil {
		return nil, err
	}
	names, err := m.databases(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, s := range states {
		ours[placement.DatabaseOf(m.db.Database(), s.tenant)] = true
	}
	err = m.query(ctx, "empty_databases", func(rows *warehouse.Rows) error {
		var name string
		err := rows.Scan(&name)
		if tenant, ok := strings.CutPrefix(name, m.db.Database()+"_"); ok && tenancy.ValidTenantID(tenant) {
			ours[name] = true
		}
		return err
	}, warehouse.Param{Name: "prefix", Value: m.db.Database() + "_"})
	return slices.DeleteFunc(names, func(name string) bool { return !ours[name] }), err
}

// sweepShared takes rows of tenants that are elsewhere out of the shared database.
func (m *Mover) sweepShared(ctx context.Context, isolated []string) error {
	if len(isolated) == 0 {
		return nil
	}
	var left []string
	err := m.query(ctx, "left_behind", func(rows *warehouse.Rows) error {
		left = append(left, "")
		return rows.Scan(&left[len(left)-1])
	}, warehouse.Param{Name: "database", Value: m.db.Database()}, warehouse.Param{Name: "tenants", Value: isolated})
	if err != nil {
		return err
	}
	for _, tenant := range left {
		m.cfg.Logger.Warn().Str("tenant", tenant).Msg("rows that do not count are taken out of the shared database")
		if err := m.clear(ctx, tenant, m.db.Database()); err != nil {
			return err
		}
	}
	return nil
}
