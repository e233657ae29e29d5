package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
)

// ErrNotOnLog says that records of a range have left the log, by age or because
// they were erased: the range cannot be judged again.
var ErrNotOnLog = errors.New("the range is not on the log any more")

// RangeStore is the warehouse as a Replayer sees it; its writes are those of
// Store.
type RangeStore interface {
	Known(ctx context.Context, keys []Key, upTo uint64) (map[Key]KeyRow, error)
	Accepted(ctx context.Context, refs []TenantRef, upTo uint64) ([]schemas.Accepted, error)
	WriteRows(ctx context.Context, rows []schemas.Accepted) error
	WriteKeys(ctx context.Context, keys []NewKey) error
	WriteRejects(ctx context.Context, conflicts []Conflict, quarantined []Quarantined) error
	// Range returns the ledger row of the range that begins at from, and the price
	// revision that was in force before it. The error matches schemas.ErrInvalid if
	// no range begins there.
	Range(ctx context.Context, shard uint32, from uint64) (row LedgerRow, revisionBefore uint32, err error)
}

// ReplayerConfig configures a Replayer.
type ReplayerConfig struct {
	Shard uint32
	// Key is what envelopes are signed with.
	Key []byte
	// Gone knows what was erased from the log. Nil: nothing was.
	Gone Gone
	// Erased returns what was erased of the range that begins at from, per tenant.
	// Nil: nothing was.
	Erased func(ctx context.Context, shard uint32, from uint64) ([]Erased, error)
}

// Erased is what was taken for ever out of a committed range, of one tenant.
type Erased struct {
	Tenant string
	// Whole: all that is the tenant's. Otherwise messages that carried events of one
	// of its users, whose rows stay.
	Whole bool
	// Sums has what the ledger still counts of it. Only the numbers are set.
	Sums LedgerRow
}

// Replayer judges committed ranges again. A verdict is a function of the log, so
// the outcome must be what the ledger says; and rows that the warehouse lost can
// be written again from the log, without asking anybody.
//
// It needs no lease: what it writes are exact copies of rows that were committed,
// held against the ledger before the first is written. Where nothing was lost
// they collapse.
type Replayer struct {
	cfg    ReplayerConfig
	log    Log
	store  RangeStore
	prices Prices
}

// NewReplayer returns a Replayer.
func NewReplayer(cfg ReplayerConfig, log Log, store RangeStore, prices Prices) *Replayer {
	return &Replayer{cfg: cfg, log: log, store: store, prices: prices}
}

// Check judges the range that begins at from again and changes nothing. A
// difference from the ledger is a breach of invariant.ReplayIsEqual. Other errors
// match ErrNotOnLog, ErrLogBehind, schemas.ErrInvalid (no such range) or
// schemas.ErrUnavailable.
func (r *Replayer) Check(ctx context.Context, from uint64) error {
	_, err := r.judge(ctx, from)
	return err
}

// Restore judges the range that begins at from again and, if that gives what the
// ledger says, writes its rows, keys and rejects again. Earlier ranges must be
// whole: their keys and rows decide what is new in this one. It returns how many
// rows were written. Its errors are those of Check; after one, Restore may have
// written some of the rows, and can be repeated.
func (r *Replayer) Restore(ctx context.Context, from uint64) (rows int, err error) {
	out, err := r.judge(ctx, from)
	if err != nil {
		return 0, err
	}
	// No order matters: each is a copy of what the ledger vouches for.
	if err := r.store.WriteRows(ctx, out.accepted); err != nil {
		return 0, fmt.Errorf("restore rows of range from %d: %w", from, err)
	}
	if err := r.store.WriteKeys(ctx, out.keys); err != nil {
		return 0, fmt.Errorf("restore keys of range from %d: %w", from, err)
	}
	if err := r.store.WriteRejects(ctx, out.conflicts, out.quarantined); err != nil {
		return 0, fmt.Errorf("restore rejects of range from %d: %w", from, err)
	}
	return len(out.accepted), nil
}

// judge reads a committed range from the log, gives its verdicts again, and holds
// them against the ledger.
func (r *Replayer) judge(ctx context.Context, from uint64) (*verdictRange, error) {
	want, revision, err := r.store.Range(ctx, r.cfg.Shard, from)
	if err != nil {
		return nil, fmt.Errorf("read ledger at %d: %w", from, err)
	}
	erased, err := r.erased(ctx, &want)
	if err != nil {
		return nil, err
	}
	b, err := r.read(ctx, &want, erased)
	if err != nil {
		return nil, err
	}
	book, err := r.prices.Book(ctx, revision)
	if err != nil {
		return nil, fmt.Errorf("load price revision %d: %w", revision, err)
	}
	out := &verdictRange{}
	h := hearing{
		keys: r.store, prices: r.prices, upTo: want.From - 1, book: book,
		mayHave: func(*Key) bool { return true }, // no filter: whatever came since may be in it
	}
	if err := h.judge(ctx, b, out); err != nil {
		return nil, fmt.Errorf("judge range %d to %d again: %w", want.From, want.To, err)
	}
	if diff := ledgerRow(b, out, h.book.Number()).differences(&want); diff != "" {
		return nil, invariant.Broken(invariant.ReplayIsEqual, "range %d to %d, judged again, is not what the ledger says: %s",
			want.From, want.To, diff)
	}
	return out, nil
}

