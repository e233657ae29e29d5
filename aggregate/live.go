package aggregate

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/schemas"
)

// A Position says up to where in the log an answer counts.
type Position struct {
	// Seq is the last stream sequence that is counted.
	Seq uint64
	// Time is when that became so; zero if nothing is counted yet.
	Time time.Time
}

// LiveConfig is what Live needs to know.
type LiveConfig struct {
	// Shard is the ledger's shard; the embedded system has shard 0 alone.
	Shard uint32
	// Limits bound the memory; the zero value takes DefaultFoldLimits.
	Limits FoldLimits
	// Now is the clock that decides which windows are current; time.Now.
	Now func() time.Time
}

// liveShards is how many parts the totals are split into by tenant. A reader
// waits at most for the rows of one part of one batch, about a hundredth of it.
const liveShards = 64

// Live is the running totals of all tenants, read by many while the writer feeds
// them. A read sees a tenant as of exactly one commit.
type Live struct {
	cfg   LiveConfig
	store LiveStore
	seed  maphash.Seed
	// feed is held by Apply and by Rebuild, so that commits wait for a rebuild
	// under way and are then judged by its position.
	feed   sync.Mutex
	order  [liveShards][]int32 // rows of a batch by part; owned by the holder of feed
	ready  atomic.Bool
	shards [liveShards]liveShard

	mu       sync.Mutex
	position Position
	moved    chan struct{} // closed when position moves or stopped is set, and then replaced
	stopped  error         // why nothing comes any more; nil while something may
}

type liveShard struct {
	mu   sync.RWMutex
	fold *Fold
	asOf Position
}

// NewLive returns a Live that is not ready before its first Rebuild.
func NewLive(cfg LiveConfig, store LiveStore) *Live {
	if cfg.Limits == (FoldLimits{}) {
		cfg.Limits = DefaultFoldLimits()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Live{cfg: cfg, store: store, seed: maphash.MakeSeed(), moved: make(chan struct{})}
	for i := range l.shards {
		l.shards[i].fold = l.newFold(cfg.Now())
	}
	return l
}

func (l *Live) newFold(now time.Time) *Fold {
	limits := l.cfg.Limits
	limits.CombosMax = max(1, limits.CombosMax/liveShards)
	// One tenant may use its own limit, whatever its part of the whole.
	limits.CombosMax = max(limits.CombosMax, limits.CombosPerTenantMax)
	return NewFold(limits, KeepAt(now))
}

func (l *Live) place(tenant string) int {
	return int(maphash.String(l.seed, tenant) % liveShards)
}

// Apply counts the rows of one commit; position is its to_seq. It is what the
// writer calls after the ledger row is written. A commit that is reported twice
// counts once. Before the first Rebuild it does nothing: the rebuild will read
// the commit from the warehouse. rows are not kept.
func (l *Live) Apply(rows []schemas.Accepted, position uint64) {
	l.feed.Lock()
	defer l.feed.Unlock()
	if l.ready.Load() {
		l.apply(rows, position)
	}
}

// apply is Apply for who holds feed.
func (l *Live) apply(rows []schemas.Accepted, position uint64) {
	for i := range l.order {
		l.order[i] = l.order[i][:0]
	}
	for i := range rows {
		p := l.place(rows[i].Tenant)
		l.order[p] = append(l.order[p], int32(i))
	}
	asOf := Position{Seq: position, Time: l.cfg.Now()}
	keep := KeepAt(asOf.Time)
	for p := range l.shards {
		l.shards[p].apply(rows, l.order[p], asOf, keep)
	}
	l.moveTo(asOf)
}

func (s *liveShard) apply(rows []schemas.Accepted, order []int32, asOf Position, keep Keep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fold.Advance(keep)
	if asOf.Seq <= s.fold.position {
		return
	}
	for _, i := range order {
		// A commit may begin before the position, where Follow has read a part of it
		// as of another writer's.
		if rows[i].Seq <= s.fold.position {
			continue
		}
		s.fold.applyRow(&rows[i], asOf.Seq)
	}
	s.fold.position, s.asOf = asOf.Seq, asOf
}

func (l *Live) moveTo(asOf Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asOf.Seq > l.position.Seq || l.position.Time.IsZero() {
		l.position = asOf
		close(l.moved)
		l.moved = make(chan struct{})
	}
}

// Ready reports whether a Rebuild has succeeded.
func (l *Live) Ready() bool { return l.ready.Load() }

// Position returns up to where all tenants are counted.
func (l *Live) Position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position
}

// Stop tells whoever waits that no commit will come for now, and why; with nil,
// that commits may come again.
func (l *Live) Stop(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = why
	close(l.moved)
	l.moved = make(chan struct{})
}

// WaitFor returns when the totals cover seq, or with the context's error, or with
// the one given to Stop.
func (l *Live) WaitFor(ctx context.Context, seq uint64) error {
	for {
		l.mu.Lock()
		at, moved, stopped := l.position, l.moved, l.stopped
		l.mu.Unlock()
		if l.Ready() && at.Seq >= seq {
			return nil
		}
		if stopped != nil {
			return fmt.Errorf("wait for live totals at %d, now %d: %w", seq, at.Seq, stopped)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for live totals at %d, now %d: %w", seq, at.Seq, ctx.Err())
		}
	}
}

