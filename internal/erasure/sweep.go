package erasure

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// Sweep completes what was interrupted, and erases again what came back: rows from a
// backup of the warehouse that is older than an erasure, and records of the registry that
// a node wrote before it knew of the erasure. It returns how many erasures it had to
// carry out.
func (e *Eraser) Sweep(ctx context.Context) (again int, err error) {
	err = e.held(ctx, nil, func(ctx context.Context, e *Eraser) error {
		states, err := e.all(ctx)
		if err != nil {
			return err
		}
		for _, st := range states {
			if st.Phase != phaseDone {
				continue
			}
			did, err := e.sweep(ctx, st)
			if err != nil {
				return fmt.Errorf("erase %s again: %w", st.Tenant, err)
			}
			late, err := e.sweepControl(ctx, st)
			if err != nil {
				return fmt.Errorf("erase records of %s again: %w", st.Tenant, err)
			}
			if did || late {
				again++
			}
		}
		return nil
	})
	return again, err
}

// sweep carries the rounds of one erasure out again, if the warehouse knows nothing of
// them, or has something of the tenant.
func (e *Eraser) sweep(ctx context.Context, st *state) (did bool, err error) {
	for round := range st.Round + 1 {
		r := *st
		r.Round, r.Erased = round, map[string]uint64{}
		known, err := e.known(ctx, &r)
		if err != nil {
			return did, err
		}
		left := uint64(0)
		if r.Whole {
			if left, err = e.inTables(ctx, &r); err != nil {
				return did, err
			}
		}
		if known && left == 0 {
			continue
		}
		did = true
		if !known {
			if err := e.recordAgain(ctx, &r); err != nil {
				return did, err
			}
		}
		if err := e.carryOut(ctx, &r); err != nil {
			return did, err
		}
	}
	return did, nil
}

// sweepControl erases what was written about an erased tenant after its erasure.
func (e *Eraser) sweepControl(ctx context.Context, st *state) (did bool, err error) {
	if !st.Whole {
		return false, nil
	}
	certificate, err := json.Marshal(st.Certificate)
	if err != nil {
		return false, err
	}
	record, err := e.cfg.Registry.Erased(ctx, tenancy.Actor{ID: st.Actor, IP: st.IP}, st.Tenant, certificate)
	if err != nil {
		return false, err
	}
	// What came before the record is gone, so the newest says whether anything is there:
	// looking at all of them costs a consumer per tenant that was ever erased.
	newest, err := e.log.LastOf(ctx, schemas.StreamControl, e.cfg.Registry.Subjects(st.Tenant)...)
	if err != nil || newest <= record {
		return false, err
	}
	gone, err := e.eraseControl(ctx, st.Tenant, record)
	return gone > 0, err
}

// known reports whether the warehouse knows of a plan: then it counts.
func (e *Eraser) known(ctx context.Context, st *state) (known bool, err error) {
	err = e.query(ctx, "known", func(rows *warehouse.Rows) error { return rows.Scan(&known) },
		warehouse.Param{Name: "tenant", Value: st.Tenant}, warehouse.Param{Name: "erasure", Value: st.plan()})
	return known, err
}

// Outstanding reports whether the warehouse does not know of an erasure that was done:
// it is from a backup, and what it has and lacks is no fault until Sweep was there.
func (e *Eraser) Outstanding(ctx context.Context) (bool, error) {
	states, err := e.all(ctx)
	if err != nil {
		return false, err
	}
	for _, st := range states {
		if st.Phase != phaseDone {
			continue
		}
		for round := range st.Round + 1 {
			r := *st
			r.Round = round
			if known, err := e.known(ctx, &r); err != nil || !known {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// recordAgain writes what an erasure took from the ranges that the warehouse had at
// the time: others were counted since, without it.
func (e *Eraser) recordAgain(ctx context.Context, st *state) error {
	entries, err := e.places.of(ctx, st.plan())
	if err != nil {
		return err
	}
	had := map[span]bool{}
	err = e.query(ctx, "ranges_before", func(rows *warehouse.Rows) error {
		var s span
		err := rows.Scan(&s.first, &s.last)
		had[s] = true
		return err
	}, e.shard(), warehouse.Param{Name: "before_ms", Value: st.StartedAt.UnixMilli()})
	if err != nil {
		return err
	}
	return e.record(ctx, st, slices.DeleteFunc(entries, func(n entry) bool { return !had[span{n.From, n.To}] }))
}
