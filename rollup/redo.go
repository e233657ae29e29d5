package rollup

import (
	"context"
	"fmt"

	"github.com/agentik-os/panda/schemas"
)

// redo replaces the windows of some hours, and the days and months they lie in, as
// of the rollups' present position. It is for windows whose source was mended
// behind their back; a pass does not come back to them by itself.
func (w *Worker) redo(ctx context.Context, dirty []DirtyHour) (Pass, error) {
	w.passing.Lock()
	defer w.passing.Unlock()
	last, err := w.store.Position(ctx, JobName)
	if err != nil {
		return Pass{}, err
	}
	pass := Pass{From: last.Position, Position: last.Position}
	for _, b := range plan(dirty, w.cfg.WindowsMax) {
		if err := w.recompute(ctx, &b, 0, last.Position); err != nil {
			return pass, err
		}
		pass.count(&b)
	}
	return pass, nil
}

// redoRange is redo for all windows that a committed range of the log touched.
func (w *Worker) redoRange(ctx context.Context, from, to uint64) (Pass, error) {
	dirty, err := w.dirty(ctx, from-1, to, 0)
	if err != nil {
		return Pass{}, fmt.Errorf("redo windows of range %d to %d: %w", from, to, err)
	}
	return w.redo(ctx, dirty)
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
