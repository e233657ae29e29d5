package simulation

import (
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// storeOptions make a store that is worse than the one the product asks for. All
// zero is the real one.
type storeOptions struct {
	// lazy: what is acknowledged is synced this much later, and lost by a crash
	// before.
	lazy time.Duration
	// dedupe: a block that was seen before is acknowledged and left out, and it
	// counts as seen before it is stored.
	dedupe bool
}

// A place is where an event is in the log.
type place struct {
	seq uint64
	idx uint16
}

// An identity is what the product's table of events is ordered by: copies of one
// collapse when it is read.
type identity struct {
	tenant string
	hour   int64
	source string
	id     string
}

type windowKey struct {
	tenant string
	grain  schemas.Grain
	start  int64 // Unix seconds
}

// A windowRow is one generation of a window with its breakdown by department.
type windowRow struct {
	gen uint64
	by  map[string]*sums
}

// storeStandIn is the warehouse. Only the scheduler touches it. It keeps what
// ClickHouse's engines keep: every insert for ever, and collapses when it reads.
type storeStandIn struct {
	s       *sim
	options storeOptions

	raw     map[identity]schemas.Accepted // the earliest in the log of each
	order   []identity                    // as they came
	written map[[3]string]schemas.Accepted
	keys    map[ingest.Key][]ingest.KeyRow
	keyList []ingest.Key
	ledger  []ingest.LedgerRow
	rejects map[place]string
	windows map[windowKey]windowRow
	jobRuns []rollup.Run

	// journal is what lazy writes did, to do it again without the lost ones.
	journal []journalEntry
	seen    map[uint64]bool // of dedupe
}

type journalEntry struct {
	at    time.Time
	write func()
}

func newStore(s *sim, options storeOptions) *storeStandIn {
	w := &storeStandIn{s: s, options: options, seen: map[uint64]bool{}}
	w.clear()
	return w
}

func (w *storeStandIn) clear() {
	w.raw, w.order, w.written = map[identity]schemas.Accepted{}, nil, map[[3]string]schemas.Accepted{}
	w.keys, w.keyList, w.ledger = map[ingest.Key][]ingest.KeyRow{}, nil, nil
	w.rejects, w.windows, w.jobRuns = map[place]string{}, map[windowKey]windowRow{}, nil
}

// do makes a write happen, and remembers it where a crash may undo it.
func (w *storeStandIn) do(write func()) {
	if w.options.lazy > 0 {
		w.journal = append(w.journal, journalEntry{time.Now(), write})
	}
	write()
}

// crash loses what was not synced: with the real options nothing.
func (w *storeStandIn) crash() {
	w.s.rare("the warehouse crashed")
	if w.options.lazy == 0 {
		return
	}
	// Of what was not synced some is lost and some is there: each table and part
	// has files of its own.
	synced := time.Now().Add(-w.options.lazy)
	n := 0
	w.journal = slices.DeleteFunc(w.journal, func(e journalEntry) bool {
		n++
		return e.at.After(synced) && w.s.hash("unsynced", fmt.Sprint(w.s.steps, n))%2 == 0
	})
	w.clear()
	for _, e := range w.journal {
		e.write()
	}
}

// duplicateBlock is insert deduplication: whether a block was seen before. The
// record is made before the block is stored.
func (w *storeStandIn) duplicateBlock(block any) bool {
	if !w.options.dedupe {
		return false
	}
	h := w.s.hash(fmt.Sprintf("%+v", block))
	defer func() { w.seen[h] = true }()
	return w.seen[h]
}

func hourOf(millis int64) int64 { return millis / 3_600_000 }

// addRows stores rows. Two rows of one identity must be exact copies.
func (w *storeStandIn) addRows(rows []schemas.Accepted) {
	for _, r := range rows {
		name := [3]string{r.Tenant, r.Event.Source, r.Event.ID}
		if first, ok := w.written[name]; ok && !reflect.DeepEqual(first, r) {
			w.s.fail("event %s of %s was written twice, differently:\n  %+v\n  %+v", r.Event.ID, r.Tenant, first, r)
		}
		w.written[name] = r
		id := identity{r.Tenant, hourOf(r.Event.Time), r.Event.Source, r.Event.ID}
		first, again := w.raw[id]
		if !again {
			w.order = append(w.order, id)
		}
		if !again || r.Seq <= first.Seq {
			w.raw[id] = r
		}
	}
}

// each calls f for every event up to a position as FINAL shows it.
func (w *storeStandIn) each(position uint64, f func(r *schemas.Accepted)) {
	for _, id := range w.order {
		if r := w.raw[id]; r.Seq <= position {
			f(&r)
		}
	}
}

func (w *storeStandIn) addKeys(keys []ingest.NewKey) {
	for _, k := range keys {
		if _, ok := w.keys[k.Key]; !ok {
			w.keyList = append(w.keyList, k.Key)
		}
		w.keys[k.Key] = append(w.keys[k.Key], k.KeyRow)
	}
}

// head is the newest ledger row's end.
func (w *storeStandIn) head() (h ingest.Head) {
	for _, r := range w.ledger {
		if r.To > h.To {
			h.To, h.Epoch, h.PriceRevision = r.To, r.Epoch, r.PriceRevision
		}
		if r.CommittedAt.After(h.CommittedAt) {
			h.CommittedAt = r.CommittedAt
		}
	}
	h.Keys = uint64(len(w.keyList))
	return h
}

// ranges is the ledger as FINAL shows it: of the rows that begin at one place the
// one that reaches furthest, the newest of equals.
func (w *storeStandIn) ranges() []ingest.LedgerRow {
	final := map[uint64]ingest.LedgerRow{}
	for _, r := range w.ledger {
		if old, ok := final[r.From]; !ok || r.To >= old.To {
			final[r.From] = r
		}
	}
	var rows []ingest.LedgerRow
	for _, from := range slices.Sorted(maps.Keys(final)) {
		rows = append(rows, final[from])
	}
	return rows
}

// jobPosition is the highest position of a job's runs that ended well, and when the
// newest ended.
func (w *storeStandIn) jobPosition(job string) (at rollup.Reached) {
	for _, r := range w.jobRuns {
		if r.Job != job || r.Outcome != rollup.OutcomeOK {
			continue
		}
		at.Position = max(at.Position, r.Position)
		if r.Finished.After(at.Finished) {
			at.Finished = r.Finished
		}
	}
	return at
}

// addWindow stores a generation of a window; the highest is read.
func (w *storeStandIn) addWindow(key windowKey, row windowRow) {
	old, ok := w.windows[key]
	if ok && row.gen < old.gen {
		w.s.rare("a window was written with an older generation")
		return
	}
	w.windows[key] = row
}

// recompute is what the statements for hours, days and months do.
func (w *storeStandIn) recompute(b *rollup.Batch, after, position uint64) {
	wanted := map[windowKey]bool{}
	for _, r := range w.ledger {
		if r.From <= after || r.From > position {
			continue
		}
		for i, tenant := range r.DirtyTenants {
			start := startOf(b.Grain, r.DirtyHours[i].Unix())
			if start < b.From.Unix() || start >= b.To.Unix() || beforePair(tenant, start, b.First) || afterPair(tenant, start, b.Last) {
				continue
			}
			wanted[windowKey{tenant, b.Grain, start}] = true
		}
	}
	found := map[windowKey]windowRow{}
	row := func(key windowKey) windowRow {
		if _, ok := found[key]; !ok {
			found[key] = windowRow{gen: position, by: map[string]*sums{}}
		}
		return found[key]
	}
	if b.Grain == schemas.GrainHour {
		w.each(position, func(r *schemas.Accepted) {
			key := windowKey{r.Tenant, b.Grain, startOf(b.Grain, r.Event.Time/1000)}
			if wanted[key] {
				sumOf(row(key).by, r.Event.Department).addRow(r)
			}
		})
	} else {
		finer := schemas.GrainHour
		if b.Grain == schemas.GrainMonth {
			finer = schemas.GrainDay
		}
		for from, fine := range w.windows {
			key := windowKey{from.tenant, b.Grain, startOf(b.Grain, from.start)}
			if from.grain != finer || !wanted[key] {
				continue
			}
			into := row(key)
			for dept, part := range fine.by {
				sumOf(into.by, dept).add(part)
			}
		}
	}
	for key, row := range found {
		w.addWindow(key, row)
	}
}

func beforePair(tenant string, start int64, p rollup.DirtyHour) bool {
	return tenant < p.Tenant || tenant == p.Tenant && start < p.Start
}

func afterPair(tenant string, start int64, p rollup.DirtyHour) bool {
	return tenant > p.Tenant || tenant == p.Tenant && start > p.Start
}

// startOf is the start of the window that holds a moment, by plain arithmetic.
func startOf(grain schemas.Grain, unix int64) int64 {
	day := unix - unix%86_400
	switch grain {
	case schemas.GrainHour:
		return unix - unix%3_600
	case schemas.GrainDay:
		return day
	}
	return day - int64(time.Unix(unix, 0).UTC().Day()-1)*86_400
}

// sums are what usage is added up to, with money in big integers.
type sums struct {
	calls, errors, unpriced, latency, in, out int64
	cost                                      big.Int // pico-USD
}

func sumOf(by map[string]*sums, dept string) *sums {
	s, ok := by[dept]
	if !ok {
		s = &sums{}
		by[dept] = s
	}
	return s
}

func (s *sums) add(o *sums) {
	s.calls, s.errors, s.unpriced = s.calls+o.calls, s.errors+o.errors, s.unpriced+o.unpriced
	s.latency, s.in, s.out = s.latency+o.latency, s.in+o.in, s.out+o.out
	s.cost.Add(&s.cost, &o.cost)
}

// addRow adds a stored row as the statements do.
func (s *sums) addRow(r *schemas.Accepted) {
	calls := int64(r.Calls)
	s.calls += calls
	if r.Event.Status == "error" {
		s.errors += calls
	}
	s.latency += calls * r.Event.LatencyMS
	s.in += r.Event.Tokens[schemas.Input]
	s.out += r.Event.Tokens[schemas.Output]
	if r.Priced {
		s.cost.Add(&s.cost, r.Cost.Big())
	} else {
		s.unpriced += calls
	}
}

func (s *sums) text() string {
	return fmt.Sprintf("calls %d errors %d unpriced %d latency %d in %d out %d cost %s",
		s.calls, s.errors, s.unpriced, s.latency, s.in, s.out, s.cost.String())
}

func (s *sums) equal(o *sums) bool {
	return s.calls == o.calls && s.errors == o.errors && s.unpriced == o.unpriced && s.latency == o.latency &&
		s.in == o.in && s.out == o.out && s.cost.Cmp(&o.cost) == 0
}

func (s *sums) zero() bool { return s.equal(&sums{}) }

// same compares breakdowns; what is all zero does not count.
func same(a, b map[string]*sums) bool {
	covers := func(a, b map[string]*sums) bool {
		for dept, part := range a {
			other, ok := b[dept]
			if ok && !part.equal(other) || !ok && !part.zero() {
				return false
			}
		}
		return true
	}
	return covers(a, b) && covers(b, a)
}

// textOf writes a breakdown down, without what is all zero.
func textOf(by map[string]*sums) string {
	text := ""
	for _, dept := range slices.Sorted(maps.Keys(by)) {
		if !by[dept].zero() {
			text += dept + ": " + by[dept].text() + "; "
		}
	}
	return text
}

func totalOf(by map[string]*sums) *sums {
	total := &sums{}
	for _, part := range by {
		total.add(part)
	}
	return total
}
