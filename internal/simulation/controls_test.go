package simulation

import (
	"context"
	"testing"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

// Designs and stores that are known to be wrong. A checker that does not catch
// them proves nothing about one that is right.

// deferred is a Store that holds writes back until the ledger row is written.
type deferred struct {
	ingest.Store
	rows, keys, rejects bool // what is held back

	heldRows        []schemas.Accepted
	heldKeys        []ingest.NewKey
	heldConflicts   []ingest.Conflict
	heldQuarantined []ingest.Quarantined
}

// commitFirst moves the commit point before the inserts.
func commitFirst(_ *sim, s ingest.Store) ingest.Store {
	return &deferred{Store: s, rows: true, keys: true, rejects: true}
}

// keysLast writes the keys after the ledger row.
func keysLast(_ *sim, s ingest.Store) ingest.Store { return &deferred{Store: s, keys: true} }

func (d *deferred) WriteRows(ctx context.Context, rows []schemas.Accepted) error {
	if !d.rows {
		return d.Store.WriteRows(ctx, rows)
	}
	d.heldRows = rows
	return nil
}

func (d *deferred) WriteKeys(ctx context.Context, keys []ingest.NewKey) error {
	if !d.keys {
		return d.Store.WriteKeys(ctx, keys)
	}
	d.heldKeys = keys
	return nil
}

func (d *deferred) WriteRejects(ctx context.Context, conflicts []ingest.Conflict, quarantined []ingest.Quarantined) error {
	if !d.rejects {
		return d.Store.WriteRejects(ctx, conflicts, quarantined)
	}
	d.heldConflicts, d.heldQuarantined = conflicts, quarantined
	return nil
}

func (d *deferred) Commit(ctx context.Context, row *ingest.LedgerRow) error {
	if err := d.Store.Commit(ctx, row); err != nil {
		return err
	}
	if err := d.Store.WriteRows(ctx, d.heldRows); err != nil {
		return err
	}
	if err := d.Store.WriteKeys(ctx, d.heldKeys); err != nil {
		return err
	}
	return d.Store.WriteRejects(ctx, d.heldConflicts, d.heldQuarantined)
}

// peer is the order of a well-known meter: store the rows, store the offset, set
// the deduplication key; and a key is forgotten after a while.
type peer struct {
	deferred
	s      *sim
	window time.Duration
}

func peerOrder(s *sim, store ingest.Store) ingest.Store {
	return &peer{deferred: deferred{Store: store, keys: true}, s: s, window: 4 * time.Second}
}

func (p *peer) Known(ctx context.Context, keys []ingest.Key, upTo uint64) (map[ingest.Key]ingest.KeyRow, error) {
	known, err := p.Store.Known(ctx, keys, upTo)
	now := time.Now()
	for k, row := range known {
		if now.Sub(p.s.log.appended[row.Seq-1]) > p.window {
			delete(known, k)
		}
	}
	return known, err
}

// forgetful claims end nowhere: the range after the ledger may end anywhere.
type forgetful struct{ ingest.Claims }

func (f forgetful) Take(ctx context.Context) (ingest.Claim, error) {
	_, err := f.Claims.Take(ctx)
	return ingest.Claim{}, err
}

func TestNegativeControls(t *testing.T) {
	t.Parallel()
	books := priceBooks(t)
	for _, c := range []struct {
		name string
		cfg  config
	}{
		{"the commit point moved before the inserts", config{wrapStore: commitFirst}},
		{"keys written after the ledger row", config{wrapStore: keysLast}},
		{"rows, offset, key; deduplication by a window", config{wrapStore: peerOrder}},
		{"a store that syncs two seconds late", config{store: storeOptions{lazy: 2 * time.Second}}},
		{"a store that leaves out a block it has seen", config{store: storeOptions{dedupe: true}}},
		{"a log that acknowledges before it syncs", config{logLoses: 2}},
		{"a writer that keeps to no claim", config{noClaims: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const seedsMax = 300
			began := time.Now()
			for seed := uint64(1); seed <= seedsMax; seed++ {
				cfg := c.cfg
				cfg.seed, cfg.shape, cfg.books = seed, smallShape(), books
				if out := simulate(t, cfg); out.violation != "" {
					t.Logf("caught by seed %d, after %s: %s", seed, time.Since(began).Round(time.Millisecond), out.violation)
					return
				}
			}
			t.Errorf("%d seeds did not catch it", seedsMax)
		})
	}
}
