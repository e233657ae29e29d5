package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

// After everything has come to rest, a part of the warehouse is damaged and
// restored from the log. What comes back must be what was there, byte for byte.

var _ ingest.RangeStore = storePort{}

// Range implements ingest.RangeStore.
func (p storePort) Range(ctx context.Context, _ uint32, from uint64) (row ingest.LedgerRow, before uint32, err error) {
	found := false
	err = p.read(ctx, "range", func() {
		for _, r := range p.s.store.ranges() {
			switch {
			case r.From == from:
				row, found = r, true
			case r.To == from-1:
				before = r.PriceRevision
			}
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("no range begins at %d: %w", from, schemas.ErrInvalid)
	}
	return row, before, err
}

// beginRestore stops the counting, so that nothing is under way that has read what
// will be damaged. It reports whether this run has nothing to restore.
func (s *sim) beginRestore() bool {
	if s.hash("restore")%3 != 0 || len(s.store.order) == 0 {
		return false
	}
	s.phase, s.phaseSince = restoring, time.Now()
	for _, n := range s.nodes {
		n.proc.cancel()
		n.restartAt = time.Now().Add(2 * restMax)
	}
	return true
}

// damageAndRestore damages the warehouse and starts to restore it, among faults.
func (s *sim) damageAndRestore() {
	s.calm = false
	s.store.damage()
	var from []uint64
	for _, r := range s.store.ranges() {
		from = append(from, r.From)
	}
	proc := s.newProcess("r0#1")
	s.restorer = proc
	replayer := ingest.NewReplayer(ingest.ReplayerConfig{Key: []byte(signingKey)}, logPort{s, proc, proc.name}, storePort{s, proc}, pricePort{s, proc})
	s.all.Go(func() {
		err := s.restore(proc.ctx, replayer, from)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.restored, s.restoreErr = true, err
	})
}

// restore restores range after range, in order, as a repair does, and then judges
// all of them again.
func (s *sim) restore(ctx context.Context, r *ingest.Replayer, ranges []uint64) error {
	again := func(act func(from uint64) error) error {
		for _, from := range ranges {
			err := act(from)
			for errors.Is(err, schemas.ErrUnavailable) {
				s.wait(20 * time.Millisecond)
				err = act(from)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	err := again(func(from uint64) error {
		_, err := r.Restore(ctx, from)
		return err
	})
	if err == nil {
		err = again(func(from uint64) error { return r.Check(ctx, from) })
	}
	return err
}

// endRestore lets the nodes go on.
func (s *sim) endRestore() {
	s.rare("what a damaged warehouse lost was restored from the log")
	if s.restoreErr != nil {
		s.fail("restore from the log: %v", s.restoreErr)
	}
	for _, n := range s.nodes {
		n.restartAt = time.Now() // live totals of before are not to be trusted
	}
	s.phase, s.phaseSince = settle, time.Now()
	s.soothe()
}

// damage takes a third of what the tables hold, as files do that cannot be read.
// The ledger stays: it says what must be there.
func (w *storeStandIn) damage() {
	gone := func(parts ...any) bool { return w.s.hash("damage", fmt.Sprint(parts...))%3 == 0 }
	order := w.order[:0]
	for _, id := range w.order {
		if gone(id) {
			delete(w.raw, id)
			continue
		}
		order = append(order, id)
	}
	w.order = order
	keys := w.keyList[:0]
	for _, k := range w.keyList {
		if gone(k) {
			delete(w.keys, k)
			continue
		}
		keys = append(keys, k)
	}
	w.keyList = keys
	for at := range w.rejects {
		if gone("reject", at) {
			delete(w.rejects, at)
		}
	}
}
