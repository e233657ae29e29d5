package rollup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// AuditConfig is what an Auditor needs to know. Zero fields take the default named
// beside them.
type AuditConfig struct {
	// Every is the least time between two looks, 15 s: half a minute after its
	// commit a range has been held against the ledger.
	Every time.Duration
	// DutyPercent is the greatest share of time spent looking, 3: a busy machine
	// is looked after less often, and never not at all.
	DutyPercent int
	// TailRanges is how many of the newest ranges are looked at first, 64: what a
	// power cut could have taken from a disk that lies, and more.
	TailRanges uint32
	// BehindMax is how long the log may end before the ledger, 0 for a log in this
	// process; in a cluster a leader that was just elected may not know all that was
	// acknowledged.
	BehindMax time.Duration
	// Excused reports whether what is missing now is missing for a reason that somebody
	// is about to deal with, such as an erasure that a backup does not know of: then
	// nothing is restored and nothing halts, and the audit looks again. Nil excuses
	// nothing.
	Excused func(ctx context.Context) (bool, error)
}

// AuditMetrics says how far the audit has come and what it had restored.
type AuditMetrics struct {
	position prometheus.Gauge
	restored prometheus.Counter
}

// NewAuditMetrics makes the metrics and registers them, unless reg is nil.
func NewAuditMetrics(reg prometheus.Registerer) *AuditMetrics {
	m := &AuditMetrics{
		position: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "panda_audit_position", Help: "Log sequence up to where the ledger was held against rows and keys.",
		}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_audit_restored_ranges_total", Help: "Committed ranges that were not whole and were restored from the log.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.position, m.restored)
	}
	return m
}

// Auditor follows the ledger and holds each new range against what is stored for
// it: the range follows the one before, its verdicts add up, its rows and keys are
// there with the right sums, and the log reaches as far. What is missing it has
// restored; what cannot be restored ends it with a breach.
type Auditor struct {
	cfg      AuditConfig
	repairer *Repairer

	behind time.Time // since when the log has ended before the ledger; of Audit's caller

	mu      sync.Mutex
	audited uint64
	at      time.Time
}

// NewAuditor returns an Auditor that does nothing before Tail and Run.
func NewAuditor(cfg AuditConfig, repairer *Repairer) *Auditor {
	orDefault(&cfg.Every, 15*time.Second)
	orDefault(&cfg.DutyPercent, 3)
	orDefault(&cfg.TailRanges, 64)
	return &Auditor{cfg: cfg, repairer: repairer}
}

// Position returns up to where the ledger was audited, and when.
func (a *Auditor) Position() (position uint64, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.audited, a.at
}

func (a *Auditor) moveTo(position uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.audited, a.at = position, time.Now()
	a.repairer.cfg.Metrics.position.Set(float64(position))
}

// Tail looks at the newest ranges. Call it before a writer starts: a key that a
// power cut took would let an event be counted a second time.
func (a *Auditor) Tail(ctx context.Context) error {
	v := a.repairer.verifier
	var before uint64
	view, err := v.cfg.Places.View(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the ledger: %w", err)
	}
	defer view.Close()
	rows, err := v.db.Query(ctx, statement("tail"), warehouse.Param{Name: "databases", Value: databasesOf(view)}, warehouse.Param{Name: "shard", Value: v.cfg.Shard},
		warehouse.Param{Name: "ranges", Value: a.cfg.TailRanges})
	if err != nil {
		return fmt.Errorf("find the end of the ledger: %w", err)
	}
	if err := rows.Each(func() error { return rows.Scan(&before) }); err != nil {
		return fmt.Errorf("find the end of the ledger: %w", err)
	}
	a.moveTo(before)
	return a.Audit(ctx)
}

// Run audits until ctx ends, which is not an error. An engine that is away is
// waited for; it returns on a breach that could not be mended, and on what a
// repeat would not mend.
func (a *Auditor) Run(ctx context.Context) error {
	timer := time.NewTimer(a.cfg.Every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		started := time.Now()
		err := a.Audit(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, schemas.ErrUnavailable):
			a.repairer.cfg.Log.Warn().Err(err).Msg("audit failed, will repeat")
		case err != nil:
			return err
		}
		timer.Reset(pause(time.Since(started), a.cfg.Every, a.cfg.DutyPercent))
	}
}

