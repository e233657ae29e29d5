package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// storePort is the warehouse as one process sees it.
type storePort struct {
	s    *sim
	proc *process
}

var (
	_ ingest.Store        = storePort{}
	_ aggregate.LiveStore = livePort{}
	_ rollup.Store        = rollupPort{}
)

func (p storePort) read(ctx context.Context, kind string, f func()) error {
	return p.s.call(ctx, p.proc.name, &op{kind: kind, proc: p.proc, faults: []outcome{dropped},
		apply: func() error { f(); return nil }})
}

// write registers an insert. The block is what deduplication would know it by.
func (p storePort) write(ctx context.Context, kind string, block any, f func()) error {
	w := p.s.store
	return p.s.call(ctx, p.proc.name, &op{kind: kind, proc: p.proc, write: true, faults: writeFaults(),
		apply: func() error {
			if w.duplicateBlock(block) {
				return nil
			}
			w.do(f)
			return nil
		},
		// For one block there is no part; with deduplication its record may be there
		// and the block not.
		part: func(uint64) { w.duplicateBlock(block) },
	})
}

func writeFaults() []outcome { return []outcome{dropped, lost, late, twice, partial} }

func (p storePort) Head(ctx context.Context, _ uint32) (h ingest.Head, err error) {
	err = p.read(ctx, "head", func() { h = p.s.store.head() })
	return h, err
}

func (p storePort) Keys(ctx context.Context, after, upTo uint64, add func(*ingest.Key)) error {
	var found []ingest.Key
	collect := func() {
		for _, k := range p.s.store.keyList {
			for _, r := range p.s.store.keys[k] {
				if r.Seq > after && r.Seq <= upTo {
					found = append(found, k)
				}
			}
		}
	}
	half := false
	err := p.s.call(ctx, p.proc.name, &op{kind: "keys-read", proc: p.proc, faults: []outcome{dropped, partial},
		apply: func() error { collect(); return nil },
		part: func(dice uint64) {
			half = true
			collect()
			found = found[:dice%uint64(len(found)+1)]
		}})
	if err != nil && !half {
		return err
	}
	for i := range found {
		add(&found[i])
	}
	return err
}

func (p storePort) Known(ctx context.Context, keys []ingest.Key, upTo uint64) (map[ingest.Key]ingest.KeyRow, error) {
	found := map[ingest.Key]ingest.KeyRow{}
	keys = slices.Clone(keys)
	err := p.read(ctx, "known", func() {
		for _, k := range keys {
			stored := p.s.store.keys[k]
			for _, r := range stored {
				first, ok := found[k]
				if r.Seq <= upTo && (!ok || r.Seq < first.Seq) {
					found[k] = r
				}
			}
			if _, ok := found[k]; !ok && len(stored) > 0 {
				p.s.rare("a key was looked up that is stored beyond the ledger")
			}
		}
	})
	return found, err
}

func (p storePort) Accepted(ctx context.Context, refs []ingest.TenantRef, upTo uint64) (found []schemas.Accepted, err error) {
	refs = slices.Clone(refs)
	err = p.read(ctx, "accepted", func() {
		p.s.store.each(upTo, func(r *schemas.Accepted) {
			if slices.Contains(refs, ingest.TenantRef{Tenant: r.Tenant, EventRef: schemas.EventRef{Source: r.Event.Source, ID: r.Event.ID}}) {
				found = append(found, *r)
			}
		})
	})
	return found, err
}

