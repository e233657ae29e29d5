package tenancy

import (
	"slices"
	"time"
)

// Terms are what a tenant pays for from a moment on, until the next ones.
type Terms struct {
	From   time.Time
	Plan   Plan
	Status Status
	// Trial: it is in its trial, or suspended and was in it before.
	Trial bool
	// StorageGB is how much may be stored, the tenant's own limit included.
	StorageGB Limit
}

// agree notes the terms as they are now, if they are others than before. An event that
// says an earlier time than the one before it, by another node's clock, counts from then.
func (e *entry) agree(plans *Catalog, at time.Time) {
	status := e.Status
	terms := Terms{From: at, Plan: e.Plan, Status: status, StorageGB: quotasOf(plans, &e.Tenant).MaxStorageGB,
		Trial: status == StatusTrial || status == StatusSuspended && e.StatusBefore == StatusTrial}
	if n := len(e.terms); n > 0 {
		last := e.terms[n-1]
		if last.From.After(at) {
			terms.From = last.From
		}
		last.From = terms.From
		if last == terms {
			return
		}
	}
	e.terms = append(e.terms, terms)
}

// Terms returns what a tenant agreed to, in order of time, from its creation on; nothing
// for a tenant that does not exist or is erased.
func (r *Registry) Terms(tenantID string) []Terms {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.fold.tenants[tenantID]
	if e == nil {
		return nil
	}
	return slices.Clone(e.terms)
}
