package aggregate

import "github.com/agentik-os/panda/schemas"

// What a month and a day have cost per department, agent and cost center, kept as running
// sums beside the combinations: a decision asks for one name before every call,
// and a walk over 50,000 combinations would take longer than the call's own
// preparation.

const (
	// nameNone is the place of an empty name: no budget is about it.
	nameNone int32 = -1
	// nameBeyond is the place of a name beyond FoldLimits.NamesPerTenantMax.
	nameBeyond int32 = -2
)

// namePlaces are the places of an event's names in windowFold.spent, by kind.
type namePlaces [budgetKinds]int32

// spentNames are a tenant's names that have a place.
type spentNames struct {
	places map[uint64]int32 // by nameKey
	keys   []uint64         // by place
	// slots has the places of every combination of the tenant.
	slots []namePlaces
}

func nameKey(kind int, id uint32) uint64 { return uint64(kind)<<32 | uint64(id) }

// budgetNames picks the names that have budgets, in the order of their kinds.
func budgetNames(names *[dimensionCount]string) [budgetKinds]string {
	return [budgetKinds]string{OfDepartment: names[2], OfCostCenter: names[3], OfAgent: names[4]}
}

// spent adds a cost to the sums of an event's names in a window.
func (f *Fold) spent(t *tenantFold, w *windowFold, slot uint32, collapsed bool, names *[dimensionCount]string, cost schemas.Money) {
	var places namePlaces
	if collapsed {
		// The combination shares a slot; its names may have places of their own still.
		places = f.placesOf(t, names)
	} else {
		places = t.spentNames.slots[slot]
	}
	for _, place := range places {
		switch {
		case place == nameBeyond:
			w.namesBeyond = true
		case place >= 0:
			for int(place) >= len(w.spent) {
				w.spent = append(w.spent, schemas.Money{})
			}
			w.spent[place] = w.spent[place].Add(cost)
		}
	}
}

// placesOf returns the places of an event's names, and makes those that are new.
func (f *Fold) placesOf(t *tenantFold, names *[dimensionCount]string) (places namePlaces) {
	for kind, name := range budgetNames(names) {
		places[kind] = f.placeOf(t, kind, name)
	}
	return places
}

func (f *Fold) placeOf(t *tenantFold, kind int, name string) int32 {
	if name == "" {
		return nameNone
	}
	s := &t.spentNames
	id, known := f.ids[name]
	if known {
		if place, ok := s.places[nameKey(kind, id)]; ok {
			return place
		}
	}
	if len(s.keys) >= f.limits.NamesPerTenantMax {
		return nameBeyond
	}
	key := nameKey(kind, f.intern(name))
	if s.places == nil {
		s.places = map[uint64]int32{}
	}
	place := int32(len(s.keys))
	s.places[key] = place
	s.keys = append(s.keys, key)
	return place
}

// Spent returns what a month or day of a tenant has cost for one name of a kind, one
// of OfDepartment, OfAgent and OfCostCenter. It reports false when that is not known,
// because the tenant had more names than the fold keeps apart. It costs the same
// whatever the tenant's size.
func (f *Fold) Spent(tenant string, window schemas.Window, kind int, name string) (schemas.Money, bool) {
	t, w := f.find(tenant, window)
	if w == nil {
		return schemas.Money{}, true
	}
	if id, known := f.ids[name]; known {
		if place, ok := t.spentNames.places[nameKey(kind, id)]; ok {
			if int(place) < len(w.spent) {
				return w.spent[place], true
			}
			return schemas.Money{}, true
		}
	}
	return schemas.Money{}, !w.namesBeyond
}

// level returns the newest value of a level, 0 if there is none.
func (f *Fold) level(tenant, name string) int64 {
	t := f.tenants[tenant]
	if t == nil {
		return 0
	}
	for i := range t.levels {
		if t.levels[i].Name == name {
			return t.levels[i].Value
		}
	}
	return 0
}

// usage fills in what a decision needs. It reports false when the cost of a name
// with a budget is not known.
func (f *Fold) usage(tenant string, month schemas.Window, limits *Limits, ask *Request, into *Usage) (known bool) {
	if _, w := f.find(tenant, month); w != nil {
		into.Tokens, into.Cost = w.total.Tokens.Total(), w.total.Cost
	}
	into.Agents = f.level(tenant, schemas.LevelAgents)
	into.StorageBytes = f.level(tenant, schemas.LevelStorageBytes)
	into.Sessions = f.level(tenant, schemas.LevelConcurrentSessions)
	known = true
	for kind, name := range [budgetKinds]string{OfDepartment: ask.Department, OfAgent: ask.Agent, OfCostCenter: ask.CostCenter} {
		if limits.Budgets[kind].Set {
			spent, ok := f.Spent(tenant, month, kind, name)
			into.Spent[kind], known = spent, known && ok
		}
	}
	return known
}

// compactSpent gives places anew to the names that a kept window uses. It comes
// after compactTenant, with oldNames as there.
func (f *Fold) compactSpent(t *tenantFold, oldNames []string) {
	was := t.spentNames
	// Where names went beyond the limit, a place that is given up could be taken by
	// one of them, with a part of its sum only.
	keepAll := false
	used := make([]bool, len(was.keys))
	for i := range t.windows {
		keepAll = keepAll || t.windows[i].namesBeyond
		for place := range t.windows[i].spent {
			used[place] = used[place] || !t.windows[i].spent[place].IsZero()
		}
	}
	t.spentNames = spentNames{}
	moved := make([]int32, len(was.keys))
	for place, key := range was.keys {
		moved[place] = nameNone
		if used[place] || keepAll {
			moved[place] = f.placeOf(t, int(key>>32), oldNames[uint32(key)])
		}
	}
	for i := range t.windows {
		var spent []schemas.Money
		for place, sum := range t.windows[i].spent {
			to := moved[place]
			if to < 0 {
				continue
			}
			for int(to) >= len(spent) {
				spent = append(spent, schemas.Money{})
			}
			spent[to] = sum
		}
		t.windows[i].spent = spent
	}
	for _, c := range t.combos {
		names := f.namesOf(c)
		t.spentNames.slots = append(t.spentNames.slots, f.placesOf(t, &names))
	}
}

// namesOf returns the names of a combination.
func (f *Fold) namesOf(c combo) (names [dimensionCount]string) {
	for i, id := range c {
		names[i] = f.names[id]
	}
	return names
}
