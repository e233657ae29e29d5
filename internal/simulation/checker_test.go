package simulation

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

// The checker. Its readers look at any moment, and what each read path answers must
// be the oracle's count as of the position that path states.

// look is a reader on every path at once.
func (s *sim) look() {
	s.looks++
	s.oracle.read()
	if s.violation != "" {
		return
	}
	head := s.store.head().To
	s.lookAtLedger(head)
	s.lookAtRaw(head)
	for _, n := range s.nodes {
		s.lookAtLive(n)
	}
	s.lookAtWindows()
	s.trace("look at %d", head)
}

// lookAtLedger: ranges follow each other, their verdicts add up, and their sums are
// the oracle's, range by range.
func (s *sim) lookAtLedger(head uint64) {
	if head > s.log.last() {
		s.fail("the ledger is at %d, the log ends at %d", head, s.log.last())
		return
	}
	next := uint64(1)
	row := 0
	for _, r := range s.store.ranges() {
		if r.From != next || r.To < r.From {
			s.fail("ledger: after %d comes the range %d to %d", next-1, r.From, r.To)
			return
		}
		next = r.To + 1
		var want verdicts
		for seq := r.From; seq <= r.To; seq++ {
			want.add(s.oracle.verdicts[seq])
		}
		got := verdicts{r.Messages, r.Events, r.Accepted, r.Duplicates, r.Conflicts, r.Quarantined}
		if got != want {
			s.fail("ledger %d to %d: %+v, the oracle counts %+v", r.From, r.To, got, want)
			return
		}
		sum := &sums{}
		for ; row < len(s.oracle.rows) && s.oracle.rows[row].seq <= r.To; row++ {
			sum.add(&s.oracle.rows[row].sums)
		}
		if r.Calls != sum.calls || r.Tokens != sum.in+sum.out || r.Cost.Big().Cmp(&sum.cost) != 0 {
			s.fail("ledger %d to %d: %d calls, %d tokens, %s; the oracle counts %s", r.From, r.To, r.Calls, r.Tokens, r.Cost, sum.text())
			return
		}
	}
}

// lookAtRaw: the stored events up to the ledger's position are those that the
// oracle counts, each once, in its place, with its sums; and the ledger's row
// hashes are theirs.
func (s *sim) lookAtRaw(head uint64) {
	var hash uint64
	stored := map[place]schemas.Accepted{}
	s.store.each(head, func(r *schemas.Accepted) {
		hash += ingest.RowHash(r)
		at := place{r.Seq, r.Idx}
		if _, ok := stored[at]; ok {
			s.fail("message %d index %d is stored twice", at.seq, at.idx)
		}
		stored[at] = *r
	})
	for i := range s.oracle.rows {
		c := &s.oracle.rows[i]
		if c.seq > head {
			break
		}
		r, ok := stored[c.place]
		if !ok {
			s.fail("event %s of %s, message %d index %d, is committed and not stored", c.id, c.tenant, c.seq, c.idx)
			return
		}
		delete(stored, c.place)
		have := &sums{}
		have.addRow(&r)
		if r.Tenant != c.tenant || r.Event.ID != c.id || r.Event.Time != c.time || r.Event.Department != c.dept ||
			r.Priced != c.priced || !have.equal(&c.sums) {
			s.fail("event %s of %s at %d: stored is %+v, the oracle has %s", c.id, c.tenant, c.seq, r, c.text())
			return
		}
	}
	for at, r := range stored {
		s.fail("event %s of %s at %d-%d is stored, and the oracle does not count it", r.Event.ID, r.Tenant, at.seq, at.idx)
		return
	}
	for _, r := range s.store.ranges() {
		hash -= r.RowHash
	}
	if hash != 0 {
		s.fail("the row hashes of ledger and events differ")
	}
	ahead := slices.ContainsFunc(s.store.order, func(id identity) bool { return s.store.raw[id].Seq > head })
	if ahead {
		s.rare("a reader looked between the rows of a range and its ledger row")
	}
}

// lookAtLive: live totals are the oracle's as of the position they state.
func (s *sim) lookAtLive(n *node) {
	if n.live == nil || n.proc.dead() || !n.live.Ready() {
		return
	}
	known := map[uint64]map[windowKey]map[string]*sums{}
	for _, tenant := range tenants {
		now := time.Now().UTC()
		for _, at := range []time.Time{now, now.AddDate(0, 0, -1), now.AddDate(0, 0, -now.Day())} {
			for _, grain := range []schemas.Grain{schemas.GrainDay, schemas.GrainMonth} {
				w := schemas.WindowOf(grain, at)
				groups, totals, asOf, ok := n.live.Groups(tenant, w, []schemas.Dimension{schemas.ByDepartment})
				if !ok {
					continue
				}
				if known[asOf.Seq] == nil {
					known[asOf.Seq] = s.oracle.windows(asOf.Seq)
				}
				want := known[asOf.Seq][windowKey{tenant, grain, startOf(grain, at.Unix())}]
				have := map[string]*sums{}
				for i := range groups {
					sumOf(have, groups[i].Names[0]).add(sumsOf(&groups[i].Totals))
				}
				alone, again, _ := n.live.Totals(tenant, w)
				if !same(have, want) || !sumsOf(&totals).equal(totalOf(want)) || alone != totals || again != asOf {
					s.fail("live totals of %s: %s of %s as of %d are %q, the oracle counts %q",
						n.name, w, tenant, asOf.Seq, textOf(have), textOf(want))
					return
				}
			}
		}
	}
	for _, tenant := range tenants {
		levels, asOf, _ := n.live.Levels(tenant)
		newest, ok := s.oracle.level(tenant, asOf.Seq)
		// A clock that went forward forgets old levels; what is there is the newest.
		if len(levels) > 0 && (!ok || levels[0].Value != newest.level || levels[0].Seq != newest.seq) ||
			len(levels) == 0 && ok && !n.shifted && newest.time >= s.began.AddDate(0, -1, 0).UnixMilli() {
			s.fail("levels of %s as of %d on %s are %+v, the oracle has %d of message %d", tenant, asOf.Seq, n.name, levels, newest.level, newest.seq)
			return
		}
	}
	for _, tenant := range n.live.Tenants() {
		if !slices.Contains(tenants, tenant) {
			s.fail("live totals of %s hold a tenant %q that nobody is", n.name, tenant)
		}
	}
}

