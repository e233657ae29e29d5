package tenancy

import (
	"iter"
	"maps"
	"strconv"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A HeldLimit is a limit of a tenant as it holds now, and since when.
type HeldLimit struct {
	// Quota is a quota's name; "" for a budget.
	Quota QuotaName
	// Of and Name are what a budget is of, "" for the tenant as a whole; Daily says
	// that it is one of a UTC day, not of a month.
	Of    BudgetKind
	Name  string
	Daily bool
	// Max is how much of a quota there may be, Unlimited included; storage in GB.
	Max Limit
	// Amount is a budget's.
	Amount schemas.Money
	// Seq is the position on CONTROL of the event that made the limit what it is, and
	// Since when that was. A limit that was taken away and given again is another one.
	Seq   uint64
	Since time.Time
}

// Revision names this state of the limit: "<Seq>-<value>". The value is in it because
// that of a quota can change without an event, with the plans of a newer version.
func (l *HeldLimit) Revision() string {
	value := l.Max.String()
	if l.Quota == "" {
		value = l.Amount.String()
	}
	return strconv.FormatUint(l.Seq, 10) + "-" + value
}

// limitAge is when a limit became what it is.
type limitAge struct {
	seq uint64
	at  time.Time
}

// budgetKey names a budget within its tenant. The tenant's own have no kind and no name.
type budgetKey struct {
	of    BudgetKind
	name  string
	daily bool
}

// limitAges are those of a tenant's limits.
type limitAges struct {
	quotas  map[QuotaName]limitAge
	budgets map[budgetKey]limitAge
}

// budgets are all budgets of a tenant: its own, then those of its parts in the order of
// Budgets, of each that of the month first.
func (t *Tenant) budgets() iter.Seq2[budgetKey, schemas.Money] {
	return func(yield func(budgetKey, schemas.Money) bool) {
		if t.HasBudget && !yield(budgetKey{}, t.MonthlyBudget) {
			return
		}
		if t.HasDailyBudget && !yield(budgetKey{daily: true}, t.DailyBudget) {
			return
		}
		for i := range t.Budgets {
			b := &t.Budgets[i]
			if !b.DailyOnly && !yield(budgetKey{of: b.Kind, name: b.Name}, b.MonthlyBudget) {
				return
			}
			if b.HasDaily && !yield(budgetKey{of: b.Kind, name: b.Name, daily: true}, b.DailyBudget) {
				return
			}
		}
	}
}

// follow notes which limits an event changes; was is nil for a new tenant. What counts
// is the value that holds: a change of the plan that leaves a quota as it was, or an
// override that repeats the plan's, changes nothing.
func (a *limitAges) follow(plans *Catalog, was, now *Tenant, at time.Time) {
	age := limitAge{seq: now.Revision, at: at}
	if was == nil {
		a.quotas, a.budgets = map[QuotaName]limitAge{}, map[budgetKey]limitAge{}
		was = &Tenant{}
	}
	before, after := quotasOf(plans, was), quotasOf(plans, now)
	for _, name := range QuotaNames() {
		if _, known := a.quotas[name]; !known || before.Of(name) != after.Of(name) {
			a.quotas[name] = age
		}
	}
	held, wanted := maps.Collect(was.budgets()), maps.Collect(now.budgets())
	for key, amount := range wanted {
		if old, there := held[key]; !there || old != amount {
			a.budgets[key] = age
		}
	}
	for key := range held {
		if _, there := wanted[key]; !there {
			delete(a.budgets, key)
		}
	}
}

// quotasOf returns the limits that hold for a tenant.
func quotasOf(plans *Catalog, t *Tenant) Quotas {
	terms, _ := plans.Find(t.Plan)
	return t.QuotaOverrides.on(terms.Quotas)
}

// Limits returns a tenant and all its limits as of one moment: the five quotas, then the
// tenant's own budgets, then those of its parts in the order of Tenant.Budgets. It
// reports false for a tenant that does not exist; an erased one has no limits.
func (r *Registry) Limits(tenantID string) (Tenant, []HeldLimit, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.fold.tenants[tenantID]
	if e == nil {
		return Tenant{}, nil, false
	}
	if e.Status == StatusErased {
		return e.Tenant, nil, true
	}
	limits := make([]HeldLimit, 0, len(e.limits.quotas)+len(e.limits.budgets))
	quotas := r.Quotas(&e.Tenant)
	for _, name := range QuotaNames() {
		age := e.limits.quotas[name]
		limits = append(limits, HeldLimit{Quota: name, Max: quotas.Of(name), Seq: age.seq, Since: age.at})
	}
	for key, amount := range e.budgets() {
		age := e.limits.budgets[key]
		limits = append(limits, HeldLimit{Of: key.of, Name: key.name, Daily: key.daily, Amount: amount, Seq: age.seq, Since: age.at})
	}
	return e.Tenant, limits, true
}

// ChangedSince returns the tenants whose newest event lies after a position on CONTROL,
// in no order, the position up to which that is known, and a channel that is closed when
// more is.
func (r *Registry) ChangedSince(seq uint64) (tenants []string, position uint64, more <-chan struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.applied > seq {
		for id, e := range r.fold.tenants {
			if e.Revision > seq {
				tenants = append(tenants, id)
			}
		}
	}
	return tenants, r.applied, r.moved
}
