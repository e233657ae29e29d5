package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
	"github.com/rs/zerolog"
)

// A Record is one message of the usage log.
type Record struct {
	Subject string
	Seq     uint64
	Time    time.Time // the broker's
	Data    []byte
}

// LogReader reads the usage log in order. Next blocks until there is a record or
// wait has passed, and then returns those that are there, at most max of them.
type LogReader interface {
	Next(ctx context.Context, max int, wait time.Duration) ([]Record, error)
	Close()
}

// Log is the log as the writer sees it.
type Log interface {
	// Read starts at a sequence. Reading is without gap or repeat, whatever
	// happens to the connection.
	Read(ctx context.Context, from uint64) (LogReader, error)
	// End returns the sequence of the newest record, 0 if there never was one, and
	// the epoch of the log: another number after it was made anew.
	End(ctx context.Context) (last, epoch uint64, err error)
}

// Lease says whether this process may still commit for its shard.
type Lease interface {
	Valid() bool
	Token() uint64 // grows with every holder
	Lost() <-chan struct{}
	Release()
}

// A Claim is the range of the log that a writer is about to commit.
type Claim struct {
	Epoch    uint64 // of the log
	From, To uint64
}

// Claims keeps the newest claim of a shard, for all writers.
//
// An insert into the ledger cannot be made to depend on the lease: it may arrive
// late, after its writer gave it up or was paused beyond its lease. So where a
// range ends is decided before, once, and whoever comes next keeps to it. Then a
// commit that arrives late is the same row again.
type Claims interface {
	// Take returns the newest claim, the zero Claim if there never was one, and makes
	// every Put of an earlier taker fail from now on.
	Take(ctx context.Context) (Claim, error)
	// Put replaces the claim. schemas.ErrConflict: somebody took it since Take. It is
	// durable when Put returns nil.
	Put(ctx context.Context, c Claim) error
}

// A Head is the position of a shard: the newest ledger row's.
type Head struct {
	To            uint64 // sequence of the last written record; 0 before any
	Epoch         uint64 // of the log that sequence belongs to; 0 before any
	PriceRevision uint32 // in force after it
	// CommittedAt is when the newest row was written, by the clock of its writer;
	// zero before any.
	CommittedAt time.Time
	// Keys is how many keys are stored, for the size of the filter. It may be
	// more than the ledger says, by what an unfinished range left.
	Keys uint64
}

// Store is the warehouse as the writer sees it. Each write is durable when it
// returns nil; after an error it may or may not have happened, and is repeated.
type Store interface {
	Head(ctx context.Context, shard uint32) (Head, error)
	// Keys calls add for every key whose sequence lies in (after, upTo].
	Keys(ctx context.Context, after, upTo uint64, add func(*Key)) error
	// Known returns the rows of those keys that are stored with a sequence of at
	// most upTo. Later ones belong to a range that was not committed.
	Known(ctx context.Context, keys []Key, upTo uint64) (map[Key]KeyRow, error)
	// Accepted returns the accepted rows of those events that exist, from
	// messages up to a sequence.
	Accepted(ctx context.Context, refs []TenantRef, upTo uint64) ([]schemas.Accepted, error)
	WriteRows(ctx context.Context, rows []schemas.Accepted) error
	WriteKeys(ctx context.Context, keys []NewKey) error
	WriteRejects(ctx context.Context, conflicts []Conflict, quarantined []Quarantined) error
	// Commit writes the ledger row. It is the commit point.
	Commit(ctx context.Context, row *LedgerRow) error
}

// A TenantRef names an event of a tenant.
type TenantRef struct {
	Tenant string
	schemas.EventRef
}

// Prices gives the price book of a revision.
type Prices interface {
	Book(ctx context.Context, revision uint32) (*schemas.PriceBook, error)
}

// WriterConfig configures a Writer. The zero value of a limit means its default.
type WriterConfig struct {
	Shard uint32
	// Key signs envelopes; the gateways' EncodeEnvelope has the same one.
	Key []byte
	// Acquire waits for the shard's lease.
	Acquire func(ctx context.Context) (Lease, error)
	// Claims keeps the shard's claims.
	Claims Claims
	// Gone knows what was erased, for a warehouse that is made anew from a log that
	// has lost it. Nil: nothing was.
	Gone Gone
	// OnCommit is called after every commit, in order, with the rows it added and
	// the sequence up to which it counts. It must not keep the slice.
	OnCommit func(rows []schemas.Accepted, to uint64)
	// OnResume is called whenever the writer takes up at a position of the ledger,
	// before any commit after it. Commits up to there may not have been reported:
	// another writer made them, or the answer to one was lost. An error makes the
	// writer take up again.
	OnResume func(ctx context.Context, position uint64) error
	// Now is the clock of ledger rows. It decides nothing.
	Now func() time.Time
	// ClockBackMax is how far the clock may be before the newest commit, an hour by
	// default. Beyond, nothing is written: events that are right would be refused as
	// coming from the future, and what is current would be sorted into a month that
	// is over.
	ClockBackMax time.Duration
	// BatchRowsMax bounds the events of one range: 65,536 rows are one large part
	// for ClickHouse and about 60 MB here.
	BatchRowsMax int
	// BatchRecordsMax bounds the messages of one range.
	BatchRecordsMax int
	// CommitEvery is the least time between two commits: ClickHouse wants few
	// large parts. It is also what an event waits at most before it is visible,
	// besides the time of the inserts.
	CommitEvery time.Duration
	// RetryMin and RetryMax bound the wait after a failure.
	RetryMin, RetryMax time.Duration
	// BehindMax is how long the log may end before the ledger's position until that
	// is ErrLogBehind. With a log in this process it never does, and 0 is right; in a
	// cluster a leader that was just elected may not know all that was acknowledged.
	BehindMax time.Duration
	Metrics   *WriterMetrics
	Logger    zerolog.Logger
}

