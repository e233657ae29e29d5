package ingest

import (
	"context"
	"math"

	"github.com/agentik-os/panda/internal/failpoint"
)

// What follows tells a torture run which rare paths it took. In a program without
// the tag failpoint all of it is nothing.

// passed is err, after a crash point that lies behind what succeeded.
func passed(p failpoint.Point, err error) error {
	if err == nil {
		failpoint.Hit(p)
	}
	return err
}

// reachedVerdicts marks the verdicts that trouble leads to.
func reachedVerdicts(out *verdictRange, row *LedgerRow) {
	if !failpoint.Enabled {
		return
	}
	if out.duplicates > 0 {
		failpoint.Reached(failpoint.DuplicateFound)
	}
	if len(out.conflicts) > 0 {
		failpoint.Reached(failpoint.ConflictFound)
	}
	if row.Late > 0 {
		failpoint.Reached(failpoint.LateEvent)
	}
	for i := range out.quarantined {
		switch out.quarantined[i].Reason {
		case ReasonVoidTwice:
			failpoint.Reached(failpoint.VoidTwice)
		case ReasonVoidUnknown:
			failpoint.Reached(failpoint.VoidUnknown)
		default:
			failpoint.Reached(failpoint.MessageUnreadable)
		}
	}
}

// reachedFilter marks that the filter called a key possibly seen that was new.
func reachedFilter(f *filter, out *verdictRange) {
	if !failpoint.Enabled {
		return
	}
	for i := range out.keys {
		if f.mayHave(&out.keys[i].Key) {
			failpoint.Reached(failpoint.FilterGuessedWrong)
			return
		}
	}
}

// reachedResume marks that the ledger is further than this writer knows, and that
// keys are stored which the ledger does not cover.
func (w *Writer) reachedResume(ctx context.Context, head Head) error {
	if !failpoint.Enabled {
		return nil
	}
	if w.filter != nil && head.To > w.head.To {
		failpoint.Reached(failpoint.CommitAnswerLost)
	}
	beyond := false
	err := w.store.Keys(ctx, head.To, math.MaxUint64, func(*Key) { beyond = true })
	if err == nil && beyond {
		failpoint.Reached(failpoint.KeyBeyondLedger)
	}
	return err
}