// read calls view with a tenant's fold, locked for reading. It reports false
// when live totals are not ready.
func (l *Live) read(tenant string, view func(f *Fold, asOf Position)) bool {
	if !l.Ready() {
		return false
	}
	s := &l.shards[l.place(tenant)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	view(s.fold, s.asOf)
	return true
}

// Totals returns a tenant's sums in a window and what they are as of. It reports
// false when live totals are not ready or do not hold the window; the rollups
// then have it.
func (l *Live) Totals(tenant string, w schemas.Window) (Totals, Position, bool) {
	var totals Totals
	var asOf Position
	kept := false
	ready := l.read(tenant, func(f *Fold, at Position) {
		if kept = f.Keeps(w); kept {
			totals, asOf = f.Totals(tenant, w), at
		}
	})
	return totals, asOf, ready && kept
}

// Groups is Totals with a breakdown. It also reports false when the window has
// more combinations than the fold keeps apart.
func (l *Live) Groups(tenant string, w schemas.Window, by []schemas.Dimension) ([]Group, Totals, Position, bool) {
	var groups []Group
	var totals Totals
	var asOf Position
	held := false
	ready := l.read(tenant, func(f *Fold, at Position) {
		held = f.Keeps(w) && (len(by) == 0 || f.Exact(tenant, w))
		if held {
			groups, totals = f.Groups(tenant, w, by)
			asOf = at
		}
	})
	return groups, totals, asOf, ready && held
}

// Levels returns a tenant's newest levels. It reports false when live totals are
// not ready.
func (l *Live) Levels(tenant string) ([]Level, Position, bool) {
	var levels []Level
	var asOf Position
	ready := l.read(tenant, func(f *Fold, at Position) { levels, asOf = f.Levels(tenant), at })
	return levels, asOf, ready
}

// Decide judges a request of a tenant by its usage in a month, all as of one
// commit. calls are the API calls that count against the present minute. It looks
// at no store and allocates nothing.
//
// Errors match schemas.ErrUnavailable: live totals are not ready or do not hold
// the month, or the cost of a name with a budget is not known because the tenant
// uses more names than FoldLimits.NamesPerTenantMax. A decision on less would be a
// guess.
func (l *Live) Decide(tenant string, month schemas.Window, limits *Limits, calls int64, ask *Request) (Decision, Position, error) {
	usage := Usage{Calls: calls}
	var asOf Position
	kept, known := false, true
	ready := l.read(tenant, func(f *Fold, at Position) {
		if kept = f.Keeps(month); kept {
			asOf = at
			known = f.usage(tenant, month, limits, ask, &usage)
		}
	})
	switch {
	case !ready || !kept:
		return Decision{}, asOf, fmt.Errorf("decide for %s: live totals do not hold %s: %w", tenant, month, schemas.ErrUnavailable)
	case !known:
		return Decision{}, asOf, fmt.Errorf("decide for %s: it uses more than %d departments, agents and cost centers, and the cost of this one is not kept apart: %w",
			tenant, l.cfg.Limits.NamesPerTenantMax, schemas.ErrUnavailable)
	}
	return Decide(limits, &usage, ask), asOf, nil
}

// Tenants returns the tenants with usage or levels in the kept windows, in no
// order.
func (l *Live) Tenants() []string {
	var names []string
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.RLock()
		names = append(names, s.fold.Tenants()...)
		s.mu.RUnlock()
	}
	return names
}

// Size returns what the totals hold, over all tenants. Names that tenants share
// are counted once per part.
func (l *Live) Size() FoldSize {
	var sum FoldSize
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.RLock()
		size := s.fold.Size()
		s.mu.RUnlock()
		sum.Tenants += size.Tenants
		sum.Combos += size.Combos
		sum.Names += size.Names
		sum.Cells += size.Cells
	}
	return sum
}

// Rebuild reads the totals from usage_raw as of the ledger's position and puts
// them in place of the present ones. Commits that arrive meanwhile wait. After
// an error the totals are what they were. Call it before the writer starts, and
// again only to mend a doubt.
func (l *Live) Rebuild(ctx context.Context) error {
	l.feed.Lock()
	defer l.feed.Unlock()
	return l.rebuild(ctx)
}

// rebuild is Rebuild for who holds feed.
func (l *Live) rebuild(ctx context.Context) error {
	asOf, err := l.store.Position(ctx, l.cfg.Shard)
	if err != nil {
		return err
	}
	now := l.cfg.Now()
	var folds [liveShards]*Fold
	for i := range folds {
		folds[i] = l.newFold(now)
	}
	keep := KeepAt(now)
	if err := l.loadTotals(ctx, &folds, keep, asOf.Seq); err != nil {
		return err
	}
	if err := l.loadLevels(ctx, &folds, keep, asOf.Seq); err != nil {
		return err
	}
	for i := range l.shards {
		s := &l.shards[i]
		folds[i].position = asOf.Seq
		s.mu.Lock()
		s.fold, s.asOf = folds[i], asOf
		s.mu.Unlock()
	}
	l.ready.Store(true)
	l.moveTo(asOf)
	failpoint.Hit(failpoint.LiveRebuilt)
	return nil
}

func (l *Live) loadTotals(ctx context.Context, folds *[liveShards]*Fold, keep Keep, position uint64) error {
	return l.store.Totals(ctx, keep, position, func(r *LiveRow) {
		fold := folds[l.place(r.Tenant)]
		fold.load(r.Tenant, r.Names, schemas.WindowOf(schemas.GrainMonth, r.Month), &r.Totals)
		if !r.Day.IsZero() {
			fold.load(r.Tenant, r.Names, schemas.WindowOf(schemas.GrainDay, r.Day), &r.Totals)
		}
	})
}

func (l *Live) loadLevels(ctx context.Context, folds *[liveShards]*Fold, keep Keep, position uint64) error {
	return l.store.Levels(ctx, keep, position, func(tenant string, level Level) {
		fold := folds[l.place(tenant)]
		fold.tenant(tenant).setLevel(level, fold.limits.LevelsPerTenantMax)
	})
}
