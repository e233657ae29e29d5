package rollup

import (
	"context"
	"fmt"
	"math"

	"github.com/agentik-os/panda/internal/warehouse"
)

// LogReader is the log as verify sees it.
type LogReader interface {
	// Bounds returns the first and the last sequence the log holds; first is
	// greater than last when it holds nothing.
	Bounds(ctx context.Context) (first, last uint64, err error)
	// Counts calls each for every message from from to to, both included, in
	// order, with the number of events in it. A message that is not readable
	// counts as one event, as the writer counts it.
	Counts(ctx context.Context, from, to uint64, each func(seq uint64, events int) error) error
}

// VerifyConfig is what a Verifier needs to know.
type VerifyConfig struct {
	// Shard is the ledger's shard; the embedded system has shard 0 alone.
	Shard uint32
	// Log is read if it is there; without it the log is not checked, and the
	// report says so.
	Log LogReader
	// FindingsMax bounds the differences a check names, 20: enough to see a
	// pattern. The count of all is always given.
	FindingsMax int
}

// VerifyOptions narrow a Verify.
type VerifyOptions struct {
	// From and To bound the log; zero is from the first and to the last
	// committed. From is moved up to the beginning of a range, To down to the end
	// of one. Windows and identities are only checked without bounds, because they
	// are sums over the whole log.
	From, To uint64
}

// A Report is the outcome of a Verify.
type Report struct {
	// Shard, From and To say what was looked at.
	Shard    uint32
	From, To uint64
	// RollupPosition is what windows were compared as of.
	RollupPosition uint64
	Checks         []Check
}

// OK reports whether nothing was found that should not be.
func (r *Report) OK() bool {
	for i := range r.Checks {
		if !r.Checks[i].OK() {
			return false
		}
	}
	return true
}

// A Check is one comparison and its verdict.
type Check struct {
	// Name says what is compared, such as "ledger = raw".
	Name string
	// Skipped says why the check was not made; empty if it was.
	Skipped string
	// Numbers are what was compared, in words for people.
	Numbers []Number
	// Differences counts what does not agree, Findings names the first of them.
	Differences uint64
	Findings    []Finding
	// Notes are facts that are no fault, such as copies not yet collapsed.
	Notes []string
}

// OK reports whether the check found no difference.
func (c *Check) OK() bool { return c.Differences == 0 }

// Verdict returns "ok", "skipped" or "differs".
func (c *Check) Verdict() string {
	switch {
	case c.Skipped != "":
		return "skipped"
	case c.OK():
		return "ok"
	}
	return "differs"
}

func (c *Check) number(name string, value any) {
	c.Numbers = append(c.Numbers, Number{name, fmt.Sprint(value)})
}

func (c *Check) find(f Finding, findingsMax int) {
	c.Differences++
	if len(c.Findings) < findingsMax {
		c.Findings = append(c.Findings, f)
	}
}

// A Number is a count or an amount with its name.
type Number struct{ Name, Value string }

// A Finding says where two sides differ and how.
type Finding struct {
	// From and To are the range of the log, if the finding is about one.
	From, To uint64
	// Tenant and Window are set if the finding is about them. Window is written
	// as people write it, such as 2026-02-14T09.
	Tenant, Window string
	// Side is the side that is short of something, or "both" if they hold the
	// same amount of different things.
	Side   string
	Detail string
}

// A Verifier proves that log, ledger, events and windows agree, or says where
// not. It only reads.
type Verifier struct {
	cfg VerifyConfig
	db  DB
}

// NewVerifier returns a Verifier.
func NewVerifier(cfg VerifyConfig, db DB) *Verifier {
	orDefault(&cfg.FindingsMax, 20)
	return &Verifier{cfg: cfg, db: db}
}

// Progress is told, while a check runs, how much of it is done.
type Progress func(check string, done, total uint64)

// verification is one Verify under way.
type verification struct {
	cfg      VerifyConfig
	db       DB
	progress Progress
	ranges   []ledgerSpan // of the part that is looked at
	report   Report
}

// ledgerSpan is what is remembered of a ledger row: 32 bytes, so a million
// ranges are 32 MB.
type ledgerSpan struct{ from, to, messages, events uint64 }

// Verify makes all checks. A difference is in the report, not in the error; an
// error means that the checks could not be made. The log and the rollups may move
// while it runs: what came after its start is left out. progress may be nil.
func (v *Verifier) Verify(ctx context.Context, opts VerifyOptions, progress Progress) (Report, error) {
	if progress == nil {
		progress = func(string, uint64, uint64) {}
	}
	whole := opts.From == 0 && opts.To == 0
	if opts.To == 0 {
		opts.To = math.MaxUint64
	}
	// The rollups' position is read first: then the ledger covers it.
	at, err := readPosition(ctx, v.db, JobName)
	if err != nil {
		return Report{}, err
	}
	run := &verification{cfg: v.cfg, db: v.db, progress: progress}
	run.report.Shard, run.report.RollupPosition = v.cfg.Shard, at.Position

	steps := []func(context.Context) (Check, error){
		func(ctx context.Context) (Check, error) { return run.checkLedger(ctx, opts) },
		run.checkLog, run.checkRaw, run.checkIdentities,
	}
	for _, grain := range comparedGrains {
		steps = append(steps, func(ctx context.Context) (Check, error) { return run.checkWindows(ctx, grain) })
	}
	for i, step := range steps {
		check, err := step(ctx)
		if err != nil {
			return run.report, err
		}
		// The first three are about the span; the others are sums over all of it.
		if i == 2 && !whole {
			run.report.Checks = append(run.report.Checks, check)
			break
		}
		run.report.Checks = append(run.report.Checks, check)
	}
	return run.report, nil
}

// checkIdentities compares the keys that are taken with the rows that took them:
// each accepted event has one, and a void has claimed one more.
func (v *verification) checkIdentities(ctx context.Context) (Check, error) {
	check := Check{Name: "keys = raw"}
	v.progress(check.Name, 0, 1)
	var stored, counted, voids, keys, uncommitted uint64
	err := v.query(ctx, "verify_counts", func(rows *warehouse.Rows) error {
		return rows.Scan(&stored, &counted, &voids, &keys, &uncommitted)
	}, warehouse.Param{Name: "upto", Value: v.report.To})
	if err != nil {
		return check, err
	}
	check.number("keys", keys)
	check.number("events", counted)
	check.number("voids", voids)
	if keys != counted+voids {
		side := "keys"
		if keys > counted+voids {
			side = "raw"
		}
		check.find(Finding{Side: side, Detail: fmt.Sprintf("%d keys, %d events and %d voids need %d",
			keys, counted, voids, counted+voids)}, v.cfg.FindingsMax)
	}
	if copies := stored - counted; copies > 0 {
		check.Notes = append(check.Notes, fmt.Sprintf("%d copies of repeated ranges are not merged yet; they do not count", copies))
	}
	if uncommitted > 0 {
		check.Notes = append(check.Notes, fmt.Sprintf("%d rows lie beyond the ledger: a range that is being written", uncommitted))
	}
	v.progress(check.Name, 1, 1)
	return check, nil
}

func (v *verification) query(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	rows, err := v.db.Query(ctx, statement(name), params...)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := each(rows, func() error { return scan(rows) }); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
