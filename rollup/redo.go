package rollup

import (
	"context"
	"fmt"
	"slices"

	"github.com/agentik-os/panda/schemas"
)

// redo replaces single windows: those that begin with these hours, and the days and
// months they lie in, as of the rollups' present position. It is for windows that
// are not what their source adds up to; a pass does not come back to them by itself.
func (w *Worker) redo(ctx context.Context, dirty []DirtyHour) (Pass, error) {
	// One at a time: a batch of several would take in all that lie between them.
	return w.remake(ctx, plan(dirty, 1), 0)
}

// redoRange replaces the windows that a committed range of the log touched.
func (w *Worker) redoRange(ctx context.Context, from, to uint64) (Pass, error) {
	dirty, err := w.dirty(ctx, from-1, to, 0)
	if err != nil {
		return Pass{}, fmt.Errorf("redo windows of range %d to %d: %w", from, to, err)
	}
	batches := plan(dirty, w.cfg.WindowsMax)
	for i := range batches {
		batches[i].NamedUpto = to
	}
	return w.remake(ctx, batches, from-1)
}

// RedoTenant replaces the windows of one tenant that the ledger names after a position,
// as of the rollups' present one. It is for a tenant whose rows have another place, which
// a worker of another node may have learned in the middle of a pass.
func (w *Worker) RedoTenant(ctx context.Context, tenant string, after uint64) (Pass, error) {
	last, err := w.store.Position(ctx, JobName)
	if err != nil {
		return Pass{}, err
	}
	dirty, err := w.dirty(ctx, after, last.Position, 0)
	if err != nil {
		return Pass{}, fmt.Errorf("redo windows of tenant %s: %w", tenant, err)
	}
	dirty = slices.DeleteFunc(dirty, func(d DirtyHour) bool { return d.Tenant != tenant })
	batches := plan(dirty, w.cfg.WindowsMax)
	for i := range batches {
		batches[i].NamedUpto = last.Position
	}
	return w.remake(ctx, batches, after)
}

// remake replaces the windows of batches that the ledger names after a position.
func (w *Worker) remake(ctx context.Context, batches []Batch, after uint64) (Pass, error) {
	w.passing.Lock()
	defer w.passing.Unlock()
	last, err := w.store.Position(ctx, JobName)
	if err != nil {
		return Pass{}, err
	}
	pass := Pass{From: last.Position, Position: last.Position}
	for i := range batches {
		if err := w.recompute(ctx, &batches[i], after, last.Position); err != nil {
			return pass, err
		}
		pass.count(&batches[i])
	}
	return pass, nil
}

// count adds a batch that was recomputed.
func (p *Pass) count(b *Batch) {
	switch b.Grain {
	case schemas.GrainHour:
		p.Hours += b.Windows
	case schemas.GrainDay:
		p.Days += b.Windows
	case schemas.GrainMonth:
		p.Months += b.Windows
	}
}
