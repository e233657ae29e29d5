package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
	"github.com/google/go-cmp/cmp"
)

// Range makes the memory store a RangeStore.
func (s *memoryStore) Range(_ context.Context, shard uint32, from uint64) (row LedgerRow, before uint32, err error) {
	found, newest := false, uint64(0)
	for _, r := range s.ledger {
		if r.From == from && r.To >= row.To {
			row, found = r, true
		}
		if r.From < from && r.To > newest {
			newest, before = r.To, r.PriceRevision
		}
	}
	if !found {
		return row, 0, fmt.Errorf("no range begins at %d: %w", from, schemas.ErrInvalid)
	}
	row.Shard = shard
	return row, before, nil
}

// begins returns where the ledger's ranges begin, in order.
func (s *memoryStore) begins() []uint64 {
	begins := map[uint64]bool{}
	for _, r := range s.ledger {
		begins[r.From] = true
	}
	return slices.Sorted(maps.Keys(begins))
}

func newTestReplayer(t *testing.T, log Log, store RangeStore) *Replayer {
	t.Helper()
	return NewReplayer(ReplayerConfig{Key: []byte("k")}, log, store, newMemoryPrices(t))
}

// writtenStore writes a log that has everything in it, in ranges of all sizes.
func writtenStore(t *testing.T, seed uint64) (*memoryLog, *memoryStore) {
	t.Helper()
	log := &memoryLog{}
	rng := rand.New(rand.NewPCG(seed, 4))
	fillLog(log, rng)
	fillLog(log, rng)
	store := &memoryStore{rejects: map[string]string{}, fault: func(string) error { return nil }}
	drain(t, newTestWriter(t, log, store), log, store)
	return log, store
}

// TestRestoreBringsBackWhatWasLost throws away rows and keys of a committed log at
// random and restores the ranges in order: everything must be as it was.
func TestRestoreBringsBackWhatWasLost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			log, store := writtenStore(t, seed)
			rows, keys, rejects := store.collapsed(t), len(store.keys), maps.Clone(store.rejects)
			rng := rand.New(rand.NewPCG(seed, 5))
			lost := func() bool { return rng.IntN(3) == 0 }
			store.rows = slices.DeleteFunc(store.rows, func(schemas.Accepted) bool { return lost() })
			store.keys = slices.DeleteFunc(store.keys, func(NewKey) bool { return lost() })
			maps.DeleteFunc(store.rejects, func(string, string) bool { return lost() })
			if len(store.keys) == keys {
				t.Fatalf("seed %d: nothing was lost", seed)
			}
			r := newTestReplayer(t, log, store)
			for _, from := range store.begins() {
				if _, err := r.Restore(t.Context(), from); err != nil {
					t.Fatalf("seed %d: restore range from %d: %v", seed, from, err)
				}
			}
			if diff := cmp.Diff(rows, store.collapsed(t), cmp.AllowUnexported(schemas.Money{})); diff != "" {
				t.Fatalf("seed %d: rows before and after:\n%s", seed, diff)
			}
			if diff := cmp.Diff(rejects, store.rejects); diff != "" {
				t.Fatalf("seed %d: rejects before and after:\n%s", seed, diff)
			}
			checkStore(t, store, recount(log))
		})
	}
}

// TestReplayNamesTheDifference: what is not what the ledger says is named, and
// nothing is written for it.
func TestReplayNamesTheDifference(t *testing.T) {
	t.Parallel()
	log, store := writtenStore(t, 3)
	r := newTestReplayer(t, log, store)
	at := slices.IndexFunc(store.ledger, func(row LedgerRow) bool { return row.Accepted > 2 && row.From > 1 })
	honest := store.ledger[at]
	if err := r.Check(t.Context(), honest.From); err != nil {
		t.Fatalf("an honest range: %v", err)
	}
	store.ledger[at].Tokens++
	written := len(store.rows)
	_, err := r.Restore(t.Context(), honest.From)
	want := fmt.Sprintf("tokens %d instead of %d", honest.Tokens, honest.Tokens+1)
	if invariant.Of(err) != invariant.ReplayIsEqual || !strings.Contains(err.Error(), want) {
		t.Errorf("another sum in the ledger: %v, want %q", err, want)
	}
	if len(store.rows) != written {
		t.Error("rows were written that the ledger does not vouch for")
	}
	store.ledger[at] = honest

	if err := r.Check(t.Context(), honest.To+100); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a range that does not exist: %v", err)
	}
	newest := store.ledger[len(store.ledger)-1]
	short := newTestReplayer(t, &memoryLog{records: log.records[:newest.To-1]}, store)
	if err := short.Check(t.Context(), newest.From); !errors.Is(err, ErrLogBehind) {
		t.Errorf("a log that ends in the range: %v", err)
	}
	gap := &memoryLog{records: slices.Clone(log.records)}
	gap.records[honest.To-1].Seq = honest.To + 1
	if err := newTestReplayer(t, gap, store).Check(t.Context(), honest.From); !errors.Is(err, ErrNotOnLog) || invariant.Of(err) != "" {
		t.Errorf("a record that left the log: %v", err)
	}
}