func (cfg WriterConfig) withDefaults() WriterConfig {
	if cfg.BatchRowsMax == 0 {
		cfg.BatchRowsMax = 64 << 10
	}
	if cfg.BatchRecordsMax == 0 {
		cfg.BatchRecordsMax = 4096
	}
	if cfg.CommitEvery == 0 {
		cfg.CommitEvery = 100 * time.Millisecond
	}
	if cfg.RetryMin == 0 {
		cfg.RetryMin = 50 * time.Millisecond
	}
	if cfg.RetryMax == 0 {
		cfg.RetryMax = 2 * time.Second
	}
	if cfg.ClockBackMax == 0 {
		cfg.ClockBackMax = time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnCommit == nil {
		cfg.OnCommit = func([]schemas.Accepted, uint64) {}
	}
	if cfg.OnResume == nil {
		cfg.OnResume = func(context.Context, uint64) error { return nil }
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewWriterMetrics(nil)
	}
	return cfg
}

// ErrLogBehind says that the log is not the one the ledger was written from: it
// ends before the ledger's position, or was made anew. Nothing is written until a person has looked.
var ErrLogBehind = invariant.New(invariant.LogCoversLedger, "the log is not the one of the ledger")

// ErrLogGap says that records are missing between the ledger's position and the
// oldest one on the log.
var ErrLogGap = invariant.New(invariant.LogHasNoGap, "the log lost records before they were written")

// Writer turns the records of one shard into rows. One goroutine runs it; while
// it inserts one range, a second reads and decodes the next.
type Writer struct {
	cfg    WriterConfig
	log    Log
	store  Store
	prices Prices

	// Owned by Run's goroutine. The filter may hold keys of ranges that were not
	// committed: those cost a lookup, nothing more.
	filter *filter
	book   *schemas.PriceBook
	head   Head
	// behind is since when the log has ended before the ledger's position, zero if
	// it does not.
	behind time.Time
	// claim is where the next range has to end, because somebody may have committed
	// it already without being heard; zero if it may end anywhere.
	claim Claim
	// pauses hands over who wants the writer to stop between two ranges.
	pauses chan *pause
	// The rows and keys of one range; the next one writes over them.
	accepted []schemas.Accepted
	keys     []NewKey
}

// NewWriter returns a Writer. It does nothing until Run.
func NewWriter(cfg WriterConfig, log Log, store Store, prices Prices) *Writer {
	return &Writer{cfg: cfg.withDefaults(), log: log, store: store, prices: prices, pauses: make(chan *pause)}
}

// Run writes until ctx ends. What passes by itself is tried again from the
// ledger's position: recovery is the normal path. It returns an error when a
// person has to act: the log lost records, or the tables refuse what is written.
func (w *Writer) Run(ctx context.Context) error {
	wait := w.cfg.RetryMin
	for {
		before := w.head.To
		err := w.lead(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil: // the lease went to somebody else
		case errors.Is(err, schemas.ErrUnavailable):
			failpoint.Reached(failpoint.WriteRetried)
			w.cfg.Metrics.retries.Inc()
			w.cfg.Logger.Warn().Err(err).Uint64("seq", w.head.To).Dur("wait", wait).Msg("write again from the ledger's position")
		default:
			return err
		}
		if w.head.To > before {
			wait = w.cfg.RetryMin
		}
		if !sleep(ctx, wait) {
			return nil
		}
		wait = min(2*wait, w.cfg.RetryMax)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// lead holds the lease and writes ranges until it is lost or something fails.
func (w *Writer) lead(ctx context.Context) error {
	lease, err := w.cfg.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("acquire lease: %w", err)
	}
	defer lease.Release()
	failpoint.Hit(failpoint.LeaseTaken)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := w.resume(ctx); err != nil {
		return err
	}
	reader, err := w.log.Read(ctx, w.head.To+1)
	if err != nil {
		return fmt.Errorf("read log from %d: %w", w.head.To+1, err)
	}
	defer reader.Close()

	// One range is decoded ahead: the channel has no room, so at most one range
	// waits in it and one is being judged.
	batches := make(chan batch)
	failed := make(chan error, 1)
	go func() { failed <- w.decode(ctx, reader, w.head.To, w.claim.To, batches) }()
	defer func() { cancel(); <-failed }() //nolint:errcheck // the reason to stop is known by then
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-lease.Lost():
			w.cfg.Logger.Warn().Msg("lease lost; another writer takes over")
			return nil
		case err := <-failed:
			failed <- nil
			return err
		case p := <-w.mayPause():
			w.park(ctx, lease, p)
		case b := <-batches:
			if err := w.write(ctx, lease, b); err != nil {
				return err
			}
		}
	}
}

