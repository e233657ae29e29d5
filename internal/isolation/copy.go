package isolation

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// sums are what a tenant's rows or windows add up to in one place.
type sums struct {
	rows          uint64
	calls, tokens int64
	cost          schemas.Money
	hash          uint64
}

func (s *sums) String() string {
	return fmt.Sprintf("%d rows, %d calls, %d tokens, $%s, hash %016x", s.rows, s.calls, s.tokens, s.cost, s.hash)
}

// compared is what both places hold.
type compared struct{ source, target sums }

func (m *Mover) sums(ctx context.Context, name, database string, params ...warehouse.Param) (sums, error) {
	var s sums
	answers := 0
	err := m.query(ctx, name, func(rows *warehouse.Rows) error {
		answers++
		return rows.Scan(&s.rows, &s.calls, &s.tokens, &s.cost, &s.hash)
	}, append(params, warehouse.Param{Name: "database", Value: database})...)
	if err == nil && answers != 1 {
		err = fmt.Errorf("%s: %d answers instead of one: %w", name, answers, schemas.ErrUnavailable)
	}
	return s, err
}

func (m *Mover) compare(ctx context.Context, name, source, target string, params ...warehouse.Param) (c compared, err error) {
	if c.source, err = m.sums(ctx, name, source, params...); err != nil {
		return c, err
	}
	if c.target, err = m.sums(ctx, name, target, params...); err != nil {
		return c, err
	}
	if c.source != c.target {
		return c, fmt.Errorf("%w: %s: %s in %s, %s in %s", ErrDiffers, name, &c.source, source, &c.target, target)
	}
	return c, nil
}

// compareRows holds the rows of (after, upto] against each other.
func (m *Mover) compareRows(ctx context.Context, tenant, source, target string, after, upto uint64) (compared, error) {
	return m.compare(ctx, "sum_rows", source, target, warehouse.Param{Name: "tenant", Value: tenant},
		warehouse.Param{Name: "after", Value: after}, warehouse.Param{Name: "upto", Value: upto})
}

func (m *Mover) compareWindows(ctx context.Context, tenant, source, target string) (compared, error) {
	return m.compare(ctx, "sum_windows", source, target, warehouse.Param{Name: "tenant", Value: tenant})
}

// copyAhead copies while counting goes on, until little is left.
func (m *Mover) copyAhead(ctx context.Context, t *transfer, source string, progress Progress) error {
	total, err := m.sums(ctx, "count_rows", source, warehouse.Param{Name: "tenant", Value: t.tenant},
		warehouse.Param{Name: "upto", Value: uint64(math.MaxUint64)})
	if err != nil {
		return err
	}
	for range m.cfg.RoundsMax {
		upto, err := m.ledgerPosition(ctx)
		if err != nil {
			return err
		}
		rows, err := m.copyRows(ctx, t, source, upto, func() { progress(StepCopy, t.rows, max(total.rows, t.rows)) })
		if err != nil {
			return err
		}
		if rows <= m.cfg.TailRows {
			break
		}
	}
	if t.newestGen, err = m.newestGen(ctx, t.tenant, source); err != nil {
		return err
	}
	return m.copyWindows(ctx, t, source, 0)
}

// newestGen returns as of which position the newest of a tenant's windows was made.
func (m *Mover) newestGen(ctx context.Context, tenant, database string) (gen uint64, err error) {
	err = m.query(ctx, "newest_gen", func(rows *warehouse.Rows) error { return rows.Scan(&gen) },
		warehouse.Param{Name: "tenant", Value: tenant}, warehouse.Param{Name: "database", Value: database})
	return gen, err
}

