package aggregate

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// FoldLimits bound the memory of a Fold.
type FoldLimits struct {
	// CombosPerTenantMax is how many combinations of names one tenant may have
	// in the kept windows; 50,000 is 25 MB, and far above what people can read.
	CombosPerTenantMax int
	// CombosMax is the same over all tenants: 2,000,000 is about 1 GB.
	CombosMax int
	// LevelsPerTenantMax bounds the names of levels; the product has three.
	LevelsPerTenantMax int
	// NamesPerTenantMax is how many departments, agents and cost centers together,
	// in the kept windows, have a cost of their own to hold against a budget: 5,000
	// is ten times the agents of the product's largest tenants, and 400 kB.
	NamesPerTenantMax int
}

// DefaultFoldLimits returns the limits the fields of FoldLimits give reasons for.
func DefaultFoldLimits() FoldLimits {
	return FoldLimits{CombosPerTenantMax: 50_000, CombosMax: 2_000_000, LevelsPerTenantMax: 64, NamesPerTenantMax: 5_000}
}

// Keep says which windows a Fold holds: months that begin at MonthsFrom or
// later, and days that begin at DaysFrom or later. The zero Keep holds all.
type Keep struct{ MonthsFrom, DaysFrom time.Time }

// KeepAt returns what live totals hold at a moment: the current and the
// previous month, today and yesterday, in UTC.
func KeepAt(now time.Time) Keep {
	return Keep{
		MonthsFrom: schemas.WindowOf(schemas.GrainMonth, now).Start.AddDate(0, -1, 0),
		DaysFrom:   schemas.WindowOf(schemas.GrainDay, now).Start.AddDate(0, 0, -1),
	}
}

// otherName names the group that takes the combinations beyond a limit.
const otherName = "(other)"

// A Fold is the running totals of accepted events. It holds months and days; an
// event counts in the windows its own time lies in. Beyond a limit on
// combinations it keeps exact totals and puts the surplus into one group, and
// Exact reports false for the window.
//
// A Fold is not safe for concurrent use; see Live.
type Fold struct {
	limits   FoldLimits
	keep     Keep
	position uint64

	tenants map[string]*tenantFold
	last    *tenantFold // the tenant of the row before; rows come in runs
	lastKey string
	combos  int

	ids   map[string]uint32 // names to their place in names
	names []string

	month, day span // the windows of the row before
	monthsFrom int32
	daysFrom   int32
}

// span is a window in Unix milliseconds with its key; see windowKey.
type span struct {
	from, to int64
	key      int32
}

type combo [dimensionCount]uint32

type tenantFold struct {
	index   map[combo]uint32 // to the place in combos and in every cells
	combos  []combo
	windows []windowFold
	levels  []Level
	// spentNames are the names whose cost is kept apart; see foldspent.go.
	spentNames spentNames
}

type windowFold struct {
	grain schemas.Grain
	key   int32
	// collapsed: at least one row went to otherName.
	collapsed bool
	total     Totals
	// cells has an entry per combo of the tenant, and may be shorter.
	cells []Totals
	// spent has the cost per place of the tenant's spentNames, and may be shorter. namesBeyond: at least one name has no place.
	spent       []schemas.Money
	namesBeyond bool
}

// A Level is the newest known value of something that is measured and not
// summed, such as storage.
type Level struct {
	Name  string
	Value int64
	// Time is when it was measured, in Unix milliseconds; Seq and Idx the place
	// of the sample in the log, which decides between equal times.
	Time int64
	Seq  uint64
	Idx  uint16
}

// NewFold returns an empty Fold at position 0.
func NewFold(limits FoldLimits, keep Keep) *Fold {
	f := &Fold{limits: limits, tenants: map[string]*tenantFold{}, ids: map[string]uint32{}}
	f.setKeep(keep)
	return f
}

