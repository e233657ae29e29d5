package rollup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
	"github.com/rs/zerolog"
)

// JobName is the name under which passes are recorded in job_runs. The
// position of its newest run with outcome ok is what readers of rollups are as
// of.
const JobName = "rollup"

// Config is what a Worker needs to know. Zero fields take the default named
// beside them.
type Config struct {
	// Shard is the ledger's shard; the embedded system has shard 0 alone.
	Shard uint32
	// IntervalMin is the least time between two passes, 1 s: fresher than that
	// is the live totals' work.
	IntervalMin time.Duration
	// IntervalMax is how long a worker that nobody nudges waits before it looks
	// at the ledger by itself, 15 s.
	IntervalMax time.Duration
	// DutyPercent is the greatest share of time spent in passes that nobody waits
	// for, 5: a busy hour is recomputed whole each time, live totals have it
	// anyway, and the engine belongs to the writer.
	DutyPercent int
	// DutyWantedPercent is the same while somebody waits for rollups, 50.
	DutyWantedPercent int
	// WindowsMax bounds the windows one statement recomputes, 2,000: some 60,000
	// sums of 300 bytes with the usual 30 combinations a window.
	WindowsMax int
	// PairsMax bounds the dirty windows one pass takes on, 200,000 (20 MB here),
	// so that a long catch-up commits its position as it goes.
	PairsMax uint64
	// RangesMax bounds the ledger rows one pass looks at, 10,000.
	RangesMax uint32
	// Now is the clock; time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

func (c Config) withDefaults() Config {
	orDefault(&c.IntervalMin, time.Second)
	orDefault(&c.IntervalMax, 15*time.Second)
	orDefault(&c.DutyPercent, 5)
	orDefault(&c.DutyWantedPercent, 50)
	orDefault(&c.WindowsMax, 2_000)
	orDefault(&c.PairsMax, 200_000)
	orDefault(&c.RangesMax, 10_000)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A Worker keeps the rollup table up to date with the ledger.
type Worker struct {
	cfg   Config
	store Store
	nudge chan struct{} // holds at most one nudge; Run takes it
	// wanted holds a token while somebody waits for a position; Run takes it.
	wanted chan struct{}
	// passing is held by whoever replaces windows, so that a window that is made
	// again is not written over by a pass that read its source before.
	passing sync.Mutex

	mu       sync.Mutex
	position uint64        // of the newest pass this worker knows of
	moved    chan struct{} // closed when position moves or stopped is set, and then replaced
	stopped  error         // why no pass comes any more; nil while one may
	movedAt  time.Time     // when position moved
	status   JobStatus     // of the newest pass that had something to do
}

// schedule is what a Worker has in place of a cron schedule.
const schedule = "after commits"

// Status says what the newest pass did, in the form of a job, so that people see
// the rollups beside what has a schedule.
func (w *Worker) Status() JobStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Name, s.Schedule = JobName, schedule
	return s
}

// note keeps the outcome of a pass for Status.
func (w *Worker) note(started time.Time, pass Pass, err error) {
	if err == nil && pass.Windows() == 0 {
		return
	}
	s := JobStatus{LastRun: started, Duration: w.cfg.Now().Sub(started), Outcome: OutcomeOK,
		Detail: fmt.Sprintf("%d hours, %d days, %d months replaced", pass.Hours, pass.Days, pass.Months)}
	if err != nil {
		s.Outcome, s.Detail = OutcomeError, clipDetail(err.Error())
	}
	w.mu.Lock()
	w.status = s
	w.mu.Unlock()
}

// New returns a Worker that does nothing until Run or Pass.
func New(cfg Config, store Store) *Worker {
	return &Worker{cfg: cfg.withDefaults(), store: store, nudge: make(chan struct{}, 1), wanted: make(chan struct{}, 1), moved: make(chan struct{})}
}

// Nudge says that the ledger has grown. It never blocks.
func (w *Worker) Nudge() {
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// Position returns the ledger position of the newest pass this worker knows of.
func (w *Worker) Position() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.position
}

// Reached returns Position and when it came to that; the time is zero if this
// worker knows of no pass yet.
func (w *Worker) Reached() (position uint64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.position, w.movedAt
}

// Stop tells whoever waits that no pass will come for now, and why; with nil, that
// passes may come again.
func (w *Worker) Stop(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = why
	close(w.moved)
	w.moved = make(chan struct{})
}

// WaitFor returns when rollups cover position, or with the context's error, or with
// the one given to Stop.
func (w *Worker) WaitFor(ctx context.Context, position uint64) error {
	for {
		w.mu.Lock()
		at, moved, stopped := w.position, w.moved, w.stopped
		w.mu.Unlock()
		if at >= position {
			return nil
		}
		if stopped != nil {
			return fmt.Errorf("wait for rollups at %d, now %d: %w", position, at, stopped)
		}
		w.Want()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for rollups at %d, now %d: %w", position, at, ctx.Err())
		}
	}
}