// copyRows copies the rows up to a position and holds each chunk against its source.
// It returns how many there were.
func (m *Mover) copyRows(ctx context.Context, t *transfer, source string, upto uint64, told func()) (rows uint64, err error) {
	for t.state.copied < upto {
		end, n, err := m.nextChunk(ctx, t, source, upto)
		if err != nil {
			return rows, err
		}
		if n == 0 {
			end = upto
		}
		span := []warehouse.Param{
			{Name: "tenant", Value: t.tenant}, {Name: "source", Value: source}, {Name: "target", Value: t.state.target},
			{Name: "after", Value: t.state.copied}, {Name: "upto", Value: end},
		}
		if n > 0 {
			if err := m.db.Exec(ctx, statement("copy_rows"), span...); err != nil {
				return rows, fmt.Errorf("copy rows of log %d to %d: %w", t.state.copied+1, end, err)
			}
			m.hit(failpoint.MoveCopied)
		}
		c, err := m.compareRows(ctx, t.tenant, source, t.state.target, t.state.copied, end)
		if errors.Is(err, ErrDiffers) {
			// What is in the target is not a copy: the next attempt begins with an empty one.
			err = errors.Join(err, m.note(ctx, t, stepBegun, t.state.target, 0))
		}
		if err != nil {
			return rows, err
		}
		rows += c.target.rows
		t.rows += c.target.rows
		if err := m.note(ctx, t, stepCopied, t.state.target, end); err != nil {
			return rows, err
		}
		told()
	}
	return rows, nil
}

// nextChunk returns where the next chunk ends, and how many rows are left up to there;
// none if there are none up to upto.
func (m *Mover) nextChunk(ctx context.Context, t *transfer, source string, upto uint64) (end, rows uint64, err error) {
	answers := 0
	err = m.query(ctx, "next", func(r *warehouse.Rows) error {
		answers++
		return r.Scan(&end, &rows)
	}, warehouse.Param{Name: "source", Value: source}, warehouse.Param{Name: "tenant", Value: t.tenant},
		warehouse.Param{Name: "after", Value: t.state.copied}, warehouse.Param{Name: "upto", Value: upto},
		warehouse.Param{Name: "limit", Value: m.cfg.ChunkRows})
	if err == nil && answers != 1 {
		err = fmt.Errorf("find the next chunk: %d answers instead of one: %w", answers, schemas.ErrUnavailable)
	}
	if rows > 0 && rows < uint64(m.cfg.ChunkRows) {
		end = upto // the rest
	}
	return end, rows, err
}

func (m *Mover) copyWindows(ctx context.Context, t *transfer, source string, fromGen uint64) error {
	err := m.db.Exec(ctx, statement("copy_windows"), warehouse.Param{Name: "tenant", Value: t.tenant},
		warehouse.Param{Name: "source", Value: source}, warehouse.Param{Name: "target", Value: t.state.target},
		warehouse.Param{Name: "from_gen", Value: fromGen})
	if err != nil {
		return fmt.Errorf("copy windows: %w", err)
	}
	return nil
}

// copyRest copies what is left, in the pause, and holds both places against each other.
func (m *Mover) copyRest(ctx context.Context, t *transfer, source string, r *Result) error {
	upto, err := m.ledgerPosition(ctx)
	if err != nil {
		return err
	}
	if _, err := m.copyRows(ctx, t, source, upto, func() {}); err != nil {
		return err
	}
	r.Position = upto
	if err := m.copyWindows(ctx, t, source, t.newestGen); err != nil {
		return err
	}
	windows, err := m.compareWindows(ctx, t.tenant, source, t.state.target)
	if errors.Is(err, ErrDiffers) {
		// A window that was mended meanwhile may be as of an earlier position.
		if err = m.copyWindows(ctx, t, source, 0); err == nil {
			windows, err = m.compareWindows(ctx, t.tenant, source, t.state.target)
		}
	}
	if err != nil {
		return err
	}
	r.Windows = windows.target.rows
	if t.redoAfter, err = m.newestGen(ctx, t.tenant, t.state.target); err != nil {
		return err
	}
	// Each chunk was held against its source; what was taken away since shows here.
	counts, err := m.compare(ctx, "count_rows", source, t.state.target, warehouse.Param{Name: "tenant", Value: t.tenant},
		warehouse.Param{Name: "upto", Value: upto})
	if errors.Is(err, ErrDiffers) {
		err = errors.Join(err, m.note(ctx, t, stepBegun, t.state.target, 0))
	}
	r.Rows = counts.target.rows
	return err
}

func (m *Mover) ledgerPosition(ctx context.Context) (position uint64, err error) {
	answers := 0
	err = m.query(ctx, "ledger_position", func(rows *warehouse.Rows) error {
		var ranges uint64
		answers++
		return rows.Scan(&ranges, &position)
	}, warehouse.Param{Name: "shard", Value: m.cfg.Shard})
	if err == nil && answers != 1 {
		err = fmt.Errorf("read ledger position: %d answers instead of one: %w", answers, schemas.ErrUnavailable)
	}
	return position, err
}