// WriteRows may be partial, month by month: an insert into several partitions is
// whole in each of them only.
func (p storePort) WriteRows(ctx context.Context, rows []schemas.Accepted) error {
	if len(rows) == 0 {
		return nil
	}
	rows = slices.Clone(rows) // the writer uses its slice again
	w := p.s.store
	months := map[int64][]schemas.Accepted{}
	for _, r := range rows {
		m := startOf(schemas.GrainMonth, r.Event.Time/1000)
		months[m] = append(months[m], r)
	}
	return p.s.call(ctx, p.proc.name, &op{kind: "rows", proc: p.proc, write: true, faults: writeFaults(),
		apply: func() error {
			if !w.duplicateBlock(rows) {
				w.do(func() { w.addRows(rows) })
			}
			return nil
		},
		part: func(dice uint64) {
			if w.duplicateBlock(rows) {
				return
			}
			some := false
			for m, part := range months {
				if p.s.hash("month", fmt.Sprint(m, dice))%2 == 0 && len(months) > 1 {
					some = true
					w.do(func() { w.addRows(part) })
				}
			}
			if some {
				p.s.rare("rows of some months were written and of others not")
			}
		}})
}

func (p storePort) WriteKeys(ctx context.Context, keys []ingest.NewKey) error {
	if len(keys) == 0 {
		return nil
	}
	keys = slices.Clone(keys)
	return p.write(ctx, "keys", keys, func() { p.s.store.addKeys(keys) })
}

func (p storePort) WriteRejects(ctx context.Context, conflicts []ingest.Conflict, quarantined []ingest.Quarantined) error {
	if len(conflicts)+len(quarantined) == 0 {
		return nil
	}
	var at []place
	var why []string
	for _, c := range conflicts {
		at, why = append(at, place{c.Seq, c.Idx}), append(why, "conflict")
	}
	for _, q := range quarantined {
		at, why = append(at, place{q.Seq, q.Idx}), append(why, q.Reason)
	}
	return p.write(ctx, "rejects", []any{at, why}, func() {
		for i := range at {
			if before, ok := p.s.store.rejects[at[i]]; ok && before != why[i] {
				p.s.fail("message %d index %d was refused as %s and as %s", at[i].seq, at[i].idx, before, why[i])
			}
			p.s.store.rejects[at[i]] = why[i]
		}
	})
}

func (p storePort) Commit(ctx context.Context, row *ingest.LedgerRow) error {
	r := *row
	return p.write(ctx, "commit", r, func() {
		if r.From != p.s.store.head().To+1 {
			p.s.rare("a commit came when the ledger was beyond it")
		}
		p.s.trace("ledger %d to %d by lease %d: %d accepted", r.From, r.To, r.Lease, r.Accepted)
		p.s.store.ledger = append(p.s.store.ledger, r)
	})
}

// livePort is the warehouse as a node's live totals see it.
type livePort struct{ storePort }

func (p livePort) Position(ctx context.Context, _ uint32) (at aggregate.Position, err error) {
	err = p.read(ctx, "live-position", func() {
		// The statement reads the newest row that begins last, without FINAL: of two
		// copies it may see either.
		rows := p.s.store.ledger
		var newest []ingest.LedgerRow
		for _, r := range rows {
			if len(newest) > 0 && r.From > newest[0].From {
				newest = newest[:0]
			}
			if len(newest) == 0 || r.From == newest[0].From {
				newest = append(newest, r)
			}
		}
		if len(newest) > 0 {
			r := newest[p.s.hash("copy", fmt.Sprint(p.s.steps))%uint64(len(newest))]
			at = aggregate.Position{Seq: r.To, Time: r.CommittedAt}
		}
	})
	return at, err
}

func (p livePort) Totals(ctx context.Context, keep aggregate.Keep, position uint64, add func(*aggregate.LiveRow)) error {
	var found []aggregate.LiveRow
	err := p.read(ctx, "live-totals", func() {
		p.s.store.each(position, func(r *schemas.Accepted) {
			month := startOf(schemas.GrainMonth, r.Event.Time/1000)
			if month < keep.MonthsFrom.Unix() {
				return
			}
			e := &r.Event
			row := aggregate.LiveRow{Tenant: r.Tenant, Month: time.Unix(month, 0)}
			if day := startOf(schemas.GrainDay, e.Time/1000); day >= keep.DaysFrom.Unix() {
				row.Day = time.Unix(day, 0)
			}
			row.Names = [5]string{e.Provider, e.Model, e.Department, e.CostCenter, e.Agent}
			row.Calls, row.Tokens, row.LatencyMS = int64(r.Calls), e.Tokens, int64(r.Calls)*e.LatencyMS
			if e.Status == "error" {
				row.Errors = row.Calls
			}
			if row.Cost = r.Cost; !r.Priced {
				row.Cost, row.Unpriced = schemas.Money{}, row.Calls
			}
			found = append(found, row)
		})
	})
	if err != nil {
		return err
	}
	for i := range found {
		add(&found[i])
	}
	return nil
}