// Pause waits for the pass under way and lets no other replace windows until resume is
// called.
func (w *Worker) Pause() (resume func()) {
	w.passing.Lock()
	return sync.OnceFunc(w.passing.Unlock)
}

// Forget makes the worker read its position anew. Whoever found it broken, and has
// mended it, calls this before Run.
func (w *Worker) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.position = 0
}

func (w *Worker) moveTo(position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if position > w.position {
		w.position, w.movedAt = position, w.cfg.Now()
		close(w.moved)
		w.moved = make(chan struct{})
	}
}

// Run makes passes until ctx ends, which is not an error. An engine that is
// away is tried again; it returns on ErrLedgerBroken and on any error that a
// repeat would not mend.
func (w *Worker) Run(ctx context.Context) error {
	for {
		started := w.cfg.Now()
		pass, err := w.Pass(ctx)
		w.note(started, pass, err)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, schemas.ErrUnavailable):
			w.cfg.Log.Warn().Err(err).Msg("rollup pass failed, will repeat")
		case err != nil:
			return err
		case pass.Windows() > 0:
			w.cfg.Log.Info().Uint64("from", pass.From).Uint64("position", pass.Position).
				Int("hours", pass.Hours).Int("days", pass.Days).Int("months", pass.Months).
				Dur("took", pass.Took).Msg("rollup pass")
		}
		if !w.rest(ctx, pass, err) {
			return nil
		}
	}
}

// rest waits until the next pass may begin and there is a reason for it. It
// reports false when ctx has ended.
func (w *Worker) rest(ctx context.Context, pass Pass, err error) bool {
	soon := pause(pass.Took, w.cfg.IntervalMin, max(w.cfg.DutyWantedPercent, w.cfg.DutyPercent))
	timer := time.NewTimer(soon)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	if err != nil || pass.More {
		return true
	}
	timer.Reset(pause(pass.Took, w.cfg.IntervalMin, w.cfg.DutyPercent) - soon)
	select {
	case <-timer.C:
	case <-w.wanted:
		return true
	case <-ctx.Done():
		return false
	}
	timer.Reset(w.cfg.IntervalMax)
	select {
	case <-timer.C:
	case <-w.nudge:
	case <-w.wanted:
	case <-ctx.Done():
		return false
	}
	return true
}

// Want says that somebody waits for the next pass. It never blocks.
func (w *Worker) Want() {
	select {
	case w.wanted <- struct{}{}:
	default:
	}
}

// A Pass says what one pass did.
type Pass struct {
	// The pass covered the ledger after From up to and with Position.
	From, Position uint64
	// Windows that were replaced.
	Hours, Days, Months int
	Took                time.Duration
	// More: the ledger is longer than one pass takes on.
	More bool
}

// Windows returns how many windows were replaced.
func (p Pass) Windows() int { return p.Hours + p.Days + p.Months }