func (f *Fold) setKeep(keep Keep) {
	f.keep, f.monthsFrom, f.daysFrom = keep, math.MinInt32, math.MinInt32
	if !keep.MonthsFrom.IsZero() {
		f.monthsFrom = windowKey(schemas.GrainMonth, keep.MonthsFrom)
	}
	if !keep.DaysFrom.IsZero() {
		f.daysFrom = windowKey(schemas.GrainDay, keep.DaysFrom)
	}
}

// windowKey numbers the months and the days.
func windowKey(grain schemas.Grain, t time.Time) int32 {
	t = t.UTC()
	if grain == schemas.GrainMonth {
		return int32(t.Year()*12 + int(t.Month()) - 1)
	}
	const secondsPerDay = 24 * 60 * 60
	return int32(t.Unix() / secondsPerDay)
}

// Position returns the ledger position the totals are as of.
func (f *Fold) Position() uint64 { return f.position }

// Apply adds rows to the totals and moves to position, the to_seq of the ledger
// row that commits them. Rows at or below the position the fold already has are
// ignored: a commit reported twice counts once. It returns how many rows were
// added, and panics when a row lies beyond position, because the row would
// then be counted again with its own commit.
func (f *Fold) Apply(rows []schemas.Accepted, position uint64) int {
	added := 0
	for i := range rows {
		if f.applyRow(&rows[i], position) {
			added++
		}
	}
	f.position = max(f.position, position)
	return added
}

func (f *Fold) applyRow(a *schemas.Accepted, position uint64) bool {
	if a.Seq <= f.position {
		return false
	}
	if a.Seq > position {
		panic(fmt.Sprintf("fold: a row of message %d came with position %d", a.Seq, position))
	}
	f.enter(a.Event.Time)
	keepMonth, keepDay := f.month.key >= f.monthsFrom, f.day.key >= f.daysFrom
	if !keepMonth && !keepDay {
		return true
	}
	tenant := f.tenant(a.Tenant)
	if a.Event.Type == schemas.TypeResourceSample && keepMonth {
		f.applyLevels(tenant, a)
	}
	t := totalsOf(a)
	names := comboNames(&a.Event)
	slot, collapsed := f.slot(tenant, names)
	if keepMonth {
		w := tenant.window(schemas.GrainMonth, f.month.key)
		w.add(slot, collapsed, &t)
		f.spent(tenant, w, slot, collapsed, &names, t.Cost)
	}
	if keepDay {
		w := tenant.window(schemas.GrainDay, f.day.key)
		w.add(slot, collapsed, &t)
		f.spent(tenant, w, slot, collapsed, &names, t.Cost)
	}
	return true
}

// enter moves month and day to those of a time in Unix milliseconds.
func (f *Fold) enter(at int64) {
	if at >= f.day.from && at < f.day.to {
		return
	}
	t := time.UnixMilli(at)
	f.day = spanOf(schemas.GrainDay, t)
	f.month = spanOf(schemas.GrainMonth, t)
}

func spanOf(grain schemas.Grain, t time.Time) span {
	w := schemas.WindowOf(grain, t)
	return span{from: w.Start.UnixMilli(), to: w.End().UnixMilli(), key: windowKey(grain, w.Start)}
}

func comboNames(e *schemas.Event) [dimensionCount]string {
	return [dimensionCount]string{e.Provider, e.Model, e.Department, e.CostCenter, e.Agent}
}

func (f *Fold) tenant(name string) *tenantFold {
	if f.last != nil && f.lastKey == name {
		return f.last
	}
	t, ok := f.tenants[name]
	if !ok {
		// Cloned, as in intern: a name may be a slice of a whole request body.
		name = strings.Clone(name)
		t = &tenantFold{index: map[combo]uint32{}}
		f.tenants[name] = t
	}
	f.last, f.lastKey = t, name
	return t
}

