package rollup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/invariant"
)

// RepairConfig is what a Repairer needs to know.
type RepairConfig struct {
	// Restore writes rows, keys and rejects of the committed range that begins at
	// from again, from the log, and returns how many rows it wrote. It writes
	// nothing that the ledger does not vouch for.
	Restore func(ctx context.Context, from uint64) (rows int, err error)
	// NotOnLog is Restore's error for a range that the log has forgotten.
	NotOnLog error
	// Rebuild brings the live totals to what the rows say; it is called after rows
	// were restored.
	Rebuild func(ctx context.Context) error
	// Monitor counts what was found broken, mended or not.
	Monitor *invariant.Monitor
	Metrics *AuditMetrics
	Log     zerolog.Logger
}

// Repairer mends what a Verifier finds, each thing from what it was made of: rows,
// keys and rejects from the log, windows from rows. It never changes the log or the
// ledger, and never takes a row away: what is too much is for a person to judge. As
// long as rows are missing it leaves windows alone, which may be all that is left of
// them.
//
// Nothing may be counted while it works: a key that is missing for a moment would let
// an event count twice.
type Repairer struct {
	cfg      RepairConfig
	verifier *Verifier
	worker   *Worker
}

// NewRepairer returns a Repairer.
func NewRepairer(cfg RepairConfig, verifier *Verifier, worker *Worker) *Repairer {
	if cfg.Metrics == nil {
		cfg.Metrics = NewAuditMetrics(nil)
	}
	return &Repairer{cfg: cfg, verifier: verifier, worker: worker}
}

// A Repair says what was done, step by step, in words for people, and how things
// stand after it.
type Repair struct {
	Done   []string
	Report Report
}

// repairRounds bounds how often a Repair looks again: damaged files, then rows and
// keys, then windows; and once to see that all is well.
const repairRounds = 4

// repairFindingsMax is how many differences one round mends.
const repairFindingsMax = 10_000

// Repair verifies, mends, and verifies again, until nothing is found or nothing
// more can be mended. The report in the answer says which of the two. takeOut allows
// it to take parts with damaged files out of their tables, which is needed to mend
// them, and is a person's to allow.
func (r *Repairer) Repair(ctx context.Context, opts VerifyOptions, takeOut bool, progress Progress) (Repair, error) {
	verifier := *r.verifier
	verifier.cfg.FindingsMax = repairFindingsMax
	var out Repair
	for range repairRounds {
		report, err := verifier.Verify(ctx, opts, progress)
		if err != nil {
			return out, err
		}
		out.Report = report
		if report.OK() {
			return out, nil
		}
		done, err := r.mend(ctx, &report, takeOut)
		out.Done = append(out.Done, done...)
		if err != nil {
			return out, err
		}
		if len(done) == 0 {
			return out, nil
		}
	}
	return out, nil
}

// mend does what can be done about one report.
func (r *Repairer) mend(ctx context.Context, report *Report, takeOut bool) (done []string, err error) {
	for i := range report.Checks {
		r.cfg.Monitor.Found(report.Checks[i].Breach())
	}
	for _, b := range report.Broken {
		if b.Table == "ledger" {
			report.note("parts", fmt.Sprintf("part %s of the ledger is not mended by itself; restore it from a backup, or move the data "+
				"directory's warehouse away and start again: it is made anew from the log, as far as that reaches back", b.Name))
			continue
		}
		if !takeOut {
			report.note("parts", "it was not taken out: that is done with --repair, where the engine is this server's own")
			break
		}
		if err := detach(ctx, r.verifier.db, b); err != nil {
			return done, err
		}
		done = append(done, fmt.Sprintf("part %s of %s was damaged and is taken out; its files stay in the table's folder detached", b.Name, b.Table))
	}
	if len(report.Broken) > 0 {
		return done, nil // what is missing now is found by looking again
	}
	rows, err := r.restore(ctx, report.short())
	done = append(done, rows...)
	if err != nil || len(rows) > 0 || !report.holds("ledger = raw") {
		return done, err
	}
	return r.redoFound(ctx, report)
}