func sumsOf(t *aggregate.Totals) *sums {
	s := &sums{calls: t.Calls, errors: t.Errors, unpriced: t.Unpriced, latency: t.LatencyMS,
		in: t.Tokens[schemas.Input], out: t.Tokens[schemas.Output]}
	s.cost.Set(t.Cost.Big())
	return s
}

// lookAtWindows: an hour is the oracle's as of its generation or of the rollups'
// position, whichever is later; so is a day or a month, unless a pass under way
// has written a part of it already.
func (s *sim) lookAtWindows() {
	position := s.store.jobPosition("rollup").Position
	known := map[uint64]map[windowKey]map[string]*sums{}
	asOf := func(p uint64) map[windowKey]map[string]*sums {
		if known[p] == nil {
			known[p] = s.oracle.windows(p)
		}
		return known[p]
	}
	moving := map[windowKey]bool{}
	for key, row := range s.store.windows {
		if row.gen > position {
			for _, grain := range []schemas.Grain{key.grain, schemas.GrainDay, schemas.GrainMonth} {
				moving[windowKey{key.tenant, grain, startOf(grain, key.start)}] = true
			}
		}
	}
	if len(moving) > 0 {
		s.rare("a reader looked at windows in the middle of a pass")
	}
	for key := range asOf(position) {
		row := s.store.windows[key]
		if moving[key] && key.grain != schemas.GrainHour {
			continue
		}
		want := asOf(max(position, row.gen))[key]
		if !same(row.by, want) {
			s.fail("%s of %s at %s, generation %d, position %d: %q, the oracle counts %q", key.grain, key.tenant,
				time.Unix(key.start, 0).UTC().Format(time.RFC3339), row.gen, position, textOf(row.by), textOf(want))
			return
		}
	}
	for key, row := range s.store.windows {
		if row.gen > position && key.grain == schemas.GrainHour && !same(row.by, asOf(row.gen)[key]) {
			s.fail("hour of %s ahead of the position, generation %d: %q, the oracle counts %q", key.tenant, row.gen,
				textOf(row.by), textOf(asOf(row.gen)[key]))
			return
		}
		if !slices.Contains(tenants, key.tenant) {
			s.fail("there is a window of a tenant %q that nobody is", key.tenant)
		}
	}
}

// lookAtHistory holds the clients' history against the log: what was answered ok is
// on it, what was refused is not.
func (s *sim) lookAtHistory() {
	for _, f := range s.asked {
		switch h := s.history[f]; {
		case h.ok && !s.oracle.onLog[f]:
			s.fail("event %s of %s was acknowledged and is not on the log: %+v", f.id, f.tenant, f)
		case !h.ok && !h.unknown && s.oracle.onLog[f]:
			s.fail("event %s of %s was refused and is on the log: %+v", f.id, f.tenant, f)
		}
	}
}

// lookAtTheEnd: everything rests, and everything has arrived everywhere.
func (s *sim) lookAtTheEnd() {
	s.oracle.read()
	s.look()
	if s.violation != "" {
		return
	}
	s.lookAtHistory()
	for at, why := range s.oracle.rejects {
		have, ok := s.store.rejects[at]
		if !ok || why != "" && have != why {
			s.fail("message %d index %d: refused as %q, the oracle says %q", at.seq, at.idx, have, why)
		}
	}
	for at, why := range s.store.rejects {
		if _, ok := s.oracle.rejects[at]; !ok {
			s.fail("message %d index %d was refused as %q, and nothing is wrong with it", at.seq, at.idx, why)
		}
	}
	end := s.log.last()
	if head, rolled := s.store.head().To, s.store.jobPosition("rollup").Position; head != end || rolled != end {
		s.fail("at rest the log ends at %d, the ledger at %d, the rollups at %d", end, head, rolled)
	}
	want := s.oracle.windows(end)
	for key := range want {
		if have := s.store.windows[key].by; !same(have, want[key]) {
			s.fail("at rest %s of %s is %q, the oracle counts %q", key.grain, key.tenant, textOf(have), textOf(want[key]))
		}
	}
	writers := map[string]bool{}
	for _, r := range s.store.ledger {
		writers[s.writerOf[r.Lease]] = true
	}
	if len(writers) > 1 {
		s.rare("two nodes wrote in turn")
	}
	s.trace("end %d %s", end, fmt.Sprint(len(s.oracle.rows)))
}

// sortedKeys is for loops whose order shows.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