// erased returns the tenants that were erased, and takes what the range had of theirs
// out of what it must add up to: nobody's verdicts depend on another tenant's events.
// A range that lost messages whose rows stay cannot be judged again.
func (r *Replayer) erased(ctx context.Context, want *LedgerRow) (map[string]bool, error) {
	if r.cfg.Erased == nil {
		return nil, nil
	}
	parts, err := r.cfg.Erased(ctx, r.cfg.Shard, want.From)
	if err != nil {
		return nil, fmt.Errorf("look up what was erased of the range from %d: %w", want.From, err)
	}
	tenants := map[string]bool{}
	for i := range parts {
		if !parts[i].Whole {
			return nil, fmt.Errorf("range %d to %d: %w: events of a user of tenant %s were erased from it",
				want.From, want.To, ErrNotOnLog, parts[i].Tenant)
		}
		tenants[parts[i].Tenant] = true
		want.subtract(&parts[i].Sums)
	}
	return tenants, nil
}

// subtract takes the sums of a part of the range away.
func (row *LedgerRow) subtract(part *LedgerRow) {
	row.Messages -= part.Messages
	row.Events -= part.Events
	row.Accepted -= part.Accepted
	row.Duplicates -= part.Duplicates
	row.Conflicts -= part.Conflicts
	row.Quarantined -= part.Quarantined
	row.Calls -= part.Calls
	row.Unpriced -= part.Unpriced
	row.Late -= part.Late
	row.Tokens -= part.Tokens
	row.Cost = row.Cost.Sub(part.Cost)
	row.RowHash -= part.RowHash
}

// read decodes the records of a range, but those of tenants that were erased.
func (r *Replayer) read(ctx context.Context, want *LedgerRow, erased map[string]bool) (*batch, error) {
	const recordsMax, patience = 4096, 5 * time.Second
	last, epoch, err := r.log.End(ctx)
	if err != nil {
		return nil, fmt.Errorf("read end of log: %w", err)
	}
	if last < want.To || epoch != want.Epoch {
		return nil, fmt.Errorf("%w: the log ends at %d in epoch %d, the range at %d in epoch %d",
			ErrLogBehind, last, epoch, want.To, want.Epoch)
	}
	reader, err := r.log.Read(ctx, want.From)
	if err != nil {
		return nil, r.gone(want, err)
	}
	defer reader.Close()
	b := &batch{from: want.From, to: want.From - 1}
	for b.to < want.To {
		// Nothing may ever come after positions that were erased.
		if err := b.pass(ctx, want.To+1, r.cfg.Gone); err != nil || b.to == want.To {
			return b, err
		}
		records, err := reader.Next(ctx, recordsMax, patience)
		if err != nil {
			return nil, r.gone(want, err)
		}
		if len(records) == 0 {
			return nil, fmt.Errorf("read log after %d: nothing came within %s: %w", b.to, patience, schemas.ErrUnavailable)
		}
		for i := range records {
			if err := b.pass(ctx, min(records[i].Seq, want.To+1), r.cfg.Gone); err != nil {
				return nil, err
			}
			if b.to == want.To {
				break
			}
			if _, tenant := schemas.ParseUsageSubject(records[i].Subject); erased[tenant] && records[i].Seq == b.to+1 {
				b.to++ // it goes at any moment
				continue
			}
			if err := b.take(&records[i], r.cfg.Key); err != nil {
				return nil, r.gone(want, err)
			}
		}
	}
	return b, nil
}

// gone turns a gap into ErrNotOnLog: of a range that was written, the log may
// forget records.
func (r *Replayer) gone(want *LedgerRow, err error) error {
	if errors.Is(err, ErrLogGap) {
		return fmt.Errorf("range %d to %d: %w (%v)", want.From, want.To, ErrNotOnLog, err) //nolint:errorlint // a gap here is no breach
	}
	return fmt.Errorf("read log from %d: %w", want.From, err)
}

// differences names the sums in which two rows of one range differ, "" if there
// are none. Who wrote a row and when is not compared.
func (row *LedgerRow) differences(want *LedgerRow) string {
	var diff []byte
	compare := func(name string, got, want any) {
		if got != want {
			diff = fmt.Appendf(diff, "%s %v instead of %v, ", name, got, want)
		}
	}
	compare("to", row.To, want.To)
	compare("messages", row.Messages, want.Messages)
	compare("events", row.Events, want.Events)
	compare("accepted", row.Accepted, want.Accepted)
	compare("duplicates", row.Duplicates, want.Duplicates)
	compare("conflicts", row.Conflicts, want.Conflicts)
	compare("quarantined", row.Quarantined, want.Quarantined)
	compare("calls", row.Calls, want.Calls)
	compare("unpriced", row.Unpriced, want.Unpriced)
	compare("late", row.Late, want.Late)
	compare("tokens", row.Tokens, want.Tokens)
	compare("cost", row.Cost, want.Cost)
	compare("row hash", row.RowHash, want.RowHash)
	compare("price revision", row.PriceRevision, want.PriceRevision)
	if len(diff) == 0 {
		return ""
	}
	return string(diff[:len(diff)-2])
}