// idleRecordAfter is how old the newest run may get while there is nothing to
// do. Runs are forgotten after 90 days, and with the last one the position.
const idleRecordAfter = 24 * time.Hour

// Pass brings the rollups from their position to the ledger's. It is what Run
// does again and again; it may also be called alone, as a rebuild does. Errors
// match ErrLedgerBroken, or what the warehouse returns; after any error the same
// pass can be made again.
func (w *Worker) Pass(ctx context.Context) (Pass, error) {
	w.passing.Lock()
	defer w.passing.Unlock()
	started := w.cfg.Now()
	last, err := w.store.Position(ctx, JobName)
	if err != nil {
		return Pass{}, err
	}
	if known := w.Position(); last.Position < known {
		return Pass{}, invariant.Broken(invariant.PositionGrows, "the rollups are at %d and were at %d before", last.Position, known)
	}
	w.moveTo(last.Position)
	pass := Pass{From: last.Position, Position: last.Position}
	ranges, err := w.store.Ranges(ctx, w.cfg.Shard, last.Position, w.cfg.RangesMax)
	if err != nil {
		return pass, err
	}
	upto, pairs, err := nextSpan(last.Position, ranges, w.cfg.PairsMax)
	if err != nil {
		return pass, err
	}
	if upto == last.Position && (last.Finished.IsZero() || started.Sub(last.Finished) < idleRecordAfter) {
		return pass, nil
	}
	pass.More = len(ranges) > 0 && upto < ranges[len(ranges)-1].To || len(ranges) >= int(w.cfg.RangesMax)
	dirty, err := w.dirty(ctx, last.Position, upto, pairs)
	if err != nil {
		return pass, err
	}
	for _, b := range plan(dirty, w.cfg.WindowsMax) {
		if err := w.recompute(ctx, &b, last.Position, upto); err != nil {
			return pass, err
		}
		hitRollup(b.Grain)
		pass.count(&b)
	}
	pass.Position = upto
	finished := w.cfg.Now()
	pass.Took = finished.Sub(started)
	// A clock that was set back must not make this run look older than the last.
	if !finished.After(last.Finished) {
		finished = last.Finished.Add(time.Millisecond)
	}
	failpoint.Hit(failpoint.RollupBeforeRecord)
	err = w.store.Record(ctx, Run{
		Job: JobName, Started: started, Finished: finished, Outcome: OutcomeOK,
		Position: upto, Rows: uint64(pass.Windows()),
	})
	if err != nil {
		return pass, err
	}
	w.moveTo(upto)
	return pass, nil
}

// hitRollup marks that windows of a grain are recomputed; the order is from hours to
// months.
func hitRollup(g schemas.Grain) {
	switch g {
	case schemas.GrainHour:
		failpoint.Hit(failpoint.RollupHours)
	case schemas.GrainDay:
		failpoint.Hit(failpoint.RollupDays)
	}
}

// dirty returns the hours that the ledger names in (after, upto], each once.
func (w *Worker) dirty(ctx context.Context, after, upto, pairs uint64) ([]DirtyHour, error) {
	dirty, err := w.store.Dirty(ctx, w.cfg.Shard, after, upto)
	if err != nil {
		return nil, err
	}
	// An empty answer must never be taken for nothing to do.
	if pairs > 0 && len(dirty) == 0 {
		return nil, fmt.Errorf("read dirty hours: the ledger names %d in (%d, %d], the answer was empty", pairs, after, upto)
	}
	return dirty, nil
}

func (w *Worker) recompute(ctx context.Context, b *Batch, after, position uint64) error {
	err := w.store.Recompute(ctx, w.cfg.Shard, b, after, position, w.cfg.Now())
	if err != nil {
		return fmt.Errorf("recompute %d windows (%s) of %s: %w", b.Windows, b.Grain, b.From.Format("2006-01"), err)
	}
	return nil
}
