package rollup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/internal/placement"
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
	// Replay judges the committed range that begins at from again and returns what
	// differs from the ledger as a breach of invariant.ReplayIsEqual, an error that
	// matches NotOnLog if the log has forgotten it. Without it replays are not
	// checked, and the report says so.
	Replay func(ctx context.Context, from uint64) error
	// NotOnLog is Replay's error for a range that cannot be judged again.
	NotOnLog error
	// BehindMax is how long the log may end before the ledger, as Auditor's.
	BehindMax time.Duration
	// Places says in which databases rows and windows lie; nil is one for all tenants.
	Places *placement.Map
	// FindingsMax bounds the differences a check names, 20: enough to see a
	// pattern. The count of all is always given.
	FindingsMax int
}

// VerifyOptions narrow a Verify.
type VerifyOptions struct {
	// From and To bound the log; zero is from the first and to the last
	// committed. From is moved up to the beginning of a range, To down to the end
	// of one. Windows and files are only checked without bounds, because they are
	// of the whole log.
	From, To uint64
	// ReplayMax is how many ranges are judged again, chosen at random; 0 takes 8,
	// math.MaxUint32 all that are on the log.
	ReplayMax uint32
	// Salt makes the choice another one.
	Salt uint64
}

// A Report is the outcome of a Verify.
type Report struct {
	// Shard, From and To say what was looked at.
	Shard    uint32
	From, To uint64
	// RollupPosition is what windows were compared as of.
	RollupPosition uint64
	Checks         []Check
	// Broken are the parts whose files are damaged; if there are any, the checks
	// after "parts" were not made.
	Broken []BrokenPart
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

// checkInvariants says what each check proves.
var checkInvariants = map[string]invariant.Name{
	"parts": invariant.FilesAreWhole, "ledger": invariant.LedgerIsContiguous, "log = ledger": invariant.LogCoversLedger,
	"ledger = raw": invariant.LedgerEqualsRaw, "keys = raw": invariant.KeysEqualRaw, "replay = ledger": invariant.ReplayIsEqual,
	"ledger = rejects": invariant.RejectsEqualLedger,
	"raw = hours":      invariant.WindowsEqualRaw, "hours = days": invariant.WindowsEqualRaw, "days = months": invariant.WindowsEqualRaw,
}

func (c *Check) invariant() invariant.Name { return checkInvariants[c.Name] }

// Breach returns what the check found as the breach of an invariant, nil if it
// found nothing.
func (c *Check) Breach() error {
	if c.OK() {
		return nil
	}
	text := "no difference is named"
	if len(c.Findings) > 0 {
		f := &c.Findings[0]
		text = f.String()
	}
	return invariant.Broken(c.invariant(), "%s: %d differences; first: %s", c.Name, c.Differences, text)
}

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
	// as people write it, such as 2026-02-14T09; Start is its beginning.
	Tenant, Window string
	Start          time.Time
	// Side is the side that is short of something, or "both" if they hold the
	// same amount of different things.
	Side   string
	Detail string
}

// String says where and how, in one line.
func (f *Finding) String() string {
	text := f.Detail
	if f.Tenant != "" {
		text = "tenant " + f.Tenant + ": " + text
	}
	if f.Window != "" {
		text = "window " + f.Window + ", " + text
	}
	if f.To != 0 {
		text = fmt.Sprintf("log %d to %d, %s", f.From, f.To, text)
	}
	if f.Side != "" {
		text += " (short: " + f.Side + ")"
	}
	return text
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
	cfg.Places = placesOf(db, cfg.Places)
	return &Verifier{cfg: cfg, db: db}
}

// Progress is told, while a check runs, how much of it is done.
type Progress func(check string, done, total uint64)

// verification is one Verify under way.
type verification struct {
	cfg      VerifyConfig
	db       DB
	progress Progress
	whole    bool         // no bounds were given
	ranges   []ledgerSpan // of the part that is looked at
	broken   []BrokenPart
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
	orDefault(&opts.ReplayMax, 8)
	run := &verification{cfg: v.cfg, db: v.db, progress: progress, whole: whole}
	return settled(ctx, run, func() (Report, error) {
		*run = verification{cfg: v.cfg, db: v.db, progress: progress, whole: whole}
		return run.all(ctx, opts)
	})
}