func (p livePort) Levels(ctx context.Context, keep aggregate.Keep, position uint64, add func(string, aggregate.Level)) error {
	found := map[string]aggregate.Level{}
	err := p.read(ctx, "live-levels", func() {
		p.s.store.each(position, func(r *schemas.Accepted) {
			if r.Event.Type != schemas.TypeResourceSample || r.Event.Time < keep.MonthsFrom.UnixMilli() {
				return
			}
			l := aggregate.Level{Name: levelName, Value: r.Event.Units[0].Count, Time: r.Event.Time, Seq: r.Seq, Idx: r.Idx}
			have, ok := found[r.Tenant]
			if !ok || l.Time > have.Time || l.Time == have.Time && (l.Seq > have.Seq || l.Seq == have.Seq && l.Idx > have.Idx) {
				found[r.Tenant] = l
			}
		})
	})
	if err != nil {
		return err
	}
	for tenant, level := range found {
		add(tenant, level)
	}
	return nil
}

// rollupPort is the warehouse as a node's rollup worker sees it.
type rollupPort struct{ storePort }

func (p rollupPort) Position(ctx context.Context, job string) (at rollup.Reached, err error) {
	err = p.read(ctx, "rollup-position", func() { at = p.s.store.jobPosition(job) })
	return at, err
}

func (p rollupPort) Ranges(ctx context.Context, _ uint32, position uint64, limit uint32) (ranges []rollup.Range, err error) {
	err = p.read(ctx, "rollup-ranges", func() {
		for _, r := range p.s.store.ranges() {
			next := rollup.Range{From: r.From, To: r.To, Pairs: uint64(len(r.DirtyHours))}
			switch {
			case r.From <= position: // the last of these is the one before
				next.Pairs = 0
				ranges = []rollup.Range{next}
			case len(ranges) <= int(limit):
				ranges = append(ranges, next)
			}
		}
	})
	return ranges, err
}

func (p rollupPort) Dirty(ctx context.Context, _ uint32, after, upto uint64) (dirty []rollup.DirtyHour, err error) {
	err = p.read(ctx, "rollup-dirty", func() {
		seen := map[rollup.DirtyHour]bool{}
		for _, r := range p.s.store.ledger {
			for i, tenant := range r.DirtyTenants {
				d := rollup.DirtyHour{Tenant: tenant, Start: r.DirtyHours[i].Unix()}
				if r.From > after && r.From <= upto && !seen[d] {
					seen[d] = true
					dirty = append(dirty, d)
				}
			}
		}
	})
	return dirty, err
}

func (p rollupPort) Recompute(ctx context.Context, _ uint32, b *rollup.Batch, after, position uint64, _ time.Time) error {
	batch := *b
	err := p.write(ctx, "recompute", []any{batch, after, position}, func() { p.s.store.recompute(&batch, after, position) })
	if err != nil && batch.Grain != schemas.GrainHour {
		p.s.note("a rollup pass failed between hours and months")
	}
	return err
}

func (p rollupPort) Record(ctx context.Context, r rollup.Run) error {
	return p.write(ctx, "rollup-record", r, func() {
		if r.Position < p.s.store.jobPosition(r.Job).Position {
			p.s.rare("a slower rollup pass was recorded after a faster one")
		}
		p.s.store.jobRuns = append(p.s.store.jobRuns, r)
	})
}