// note adds a note to a check, which whoever asked for the report sees.
func (r *Report) note(check, text string) {
	for i := range r.Checks {
		if r.Checks[i].Name == check {
			r.Checks[i].Notes = append(r.Checks[i].Notes, text)
		}
	}
}

// short returns where the ranges begin whose rows or keys are not all there, in
// order of the log. A range that has too much is not among them: writing it again
// takes nothing away.
func (r *Report) short() []Finding {
	checks := []string{"ledger = raw", "keys = raw", "ledger = rejects"}
	var found []Finding
	tooMuch := map[uint64]bool{}
	for i := range r.Checks {
		if !slices.Contains(checks, r.Checks[i].Name) {
			continue
		}
		for _, f := range r.Checks[i].Findings {
			if f.Side == "ledger" {
				tooMuch[f.From] = true
			} else if f.From != 0 {
				found = append(found, f)
			}
		}
	}
	found = slices.DeleteFunc(found, func(f Finding) bool { return tooMuch[f.From] })
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Compare(a.From, b.From) })
	return slices.CompactFunc(found, func(a, b Finding) bool { return a.From == b.From })
}

// holds reports whether a check was made and found nothing.
func (r *Report) holds(name string) bool {
	return slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Name == name && c.OK() && c.Skipped == "" })
}

// restore puts the rows, keys and rejects of ranges back, in order of the log, because
// the verdicts of a range depend on those before it. Then the windows and the live
// totals that were made without them are made again, unless some could not be
// restored: windows may then be all that is left of what is gone.
func (r *Repairer) restore(ctx context.Context, ranges []Finding) (done []string, err error) {
	var restored []Finding
	for _, f := range ranges {
		rows, err := r.cfg.Restore(ctx, f.From)
		gone := r.cfg.NotOnLog != nil && errors.Is(err, r.cfg.NotOnLog)
		if gone || invariant.Of(err) == invariant.ReplayIsEqual {
			// It may depend on one that is gone; the report goes on naming both.
			r.cfg.Log.Error().Err(err).Uint64("from", f.From).Msg("a range that is not whole cannot be restored from the log")
			continue
		}
		if err != nil {
			return done, fmt.Errorf("restore range from %d: %w", f.From, err)
		}
		restored = append(restored, f)
		r.cfg.Metrics.restored.Inc()
		failpoint.Reached(failpoint.RangeRestored)
		r.cfg.Log.Warn().Uint64("from", f.From).Uint64("to", f.To).Int("rows", rows).Str("tenant", f.Tenant).Str("found", f.Detail).
			Msg("a committed range was not whole and is restored from the log")
		done = append(done, fmt.Sprintf("log %d to %d: %d rows and their keys were written again from the log", f.From, f.To, rows))
	}
	if len(restored) < len(ranges) || len(done) == 0 {
		return done, nil
	}
	for _, f := range restored {
		if _, err := r.worker.redoRange(ctx, f.From, f.To); err != nil {
			return done, err
		}
	}
	done = append(done, fmt.Sprintf("the windows of %d ranges were made again", len(restored)))
	if r.cfg.Rebuild == nil {
		return done, nil
	}
	if err := r.cfg.Rebuild(ctx); err != nil {
		return done, fmt.Errorf("rebuild live totals: %w", err)
	}
	return append(done, "live totals were rebuilt"), nil
}

// redoFound makes windows again that are not what their source adds up to.
func (r *Repairer) redoFound(ctx context.Context, report *Report) (done []string, err error) {
	var dirty []DirtyHour
	for i := range report.Checks {
		for _, f := range report.Checks[i].Findings {
			if !f.Start.IsZero() {
				dirty = append(dirty, DirtyHour{f.Tenant, f.Start.Unix()})
			}
		}
	}
	if len(dirty) == 0 {
		return nil, nil
	}
	pass, err := r.worker.redo(ctx, dirty)
	if err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("%d hours, %d days and %d months were made again from their source", pass.Hours, pass.Days, pass.Months)}, nil
}
