package aggregate

import (
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// Keeps reports whether the fold holds the window, with or without usage in it.
// It never holds hours.
func (f *Fold) Keeps(w schemas.Window) bool {
	switch w.Grain {
	case schemas.GrainMonth:
		return windowKey(w.Grain, w.Start) >= f.monthsFrom
	case schemas.GrainDay:
		return windowKey(w.Grain, w.Start) >= f.daysFrom
	}
	return false
}

func (f *Fold) find(tenant string, w schemas.Window) (*tenantFold, *windowFold) {
	t, ok := f.tenants[tenant]
	if !ok {
		return nil, nil
	}
	return t, t.find(w.Grain, windowKey(w.Grain, w.Start))
}

// Totals returns the sums of a tenant's window; zero when there was no usage.
// It costs the same whatever the tenant's size.
func (f *Fold) Totals(tenant string, w schemas.Window) Totals {
	if _, window := f.find(tenant, w); window != nil {
		return window.total
	}
	return Totals{}
}

// Exact reports whether every combination in the window has a group of its own.
// If not, Groups puts some of them under "(other)".
func (f *Fold) Exact(tenant string, w schemas.Window) bool {
	_, window := f.find(tenant, w)
	return window == nil || !window.collapsed
}

// Groups returns a tenant's window broken down by dimensions, the most
// expensive group first, and the sums of the window. Without dimensions there
// are no groups. It panics on a dimension that is unknown.
func (f *Fold) Groups(tenant string, w schemas.Window, by []schemas.Dimension) ([]Group, Totals) {
	t, window := f.find(tenant, w)
	if window == nil {
		return nil, Totals{}
	}
	if len(by) == 0 {
		return nil, window.total
	}
	places := make([]int, len(by))
	for i, d := range by {
		place, ok := dimensionIndex(d)
		if !ok {
			panic("fold: " + string(d) + " is not a dimension")
		}
		places[i] = place
	}
	sums := map[combo]*Totals{}
	for slot := range window.cells {
		cell := &window.cells[slot]
		if cell.IsZero() {
			continue
		}
		var key combo
		for _, place := range places {
			key[place] = t.combos[slot][place]
		}
		sum, ok := sums[key]
		if !ok {
			sum = &Totals{}
			sums[key] = sum
		}
		sum.Add(cell)
	}
	groups := make([]Group, 0, len(sums))
	for key, sum := range sums {
		if sum.IsZero() {
			continue
		}
		names := make([]string, len(places))
		for i, place := range places {
			names[i] = f.names[key[place]]
		}
		groups = append(groups, Group{Names: names, Totals: *sum})
	}
	sortGroups(groups)
	return groups, window.total
}

// Levels returns the newest known level of every name the tenant has reported
// within the kept months, sorted by name.
func (f *Fold) Levels(tenant string) []Level {
	t, ok := f.tenants[tenant]
	if !ok {
		return nil
	}
	levels := slices.Clone(t.levels)
	slices.SortFunc(levels, func(a, b Level) int { return strings.Compare(a.Name, b.Name) })
	return levels
}

// Tenants returns the tenants that have usage or levels in a kept window, in
// order of name.
func (f *Fold) Tenants() []string {
	names := make([]string, 0, len(f.tenants))
	for name := range f.tenants {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// A FoldSize says how much a Fold holds, for its limits.
type FoldSize struct{ Tenants, Combos, Names, Cells int }

// Size returns what the fold holds.
func (f *Fold) Size() FoldSize {
	s := FoldSize{Tenants: len(f.tenants), Combos: f.combos, Names: len(f.names)}
	for _, t := range f.tenants {
		for i := range t.windows {
			s.Cells += cap(t.windows[i].cells)
		}
	}
	return s
}

// Advance drops the windows before keep. It never brings one back: a keep that
// begins earlier than the present one changes nothing.
func (f *Fold) Advance(keep Keep) {
	next := f.keep
	if keep.MonthsFrom.After(next.MonthsFrom) {
		next.MonthsFrom = keep.MonthsFrom
	}
	if keep.DaysFrom.After(next.DaysFrom) {
		next.DaysFrom = keep.DaysFrom
	}
	if next == f.keep {
		return
	}
	monthDropped := !next.MonthsFrom.Equal(f.keep.MonthsFrom)
	f.setKeep(next)
	for _, t := range f.tenants {
		t.windows = slices.DeleteFunc(t.windows, func(w windowFold) bool {
			return w.grain == schemas.GrainMonth && w.key < f.monthsFrom || w.grain == schemas.GrainDay && w.key < f.daysFrom
		})
	}
	if monthDropped {
		f.compact()
	}
}

// compact forgets names, combinations, levels and tenants that no kept window
// uses. Days lie within months in practice, so it is enough to do it when a
// month goes.
func (f *Fold) compact() {
	oldNames := f.names
	f.names, f.ids, f.combos, f.last = nil, map[string]uint32{}, 0, nil
	for name, t := range f.tenants {
		t.levels = slices.DeleteFunc(t.levels, func(l Level) bool { return l.Time < f.keep.MonthsFrom.UnixMilli() })
		f.compactTenant(t, oldNames)
		f.compactSpent(t, oldNames)
		if len(t.windows) == 0 && len(t.levels) == 0 {
			delete(f.tenants, name)
		}
	}
}

func (f *Fold) compactTenant(t *tenantFold, oldNames []string) {
	combos, windows := t.combos, t.windows
	t.index, t.combos = map[combo]uint32{}, nil
	moved := make([]int, len(combos))
	for slot, c := range combos {
		moved[slot] = -1
		used := slices.ContainsFunc(windows, func(w windowFold) bool {
			return slot < len(w.cells) && !w.cells[slot].IsZero()
		})
		if !used {
			continue
		}
		for i := range c {
			c[i] = f.intern(oldNames[c[i]])
		}
		moved[slot] = len(t.combos)
		t.index[c] = uint32(len(t.combos))
		t.combos = append(t.combos, c)
	}
	f.combos += len(t.combos)
	for i := range windows {
		cells := make([]Totals, 0, len(t.combos))
		for slot := range windows[i].cells {
			if to := moved[slot]; to >= 0 {
				for len(cells) <= to {
					cells = append(cells, Totals{})
				}
				cells[to] = windows[i].cells[slot]
			}
		}
		windows[i].cells = cells
	}
}
