package alerting

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/schemas"
)

// ErrGone: there is no such tenant, or it is erased.
var ErrGone = errors.New("the tenant does not exist any more")

// A Source says what tenants use and may use.
type Source interface {
	// Tenants returns the ids of all tenants that are not erased.
	Tenants() []string
	// Reading returns a tenant's limits, all of them as of one commit. Errors match
	// ErrGone, or schemas.ErrUnavailable.
	Reading(ctx context.Context, tenant string) (Reading, error)
	// Facts returns what a message says beside the limit itself: the tenant's name and
	// slug, the three models and agents that used most, and what happens next.
	Facts(ctx context.Context, tenant string, l Limit) (Facts, error)
}

// A Lease lets one node at a time do something.
type Lease interface {
	// Hold waits for the lease of that name and takes it. It should wait for as long as
	// ctx allows: who asks anew counts the silence of a holder that died from the
	// beginning. An error that matches schemas.ErrConflict or schemas.ErrUnavailable is
	// tried again. held ends when the lease is lost; release gives it back.
	Hold(ctx context.Context, name string) (held context.Context, release func(), err error)
}

// leaseName is the lease of the node that decides.
const leaseName = "alerting"

// The pauses after which a tenant that could not be evaluated is tried again.
const (
	retryMin = 100 * time.Millisecond
	// retryMax is below the time in which people notice that an alert is missing.
	retryMax = 15 * time.Second
)

// EvaluatorConfig is what an Evaluator needs to know. The zero value of a limit takes
// the default.
type EvaluatorConfig struct {
	// Thresholds in percent, as CheckThresholds wants them. Default 80, 90 and 100.
	Thresholds []int
	// SweepEvery is how often every tenant is evaluated, touched or not: what a period
	// that ended is noticed within. Default one minute.
	SweepEvery time.Duration
	// LeaseEvery is the pause before the lease is asked for again. Default one second.
	LeaseEvery time.Duration
	// BatchMax bounds the tenants that are taken at once, and Workers how many of them
	// are evaluated side by side: each waits for an fsync per record. Default 64 and 8.
	BatchMax, Workers int
	// Lease says who decides; nil is this node, always. Nothing hangs on it: two nodes
	// that evaluate at once decide what one would.
	Lease Lease
	// Now is the clock of pauses and of the metrics. Default time.Now. The moment of a
	// period is Reading.At, and that alone.
	Now     func() time.Time
	Metrics *EvaluatorMetrics
	Logger  zerolog.Logger
}

func (c EvaluatorConfig) withDefaults() EvaluatorConfig {
	if len(c.Thresholds) == 0 {
		c.Thresholds = DefaultThresholds()
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = time.Minute
	}
	if c.LeaseEvery == 0 {
		c.LeaseEvery = time.Second
	}
	if c.BatchMax == 0 {
		c.BatchMax = 64
	}
	if c.Workers == 0 {
		c.Workers = 8
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewEvaluatorMetrics(nil)
	}
	return c
}

// An Evaluator decides which thresholds fire and which are resolved. It is
// level-triggered: it compares totals with limits, so whatever it missed, it finds with
// its next look, and whatever it found twice is decided once.
type Evaluator struct {
	cfg     EvaluatorConfig
	decider *Decider
	book    *Book
	source  Source
	dirty   *dirty
	leading atomic.Bool
}

// NewEvaluator returns an Evaluator that does nothing before Run. It panics on
// thresholds that CheckThresholds refuses.
func NewEvaluator(cfg EvaluatorConfig, log DecisionLog, book *Book, source Source) *Evaluator {
	cfg = cfg.withDefaults()
	if err := CheckThresholds(cfg.Thresholds); err != nil {
		panic("alerting: thresholds that were not checked: " + err.Error())
	}
	e := &Evaluator{cfg: cfg, decider: NewDecider(log), book: book, source: source, dirty: newDirty()}
	cfg.Metrics.watch(e)
	return e
}

// Touch says that usage of tenants was counted, and when the oldest of it was
// acknowledged; zero if that is not known. It never waits.
func (e *Evaluator) Touch(tenants []string, acked time.Time) { e.dirty.touch(tenants, acked) }

// Sweep marks every tenant for evaluation. It never waits.
func (e *Evaluator) Sweep() { e.dirty.sweep(e.source.Tenants()) }

// Leading reports whether this node decides.
func (e *Evaluator) Leading() bool { return e.leading.Load() }

// Run evaluates while this node has the lease, until ctx ends, and returns nil then.
// What the log or the source cannot take or give now is tried again. It returns an error
// only for a lease that waiting does not give.
func (e *Evaluator) Run(ctx context.Context) error {
	select {
	case <-e.book.Ready():
	case <-ctx.Done():
		return nil
	}
	for ctx.Err() == nil {
		held, release, err := e.hold(ctx)
		switch {
		case err == nil:
			e.lead(held)
			release()
			continue
		case ctx.Err() != nil:
		case !errors.Is(err, schemas.ErrConflict) && !errors.Is(err, schemas.ErrUnavailable):
			return fmt.Errorf("take the lease of alerts: %w", err)
		}
		pause(ctx, e.cfg.LeaseEvery)
	}
	return nil
}

