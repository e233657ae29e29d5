package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
	"golang.org/x/sync/errgroup"
)

// LateAfter is how long after it happened an event is called late when it
// arrives: its hour may have been rolled up and read already. It is counted all
// the same; its windows are recomputed.
const LateAfter = time.Hour

// A LedgerRow says that a range of the log is written, and what it must add up
// to. See schemas/sql/0004_ledger.sql.
type LedgerRow struct {
	Shard         uint32
	Epoch         uint64 // of the log
	From, To      uint64
	Messages      uint64
	Events        uint64
	Accepted      uint64
	Duplicates    uint64
	Conflicts     uint64
	Quarantined   uint64
	Calls         int64
	Unpriced      uint64
	Late          uint64
	Tokens        int64
	Cost          schemas.Money
	RowHash       uint64
	PriceRevision uint32
	Lease         uint64
	CommittedAt   time.Time
	// DirtyTenants[i] and DirtyHours[i] are a window that the range touched.
	DirtyTenants []string
	DirtyHours   []time.Time
}

// write judges a batch and makes it durable: rows and keys and rejects in any
// order, then the ledger row.
func (w *Writer) write(ctx context.Context, lease Lease, b batch) error {
	started := w.cfg.Now()
	out, book, err := w.judge(ctx, &b)
	if err != nil {
		return err
	}
	row := ledgerRow(&b, out, book.Number())
	row.Shard, row.Epoch, row.Lease, row.CommittedAt = w.cfg.Shard, w.head.Epoch, lease.Token(), w.cfg.Now().UTC()
	if row.Events != row.Accepted+row.Duplicates+row.Conflicts+row.Quarantined {
		return invariant.Broken(invariant.VerdictsAddUp, "range %d to %d has %d events and %d accepted, %d duplicates, %d conflicts, %d quarantined",
			b.from, b.to, row.Events, row.Accepted, row.Duplicates, row.Conflicts, row.Quarantined)
	}
	reachedVerdicts(out, row)
	failpoint.Hit(failpoint.WriterJudged)

	// Order among these does not matter: none of them counts before the ledger row is
	// there, and a crash between them repeats them all.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := w.cfg.Claims.Put(groupCtx, Claim{Epoch: w.head.Epoch, From: b.from, To: b.to})
		if errors.Is(err, schemas.ErrConflict) {
			return fmt.Errorf("claim it: another writer took over: %w", schemas.ErrUnavailable)
		}
		return passed(failpoint.WriterClaimed, err)
	})
	group.Go(func() error {
		return passed(failpoint.WriterRowsWritten, w.store.WriteRows(groupCtx, out.accepted))
	})
	group.Go(func() error {
		return passed(failpoint.WriterKeysWritten, w.store.WriteKeys(groupCtx, out.keys))
	})
	group.Go(func() error {
		return passed(failpoint.WriterRejectsWritten, w.store.WriteRejects(groupCtx, out.conflicts, out.quarantined))
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write range %d to %d: %w", b.from, b.to, err)
	}
	failpoint.Hit(failpoint.WriterBeforeCommit)
	if !lease.Valid() {
		failpoint.Reached(failpoint.LeaseLostBeforeWrite)
		return fmt.Errorf("write range %d to %d: the lease ran out: %w", b.from, b.to, schemas.ErrUnavailable)
	}

	// THE COMMIT POINT. A crash before this insert repeats the range and writes
	// exact copies; a crash after it costs nothing. If its answer is lost, lead
	// reads the ledger and finds the row, or does not; if it arrives after that, it
	// is the same row again, because the claim says where the range ends.
	failpoint.Hit(failpoint.WriterLeaseChecked)
	if err := w.store.Commit(ctx, row); err != nil {
		return fmt.Errorf("commit range %d to %d: %w", b.from, b.to, err)
	}
	failpoint.Hit(failpoint.WriterCommitted)

	// From here the range is counted. What follows is memory only.
	for i := range out.keys {
		w.filter.add(&out.keys[i].Key)
	}
	w.head = Head{To: b.to, Epoch: w.head.Epoch, PriceRevision: row.PriceRevision, Keys: w.head.Keys + uint64(len(out.keys))}
	w.book = book
	w.cfg.OnCommit(out.accepted, b.to)
	w.cfg.Metrics.committed(row, w.cfg.Now().Sub(started), w.cfg.Now().Sub(b.lastAt))
	return nil
}

// judge gives every event of a batch its verdict and returns the price book in
// force at its end.
func (w *Writer) judge(ctx context.Context, b *batch) (*verdictRange, *schemas.PriceBook, error) {
	out := &verdictRange{
		accepted: slices.Grow(w.accepted[:0], len(b.steps)),
		keys:     slices.Grow(w.keys[:0], len(b.steps)),
	}
	h := hearing{keys: w.store, prices: w.prices, upTo: w.head.To, book: w.book, mayHave: w.filter.mayHave}
	err := h.judge(ctx, b, out)
	w.cfg.Metrics.lookups.Add(float64(h.asked))
	if err != nil {
		return nil, nil, err
	}
	reachedFilter(w.filter, out)
	w.accepted, w.keys = out.accepted, out.keys
	return out, h.book, nil
}

// ledgerRow sums a judged batch up. Shard, epoch, lease and time are the
// writer's to add.
func ledgerRow(b *batch, out *verdictRange, revision uint32) *LedgerRow {
	row := &LedgerRow{
		From: b.from, To: b.to, Messages: b.messages, Events: out.events,
		Accepted: uint64(len(out.accepted)), Duplicates: out.duplicates,
		Conflicts: uint64(len(out.conflicts)), Quarantined: uint64(len(out.quarantined)),
		PriceRevision: revision,
	}
	dirty := map[dirtyWindow]struct{}{}
	for i := range out.accepted {
		a := &out.accepted[i]
		row.Calls += int64(a.Calls)
		row.Tokens += a.Event.Tokens.Total()
		row.RowHash += RowHash(a)
		if a.Priced {
			row.Cost = row.Cost.Add(a.Cost)
		} else {
			row.Unpriced++
		}
		if a.ReceivedAt-a.Event.Time > LateAfter.Milliseconds() {
			row.Late++
		}
		dirty[dirtyWindow{a.Tenant, a.Event.Time / time.Hour.Milliseconds()}] = struct{}{}
	}
	row.setDirty(dirty)
	return row
}

type dirtyWindow struct {
	tenant string
	hour   int64 // since 1970
}

// setDirty lists the windows in order, so that the same range gives the same row.
func (row *LedgerRow) setDirty(dirty map[dirtyWindow]struct{}) {
	windows := make([]dirtyWindow, 0, len(dirty))
	for w := range dirty {
		windows = append(windows, w)
	}
	sort.Slice(windows, func(i, k int) bool {
		if windows[i].tenant != windows[k].tenant {
			return windows[i].tenant < windows[k].tenant
		}
		return windows[i].hour < windows[k].hour
	})
	for _, w := range windows {
		row.DirtyTenants = append(row.DirtyTenants, w.tenant)
		row.DirtyHours = append(row.DirtyHours, time.UnixMilli(w.hour*time.Hour.Milliseconds()).UTC())
	}
}
