package tenancy

import (
	"sort"
	"strings"
)

// A Search says which tenants are looked for. Zero fields match everything.
type Search struct {
	Status Status
	Plan   Plan
	// Text is a part of the name, the slug or the id, in any case.
	Text string
	// After is the slug after which the answer begins.
	After string
	// Limit bounds the answer; 0 does not.
	Limit int
}

// Search returns the tenants that match, in the order of slugs. It looks at every
// tenant behind After until Limit are found: 10,000 of them take about a millisecond.
func (r *Registry) Search(s Search) []Tenant {
	text := strings.ToLower(s.Text)
	r.mu.RLock()
	defer r.mu.RUnlock()
	order := r.fold.order
	order = order[sort.Search(len(order), func(i int) bool { return order[i] > s.After }):]
	var out []Tenant
	for _, slug := range order {
		t := r.fold.tenants[r.fold.slugs[slug]]
		if s.Status != "" && t.Status != s.Status || s.Plan != "" && t.Plan != s.Plan {
			continue
		}
		if text != "" && !strings.Contains(t.Slug, text) && !strings.Contains(strings.ToLower(t.Name), text) && t.ID != s.Text {
			continue
		}
		out = append(out, t.Tenant)
		if s.Limit > 0 && len(out) == s.Limit {
			break
		}
	}
	return out
}

// Quotas returns the limits that hold for a tenant: its plan's, with its own in their
// place. A plan that does not exist any more allows nothing.
func (r *Registry) Quotas(t *Tenant) Quotas { return quotasOf(r.cfg.Plans, t) }

// Plans are what tenants can pay for.
func (r *Registry) Plans() *Catalog { return r.cfg.Plans }

// Counts returns how many tenants there are in each state, and how many members.
func (r *Registry) Counts() (byStatus map[Status]int, members int) {
	byStatus = map[Status]int{}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, t := range r.fold.tenants {
		byStatus[t.Status]++
	}
	for _, p := range r.fold.people {
		members += len(p.members)
	}
	return byStatus, members
}