// slot returns the place of a combination, and whether it had to share the one
// of otherName.
func (f *Fold) slot(t *tenantFold, names [dimensionCount]string) (uint32, bool) {
	var c combo
	known := true
	for i, name := range names {
		id, ok := f.ids[name]
		if !ok {
			known = false
			break
		}
		c[i] = id
	}
	if known {
		if slot, ok := t.index[c]; ok {
			return slot, false
		}
	}
	collapsed := len(t.combos) >= f.limits.CombosPerTenantMax || f.combos >= f.limits.CombosMax
	if collapsed {
		names = [dimensionCount]string{otherName, otherName, otherName, otherName, otherName}
	}
	for i, name := range names {
		c[i] = f.intern(name)
	}
	if slot, ok := t.index[c]; ok {
		return slot, collapsed
	}
	slot := uint32(len(t.combos))
	t.combos = append(t.combos, c)
	t.index[c] = slot
	t.spentNames.slots = append(t.spentNames.slots, f.placesOf(t, &names))
	f.combos++
	return slot, collapsed
}

func (f *Fold) intern(name string) uint32 {
	if id, ok := f.ids[name]; ok {
		return id
	}
	name = strings.Clone(name)
	id := uint32(len(f.names))
	f.names = append(f.names, name)
	f.ids[name] = id
	return id
}

func (t *tenantFold) find(grain schemas.Grain, key int32) *windowFold {
	for i := len(t.windows) - 1; i >= 0; i-- {
		if w := &t.windows[i]; w.key == key && w.grain == grain {
			return w
		}
	}
	return nil
}

func (t *tenantFold) window(grain schemas.Grain, key int32) *windowFold {
	if w := t.find(grain, key); w != nil {
		return w
	}
	t.windows = append(t.windows, windowFold{grain: grain, key: key})
	return &t.windows[len(t.windows)-1]
}

func (w *windowFold) add(slot uint32, collapsed bool, t *Totals) {
	if int(slot) >= len(w.cells) {
		w.grow(int(slot) + 1)
	}
	w.cells[slot].Add(t)
	w.total.Add(t)
	w.collapsed = w.collapsed || collapsed
}

// grow makes room for n cells. The usual doubling would waste half the memory
// of a fold with many small tenants.
func (w *windowFold) grow(n int) {
	if n > cap(w.cells) {
		cells := make([]Totals, len(w.cells), n+n/4)
		copy(cells, w.cells)
		w.cells = cells
	}
	w.cells = w.cells[:n]
}

func (f *Fold) applyLevels(t *tenantFold, a *schemas.Accepted) {
	for _, u := range a.Event.Units {
		t.setLevel(Level{Name: u.Name, Value: u.Count, Time: a.Event.Time, Seq: a.Seq, Idx: a.Idx}, f.limits.LevelsPerTenantMax)
	}
}

// setLevel replaces the level of the same name by a newer one. With the limit
// reached, a new name replaces the level that was measured longest ago.
func (t *tenantFold) setLevel(l Level, levelsMax int) {
	place := slices.IndexFunc(t.levels, func(o Level) bool { return o.Name == l.Name })
	if place < 0 && len(t.levels) < levelsMax {
		t.levels = append(t.levels, l)
		return
	}
	if place < 0 {
		place = 0
		for i := range t.levels {
			if t.levels[i].before(&t.levels[place]) {
				place = i
			}
		}
	}
	if t.levels[place].before(&l) {
		t.levels[place] = l
	}
}

func (l *Level) before(o *Level) bool {
	switch {
	case l.Time != o.Time:
		return l.Time < o.Time
	case l.Seq != o.Seq:
		return l.Seq < o.Seq
	}
	return l.Idx < o.Idx
}

// load puts a sum that was computed elsewhere into a window; names are in the
// order of schemas.Dimensions.
func (f *Fold) load(tenant string, names [dimensionCount]string, w schemas.Window, t *Totals) {
	if !f.Keeps(w) {
		return
	}
	tf := f.tenant(tenant)
	slot, collapsed := f.slot(tf, names)
	window := tf.window(w.Grain, windowKey(w.Grain, w.Start))
	window.add(slot, collapsed, t)
	f.spent(tf, window, slot, collapsed, &names, t.Cost)
}