func (e *Evaluator) hold(ctx context.Context) (context.Context, func(), error) {
	if e.cfg.Lease == nil {
		return ctx, func() {}, nil
	}
	return e.cfg.Lease.Hold(ctx, leaseName)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lead evaluates until ctx, the lease, ends. It begins with everybody: what another node
// was told and did not do is not known here.
func (e *Evaluator) lead(ctx context.Context) {
	e.dirty.start()
	e.leading.Store(true)
	defer e.leading.Store(false)
	e.Sweep()
	sweep := time.NewTicker(e.cfg.SweepEvery)
	defer sweep.Stop()
	for ctx.Err() == nil {
		select {
		case <-sweep.C:
			e.Sweep()
		default:
		}
		batch, wait := e.dirty.take(e.cfg.Now(), e.cfg.BatchMax)
		if len(batch) > 0 {
			e.evaluateAll(ctx, batch)
			continue
		}
		due, stop := timerOf(wait)
		select {
		case <-ctx.Done():
		case <-sweep.C:
			e.Sweep()
		case <-e.dirty.wake:
		case <-due:
		}
		stop()
	}
}

// timerOf returns a channel that opens after d, or never for 0.
func timerOf(d time.Duration) (<-chan time.Time, func()) {
	if d == 0 {
		return nil, func() {}
	}
	timer := time.NewTimer(d)
	return timer.C, func() { timer.Stop() }
}

// evaluateAll evaluates a batch and waits until the book has what was decided, so that
// the next look at a tenant knows of this one.
func (e *Evaluator) evaluateAll(ctx context.Context, batch []taken) {
	var group errgroup.Group
	group.SetLimit(e.cfg.Workers)
	var newest atomic.Uint64
	for i := range batch {
		t := &batch[i]
		group.Go(func() error {
			seq, err := e.evaluate(ctx, t.tenant, t.mark.acked)
			for was := newest.Load(); seq > was && !newest.CompareAndSwap(was, seq); was = newest.Load() {
			}
			e.settle(ctx, t, err)
			return nil // one tenant's trouble is no other's
		})
	}
	_ = group.Wait() // it has no errors
	if seq := newest.Load(); seq > 0 {
		// A book that is behind costs decisions that are refused, and nothing else.
		_ = e.book.WaitFor(ctx, seq)
	}
}

// settle puts a tenant back that could not be evaluated.
func (e *Evaluator) settle(ctx context.Context, t *taken, err error) {
	switch {
	case err == nil, errors.Is(err, ErrGone):
		e.cfg.Metrics.evaluations.WithLabelValues("ok").Inc()
		return
	case ctx.Err() != nil: // the lease is lost: the next one begins with everybody
	case errors.Is(err, schemas.ErrUnavailable):
		e.cfg.Metrics.evaluations.WithLabelValues("unavailable").Inc()
		if t.mark.tries == 0 {
			e.cfg.Logger.Warn().Err(err).Str("tenant", t.tenant).Msg("alerts of a tenant cannot be evaluated, trying again")
		}
	default:
		e.cfg.Metrics.evaluations.WithLabelValues("failed").Inc()
		e.cfg.Logger.Error().Err(err).Str("tenant", t.tenant).Msg("alerts of a tenant cannot be evaluated")
	}
	wait := retryMax
	if t.mark.tries < 8 { // 100 ms << 8 is above retryMax
		wait = min(retryMin<<t.mark.tries, retryMax)
	}
	e.dirty.putBack(t, e.cfg.Now().Add(wait))
}

// evaluate looks at one tenant and decides what is due. It returns the position of the
// newest record that stands for it, 0 if nothing was due. After an error what was not
// decided is found again by the next look.
func (e *Evaluator) evaluate(ctx context.Context, tenant string, acked time.Time) (seq uint64, err error) {
	reading, err := e.source.Reading(ctx, tenant)
	if err != nil {
		return 0, err
	}
	periods := make([]string, len(reading.Limits))
	for i := range reading.Limits {
		periods[i] = reading.Limits[i].Period
	}
	for _, r := range Judge(&reading, e.cfg.Thresholds, e.book.Standing(tenant, periods)) {
		e.describe(ctx, &r, &reading)
		if r.Kind == Fired {
			r.AckedAt = acked
		}
		decided, at, err := e.decider.decide(ctx, &r)
		if err != nil {
			return seq, err
		}
		seq = max(seq, at)
		if decided {
			e.cfg.Metrics.decided.WithLabelValues(string(r.Kind)).Inc()
			if !r.AckedAt.IsZero() {
				e.cfg.Metrics.seconds.Observe(max(0, e.cfg.Now().Sub(acked).Seconds()))
			}
		}
	}
	return seq, nil
}

// describe adds what a message says. An alert in time that says less is worth more than
// one that waits.
func (e *Evaluator) describe(ctx context.Context, r *Record, reading *Reading) {
	about := Limit{Limit: r.Identity.Limit, Name: r.Identity.Name, Period: r.Identity.Period, Revision: r.Identity.Revision,
		Used: r.Facts.Used, Max: r.Facts.Max}
	facts, err := e.source.Facts(ctx, reading.Tenant, about)
	if err != nil {
		e.cfg.Logger.Warn().Err(err).Str("alert", r.Alert).Msg("an alert is decided without its details")
		return
	}
	facts.Used, facts.Max, facts.Percent = r.Facts.Used, r.Facts.Max, r.Facts.Percent
	facts.Forecast, facts.ExhaustedAt = r.Facts.Forecast, r.Facts.ExhaustedAt
	if r.Kind == Resolved {
		facts.Next = "" // it will not
	}
	r.Facts = facts
}