// Audit looks at what was committed since the last time.
func (a *Auditor) Audit(ctx context.Context) error {
	before, _ := a.Position()
	run, checks, err := a.look(ctx, before)
	if err != nil || len(run.ranges) == 0 {
		return err
	}
	if excused, err := a.excused(ctx, checks); excused || err != nil {
		return err
	}
	if short := run.report.short(); len(short) > 0 {
		for i := range checks {
			a.repairer.cfg.Monitor.Found(checks[i].Breach())
		}
		if _, err := a.repairer.restore(ctx, short); err != nil {
			return err
		}
		if run, checks, err = a.look(ctx, before); err != nil {
			return err
		}
	}
	for i := range checks {
		if err := checks[i].Breach(); err != nil {
			return err
		}
		a.repairer.cfg.Monitor.Held(checks[i].invariant())
	}
	a.repairer.cfg.Monitor.Held(invariant.VerdictsAddUp)
	a.repairer.cfg.Monitor.Held(invariant.LogCoversLedger)
	a.moveTo(run.report.To)
	return nil
}

// excused reports whether something was found and is excused.
func (a *Auditor) excused(ctx context.Context, checks []Check) (bool, error) {
	for i := range checks {
		if checks[i].Breach() != nil && a.cfg.Excused != nil {
			return a.cfg.Excused(ctx)
		}
	}
	return false, nil
}

// look makes the checks of the ranges after a position.
func (a *Auditor) look(ctx context.Context, before uint64) (run *verification, checks []Check, err error) {
	v := a.repairer.verifier
	run = &verification{cfg: v.cfg, db: v.db}
	_, err = settled(ctx, run, func() (Report, error) {
		run, checks, err = a.lookOnce(ctx, before)
		return run.report, err
	})
	return run, checks, err
}

func (a *Auditor) lookOnce(ctx context.Context, before uint64) (*verification, []Check, error) {
	v := a.repairer.verifier
	run := &verification{cfg: v.cfg, db: v.db, progress: func(string, uint64, uint64) {}}
	// Windows do not matter here, so neither does their position.
	ledger, err := run.checkLedger(ctx, VerifyOptions{From: before + 1, To: math.MaxUint64})
	if err != nil || len(run.ranges) == 0 {
		return run, nil, err
	}
	if first := run.ranges[0].from; before != 0 && first != before+1 {
		return run, nil, fmt.Errorf("%w: after %d comes the range from %d", ErrLedgerBroken, before, first)
	}
	if !ledger.OK() {
		return run, nil, ledger.Breach()
	}
	if v.cfg.Log != nil {
		_, last, err := v.cfg.Log.Bounds(ctx)
		if err != nil {
			return run, nil, fmt.Errorf("read bounds of the log: %w", err)
		}
		if last < run.report.To {
			return run, nil, a.short(last, run.report.To)
		}
		a.behind = time.Time{}
	}
	raw, err := run.checkRaw(ctx)
	if err != nil {
		return run, nil, err
	}
	keys, err := run.checkKeys(ctx)
	if err != nil {
		return run, nil, err
	}
	rejects, err := run.checkRejects(ctx)
	run.report.Checks = []Check{ledger, raw, keys, rejects}
	return run, run.report.Checks, err
}

// short says that the log ends before the ledger: for a while that may pass, and
// then it is a breach.
func (a *Auditor) short(last, ledger uint64) error {
	if a.behind.IsZero() {
		a.behind = time.Now()
	}
	if time.Since(a.behind) < a.cfg.BehindMax {
		return fmt.Errorf("the log ends at %d, the ledger at %d: %w", last, ledger, schemas.ErrUnavailable)
	}
	return invariant.Broken(invariant.LogCoversLedger, "the log ends at %d, the ledger at %d; restore the log", last, ledger)
}
