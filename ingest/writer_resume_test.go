package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
)

// TestLostAnswerIsReported: the last commit happened and its answer was lost.
// Nothing follows it, so who keeps totals from OnCommit must be told otherwise.
func TestLostAnswerIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		log.append(schemas.DirectSubject("t"), []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"message","time":"2026-02-01T00:00:00Z"}`))
		lost := false
		store := &memoryStore{rejects: map[string]string{}, fault: func(boundary string) error {
			if boundary == "after commit" && !lost {
				lost = true
				return fmt.Errorf("%s: %w", boundary, schemas.ErrUnavailable)
			}
			return nil
		}}
		w := newTestWriter(t, log, store)
		reported := make(chan uint64, 1)
		refused := false
		w.cfg.OnCommit = func([]schemas.Accepted, uint64) { t.Error("the commit was reported as one of this writer") }
		w.cfg.OnResume = func(_ context.Context, position uint64) error {
			switch {
			case position == 0: // the start
				return nil
			case !refused: // who cannot follow now is told again
				refused = true
				return fmt.Errorf("read totals: %w", schemas.ErrUnavailable)
			}
			reported <- position
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		if position := <-reported; position != 1 {
			t.Errorf("told to be at %d", position)
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

// TestLateCommitIsTheSameRow: a writer gives a commit up, another one takes over,
// and then the commit arrives after all. Where the range ends was decided before,
// so it is the row that the other one wrote; and the first one can claim nothing
// any more.
func TestLateCommitIsTheSameRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		fillLog(log, rand.New(rand.NewPCG(1, 9)))
		store := &memoryStore{rejects: map[string]string{}}
		refuse := true
		store.fault = func(boundary string) error {
			if refuse && boundary == "before commit" {
				return schemas.ErrUnavailable
			}
			return nil
		}
		first := newTestWriter(t, log, store)
		lease := freeLease{}
		if err := first.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		b, _, err := first.collect(t.Context(), log.records[:5], 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.write(t.Context(), lease, b); !errors.Is(err, schemas.ErrUnavailable) {
			t.Fatalf("the commit did not fail: %v", err)
		}
		refuse = false

		second := newTestWriter(t, log, store)
		second.cfg.BatchRowsMax, second.cfg.BatchRecordsMax = 2, 2 // it would cut elsewhere
		drain(t, second, log, store)
		if got := store.ledger[0]; got.From != 1 || got.To != b.to {
			t.Errorf("the first range is %d to %d, and %d to %d may arrive yet", got.From, got.To, b.from, b.to)
		}
		out, book, err := first.judge(t.Context(), &b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := ledgerRow(&b, out, book.Number()).differences(&store.ledger[0]); diff != "" {
			t.Errorf("the late row is another one: %s", diff)
		}
		next, _, err := first.collect(t.Context(), log.records[b.to:b.to+3], b.to, 0)
		if err != nil {
			t.Fatal(err)
		}
		first.head.To = b.to
		written := len(store.ledger)
		if err := first.write(t.Context(), lease, next); !errors.Is(err, schemas.ErrUnavailable) || len(store.ledger) != written {
			t.Errorf("a writer that was taken over from committed: %v", err)
		}
	})
}

// TestClaimOfAShortLog: records that were read from the log are not on it any more.
func TestClaimOfAShortLog(t *testing.T) {
	t.Parallel()
	head := Head{To: 10, Epoch: 7}
	for _, c := range []struct {
		claim Claim
		last  uint64
		want  Claim
		err   error
	}{
		{Claim{7, 11, 20}, 20, Claim{7, 11, 20}, nil},
		{Claim{7, 11, 20}, 19, Claim{}, ErrLogBehind},
		{Claim{7, 3, 10}, 20, Claim{}, nil},  // it is the newest commit
		{Claim{6, 11, 20}, 12, Claim{}, nil}, // of a log that was made anew
		{Claim{}, 20, Claim{}, nil},
	} {
		got, err := follow(c.claim, head, c.last)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("claim %v, log up to %d: %v, %v", c.claim, c.last, got, err)
		}
	}
}

// TestClockThatWentBack: a machine whose clock is set back by more than an hour
// does not count, and says what to do.
func TestClockThatWentBack(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	store := &memoryStore{fault: func(string) error { return nil }, ledger: []LedgerRow{{From: 1, To: 1, Epoch: 77, CommittedAt: at}}}
	log := &memoryLog{}
	log.append(schemas.Shard{}.PricesSubject(), []byte("1"))
	w := newTestWriter(t, log, store)
	for _, c := range []struct {
		now, most time.Duration
		ok        bool
	}{{-59 * time.Minute, 0, true}, {-61 * time.Minute, 0, false}, {-61 * time.Minute, 2 * time.Hour, true}, {400 * 24 * time.Hour, 0, true}} {
		w.cfg.Now = func() time.Time { return at.Add(c.now) }
		w.cfg.ClockBackMax = cmp.Or(c.most, time.Hour)
		err := w.resume(t.Context())
		if c.ok != (err == nil) || !c.ok && invariant.Of(err) != invariant.ClockGoesOn {
			t.Errorf("the clock is off by %s, %s allowed: %v", c.now, w.cfg.ClockBackMax, err)
		}
	}
}
