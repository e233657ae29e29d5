package alerting

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// BookLog is what a Book needs of the event log; *eventlog.Log has it.
type BookLog interface {
	Read(ctx context.Context, cfg eventlog.ReadConfig) (*eventlog.Reader, error)
	LastForSubject(ctx context.Context, stream, subject string) (eventlog.Record, bool, error)
	State(ctx context.Context, stream string) (eventlog.State, error)
}

// BookConfig bounds a Book. The zero value of a limit takes the default.
type BookConfig struct {
	// Now is the clock that says how old an alert is. Default time.Now.
	Now func() time.Time
	// KeepFor is how long an alert is listed after it ended. Default 400 days: the same
	// month of the year before.
	KeepFor time.Duration
	// EndedMax bounds the alerts that ended and are listed, over all tenants; those that
	// fired longest ago go first. Default 100,000, about 200 MB.
	EndedMax int
	// WaitMax bounds WaitFor. Default 10 seconds, the time a cluster may need for a new
	// leader.
	WaitMax time.Duration
	// RetryEvery is the pause before the stream is opened again after the log was out
	// of reach. Default 200 ms.
	RetryEvery time.Duration
	Logger     zerolog.Logger
}

func (c BookConfig) withDefaults() BookConfig {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.KeepFor == 0 {
		c.KeepFor = 400 * 24 * time.Hour
	}
	if c.EndedMax == 0 {
		c.EndedMax = 100_000
	}
	if c.WaitMax == 0 {
		c.WaitMax = 10 * time.Second
	}
	if c.RetryEvery == 0 {
		c.RetryEvery = 200 * time.Millisecond
	}
	return c
}

// What one read of the stream may bring: a step of the fold holds the lock that readers
// wait for.
const (
	bookRecordsMax = 500
	bookBytesMax   = 1 << 20
	bookWait       = time.Second
	// pruneEvery is how often alerts that ended long ago are looked for.
	pruneEvery = time.Hour
)

// A Book knows the alerts: the fold of their records on stream DECISIONS. It has no
// state of its own to lose. Its reads are safe for concurrent use and never touch the
// log. Run must be running for it to know anything.
type Book struct {
	cfg BookConfig
	log BookLog

	ready   chan struct{} // closed by Run at the first catch-up
	stopped chan struct{} // closed when Run has ended

	// mu guards what follows. Run writes, one batch at a time, and Forget.
	mu      sync.RWMutex
	pages   pages
	applied uint64        // position up to which alerts are known
	moved   chan struct{} // closed and replaced whenever applied grows
	epoch   uint64        // of the stream that is folded, 0 before the first read
	pruned  time.Time
}

// NewBook returns a Book that knows nothing until Run reads the log.
func NewBook(cfg BookConfig, log BookLog) *Book {
	return &Book{cfg: cfg.withDefaults(), log: log, ready: make(chan struct{}), stopped: make(chan struct{}),
		pages: newPages(), moved: make(chan struct{})}
}

// Run folds the alerts from the first record on and follows them until ctx ends, then
// returns nil. Call it once. While the log is out of reach it tries again. It returns an
// error only for a log that is another one, or lost its end.
func (b *Book) Run(ctx context.Context) error {
	defer close(b.stopped)
	for {
		err := b.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, eventlog.ErrTruncated) && b.erasedAhead(ctx):
			continue // what comes next was erased; read from the oldest there is
		case !errors.Is(err, schemas.ErrUnavailable):
			return fmt.Errorf("follow %s: %w", schemas.StreamDecisions, err)
		}
		b.cfg.Logger.Warn().Err(err).Msg("alerts cannot be read, trying again")
		pause(ctx, b.cfg.RetryEvery)
	}
}

// follow reads on from what is folded until something goes wrong.
func (b *Book) follow(ctx context.Context) error {
	last, _, err := b.log.LastForSubject(ctx, schemas.StreamDecisions, SubjectsAlerts)
	if err != nil {
		return err
	}
	state, err := b.log.State(ctx, schemas.StreamDecisions)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if b.epoch == 0 {
		b.epoch = state.Epoch
	}
	cfg := eventlog.ReadConfig{Stream: schemas.StreamDecisions, Subjects: []string{SubjectsAlerts}, Epoch: b.epoch}
	if b.applied > 0 {
		// Erasures take the oldest records of a stream away, too.
		cfg.From = max(b.applied+1, state.First)
	}
	b.mu.Unlock()
	reader, err := b.log.Read(ctx, cfg)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		b.markReady(last.Seq)
		records, err := reader.Next(ctx, bookRecordsMax, bookBytesMax, bookWait)
		if err != nil {
			return err
		}
		b.apply(records)
	}
}

// erasedAhead reports whether a stream begins after what is read next, and is the one
// that was read.
func (b *Book) erasedAhead(ctx context.Context) bool {
	state, err := b.log.State(ctx, schemas.StreamDecisions)
	b.mu.RLock()
	defer b.mu.RUnlock()
	return err == nil && state.Epoch == b.epoch && state.First > b.applied+1
}

// markReady opens Ready once target is folded.
func (b *Book) markReady(target uint64) {
	b.mu.RLock()
	behind := b.applied < target
	b.mu.RUnlock()
	if behind {
		return
	}
	select {
	case <-b.ready:
	default:
		close(b.ready)
	}
}

// apply folds records and wakes who waits for them.
func (b *Book) apply(records []eventlog.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.cfg.Now(); now.Sub(b.pruned).Abs() >= pruneEvery {
		b.pruned = now
		b.pages.prune(now.Add(-b.cfg.KeepFor), b.cfg.EndedMax)
	}
	if len(records) == 0 {
		return
	}
	for i := range records {
		if err := b.pages.apply(&records[i]); err != nil {
			b.cfg.Logger.Warn().Err(err).Uint64("seq", records[i].Seq).Msg("record of an alert passed over")
		}
		b.applied = records[i].Seq
	}
	if b.pages.ended > b.cfg.EndedMax+b.cfg.EndedMax/8 {
		b.pages.prune(time.Time{}, b.cfg.EndedMax)
	}
	close(b.moved)
	b.moved = make(chan struct{})
}

// Ready is closed once everything is folded that was on the stream when Run started.
func (b *Book) Ready() <-chan struct{} { return b.ready }

// Position is the position on DECISIONS of the newest record that is folded.
func (b *Book) Position() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.applied
}

// WaitFor returns when the record of an alert at seq is folded. The error is
// schemas.ErrUnavailable when that takes longer than BookConfig.WaitMax.
func (b *Book) WaitFor(ctx context.Context, seq uint64) error {
	fold := eventlog.Fold{Name: "the book", Record: "decision", WaitMax: b.cfg.WaitMax, Stopped: b.stopped,
		Look: func() (uint64, <-chan struct{}) {
			b.mu.RLock()
			defer b.mu.RUnlock()
			return b.applied, b.moved
		}}
	return fold.WaitFor(ctx, seq)
}

// PassedOver counts records that could not be read: of a newer version, or damaged.
func (b *Book) PassedOver() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.pages.passedOver
}

// Forget drops all alerts of a tenant, for its erasure, which takes the records from the
// log. What may still come of it is passed over: an erased tenant's id is never used
// again.
func (b *Book) Forget(tenant string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages.forget(ownerOf(tenant))
}