// all makes all checks once.
func (run *verification) all(ctx context.Context, opts VerifyOptions) (Report, error) {
	v, whole := run, run.whole
	// The rollups' position is read first: then the ledger covers it.
	at, err := readPosition(ctx, v.db, JobName)
	if err != nil {
		return Report{}, err
	}
	run.report.Shard, run.report.RollupPosition = v.cfg.Shard, at.Position

	steps := []func(context.Context) (Check, error){
		func(ctx context.Context) (Check, error) { return run.checkLedger(ctx, opts) },
		run.checkLog, run.checkRaw, run.checkKeys, run.checkRejects,
		func(ctx context.Context) (Check, error) { return run.checkReplay(ctx, opts) },
	}
	if whole {
		steps = append([]func(context.Context) (Check, error){run.checkParts}, steps...)
		for _, grain := range comparedGrains {
			steps = append(steps, func(ctx context.Context) (Check, error) { return run.checkWindows(ctx, grain) })
		}
	}
	for _, step := range steps {
		check, err := step(ctx)
		if err != nil {
			return run.report, err
		}
		run.report.Checks = append(run.report.Checks, check)
		if len(run.broken) > 0 {
			// What cannot be read cannot be compared.
			run.report.Broken = run.broken
			return run.report, nil
		}
	}
	return run.report, nil
}

// checkReplay judges some ranges again, as if they had just come. What the log
// says and what was counted for it must be one and the same.
func (v *verification) checkReplay(ctx context.Context, opts VerifyOptions) (Check, error) {
	check := Check{Name: "replay = ledger"}
	switch {
	case v.cfg.Replay == nil || v.cfg.Log == nil:
		v.progress(check.Name, 1, 1)
		check.Skipped = "no log at hand"
		return check, nil
	case len(v.ranges) == 0:
		check.Skipped = "the ledger is empty"
		return check, nil
	}
	first, _, err := v.cfg.Log.Bounds(ctx)
	if err != nil {
		return check, fmt.Errorf("read bounds of the log: %w", err)
	}
	var begins []uint64
	err = v.query(ctx, "sample", func(rows *warehouse.Rows) error {
		begins = append(begins, 0)
		return rows.Scan(&begins[len(begins)-1])
	}, v.shard(), warehouse.Param{Name: "from", Value: max(first, v.report.From)},
		warehouse.Param{Name: "upto", Value: v.report.To},
		warehouse.Param{Name: "salt", Value: opts.Salt}, warehouse.Param{Name: "limit", Value: opts.ReplayMax})
	if err != nil {
		return check, err
	}
	judged := 0
	for i, from := range begins {
		v.progress(check.Name, uint64(i), uint64(len(begins)))
		err := v.cfg.Replay(ctx, from)
		switch {
		case err == nil:
			judged++
		case invariant.Of(err) != "":
			check.find(Finding{From: from, To: from, Side: "both", Detail: err.Error()}, v.cfg.FindingsMax)
		case v.cfg.NotOnLog != nil && errors.Is(err, v.cfg.NotOnLog):
			check.Notes = append(check.Notes, err.Error())
		default:
			return check, err
		}
	}
	v.progress(check.Name, 1, 1)
	check.number("ranges judged again", judged)
	return check, nil
}

func (v *verification) query(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	rows, err := v.db.Query(ctx, statement(name), params...)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := rows.Each(func() error { return scan(rows) }); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// everywhere makes a query in every place that counts. What the ledger is held against
// was read before, so a move in between does not hide rows from it.
func (v *verification) everywhere(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	view, err := v.cfg.Places.View(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer view.Close()
	for _, place := range view.All() {
		if err := v.query(ctx, name, scan, slices.Concat(params, place.Params())...); err != nil {
			return err
		}
	}
	return nil
}