// resume reads the ledger's position and brings the filter and the price book
// there.
func (w *Writer) resume(ctx context.Context) error {
	// First the claim: from here on nobody else can make one, so what is still under
	// way to the ledger is at most the range of this one.
	claim, err := w.cfg.Claims.Take(ctx)
	if err != nil {
		return fmt.Errorf("take over the claim: %w", err)
	}
	head, err := w.store.Head(ctx, w.cfg.Shard)
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	if now := w.cfg.Now(); now.Before(head.CommittedAt.Add(-w.cfg.ClockBackMax)) {
		return invariant.Broken(invariant.ClockGoesOn, "the clock says %s, and the newest commit was at %s; set the clock, or start with --clock-back-max",
			now.UTC().Format(time.RFC3339), head.CommittedAt.Format(time.RFC3339))
	}
	last, epoch, err := w.log.End(ctx)
	if err != nil {
		return fmt.Errorf("read end of log: %w", err)
	}
	if last < head.To {
		if err := w.patient(last, head.To); err != nil {
			return err
		}
		return fmt.Errorf("%w: the log ends at %d, the ledger at %d; restore the log or start a new data directory", ErrLogBehind, last, head.To)
	}
	if head.Epoch != 0 && head.Epoch != epoch {
		return fmt.Errorf("%w: the ledger is of epoch %d, the log of %d; restore the log or start a new data directory", ErrLogBehind, head.Epoch, epoch)
	}
	head.Epoch = epoch
	if err := w.reachedResume(ctx, head); err != nil {
		return err
	}
	w.claim, err = follow(claim, head, last)
	if errors.Is(err, ErrLogBehind) {
		if again := w.patient(last, claim.To); again != nil {
			return again
		}
	}
	if err != nil {
		return err
	}
	w.behind = time.Time{}
	if err := w.loadKeys(ctx, head); err != nil {
		return err
	}
	if w.book, err = w.prices.Book(ctx, head.PriceRevision); err != nil {
		return fmt.Errorf("load price revision %d: %w", head.PriceRevision, err)
	}
	w.head = head
	w.cfg.Metrics.position.Set(float64(head.To))
	if err := w.cfg.OnResume(ctx, head.To); err != nil {
		return fmt.Errorf("resume at %d: %w", head.To, err)
	}
	return nil
}

// patient returns an error that is tried again for as long as a log that ends before
// the ledger's position may come to its senses.
func (w *Writer) patient(last, head uint64) error {
	now := w.cfg.Now()
	if w.behind.IsZero() {
		w.behind = now
	}
	if now.Sub(w.behind) < w.cfg.BehindMax {
		return fmt.Errorf("the log ends at %d, the ledger at %d: %w", last, head, schemas.ErrUnavailable)
	}
	return nil
}

// follow returns the claim if it is on the range after head, and the zero Claim if
// that range may end anywhere.
func follow(c Claim, head Head, last uint64) (Claim, error) {
	if c.Epoch != head.Epoch || c.From != head.To+1 {
		return Claim{}, nil // it was committed, or is of another log
	}
	if last < c.To {
		return Claim{}, fmt.Errorf("%w: the log ends at %d, and records up to %d were read from it; restore the log or start a new data directory",
			ErrLogBehind, last, c.To)
	}
	failpoint.Reached(failpoint.ClaimFollowed)
	return c, nil
}

// loadKeys brings the filter to the ledger's position. It knows every key up to
// w.head, so after a failure, or after another writer led, only what came since
// is read.
func (w *Writer) loadKeys(ctx context.Context, head Head) error {
	if w.filter != nil && w.head.To == head.To {
		return nil
	}
	started := w.cfg.Now()
	if w.filter == nil || head.To < w.head.To {
		w.filter = newFilter(head.Keys + head.Keys/4)
		w.head = Head{}
	}
	if err := w.store.Keys(ctx, w.head.To, head.To, w.filter.add); err != nil {
		w.filter = nil // half loaded: the next attempt starts over
		return fmt.Errorf("load keys: %w", err)
	}
	w.cfg.Logger.Info().Uint64("keys", w.filter.count).Uint64("bytes", w.filter.bytes()).
		Dur("took", w.cfg.Now().Sub(started)).Msg("keys loaded")
	return nil
}
