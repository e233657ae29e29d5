package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// The moves of a tenant from one state to another. Each is an UpdateTenant with its
// rule, and returns the errors of UpdateTenant; a move that is not possible from the
// state the tenant is in matches schemas.ErrConflict and says which are. Where the
// tenant is in the wanted state already, nothing happens and nothing is recorded.
//
//	trial ─┬─ Activate ──▶ active
//	       └─ Suspend ─▶ suspended ─ Resume ─▶ what it was
//	any of these ─ Delete ─▶ deleted ─ Restore ─▶ what it was
//	                            └──── Erase ───▶ erased, for ever

// Suspend ends a tenant's access until Resume. reason is for people.
func (r *Registry) Suspend(ctx context.Context, by Actor, id string, revision uint64, reason string) (Tenant, error) {
	return r.UpdateTenant(ctx, by, id, revision, func(t *Tenant) error {
		switch t.Status {
		case StatusSuspended:
			return nil
		case StatusDeleted:
			return &conflict{"the tenant is deleted; restore it first"}
		}
		t.StatusBefore, t.Status, t.SuspendedReason = t.Status, StatusSuspended, reason
		return nil
	})
}

// Resume ends a suspension.
func (r *Registry) Resume(ctx context.Context, by Actor, id string, revision uint64) (Tenant, error) {
	return r.UpdateTenant(ctx, by, id, revision, func(t *Tenant) error {
		switch t.Status {
		case StatusTrial, StatusActive:
			return nil
		case StatusDeleted:
			return &conflict{"the tenant is deleted, not suspended; restore it"}
		}
		t.back()
		return nil
	})
}

// back brings the state before a suspension or deletion back.
func (t *Tenant) back() {
	t.Status = StatusActive
	if t.StatusBefore != "" {
		t.Status = t.StatusBefore
	}
	t.StatusBefore = ""
	if t.Status != StatusSuspended {
		t.SuspendedReason = ""
	}
	t.DeletedAt, t.EraseAt = time.Time{}, time.Time{}
}

// Activate ends a trial for good: the tenant is a customer.
func (r *Registry) Activate(ctx context.Context, by Actor, id string, revision uint64) (Tenant, error) {
	return r.UpdateTenant(ctx, by, id, revision, func(t *Tenant) error {
		switch t.Status {
		case StatusActive:
		case StatusTrial:
			t.Status = StatusActive
		default:
			return &conflict{fmt.Sprintf("the tenant is %s; only a trial can be activated", t.Status)}
		}
		return nil
	})
}

// Delete ends a tenant's access and keeps its data for EraseAfterDays, in which
// Restore brings it back.
func (r *Registry) Delete(ctx context.Context, by Actor, id string, revision uint64) (Tenant, error) {
	now := clockOf(r.cfg.Now())
	return r.UpdateTenant(ctx, by, id, revision, func(t *Tenant) error {
		if t.Status == StatusDeleted {
			return nil
		}
		t.DeletedAt, t.EraseAt = now, now.AddDate(0, 0, EraseAfterDays)
		// A tenant that was suspended comes back suspended, and then as what it was
		// before that only by a person's decision.
		t.StatusBefore, t.Status = t.Status, StatusDeleted
		return nil
	})
}

// Restore takes a deletion back, as long as nothing is erased.
func (r *Registry) Restore(ctx context.Context, by Actor, id string, revision uint64) (Tenant, error) {
	return r.UpdateTenant(ctx, by, id, revision, func(t *Tenant) error {
		switch t.Status {
		case StatusDeleted:
			if !t.ErasingAt.IsZero() {
				return &conflict{"the tenant is being erased: it cannot be restored any more"}
			}
			t.back()
		case StatusSuspended:
			return &conflict{"the tenant is suspended, not deleted; resume it"}
		}
		return nil
	})
}

// ChangePlan moves a tenant to another plan. Quotas of its own stay as they are,
// unless keep is false; those of a tenant that is on the plan already stay.
func (r *Registry) ChangePlan(ctx context.Context, by Actor, id string, revision uint64, plan Plan, keep bool) (Tenant, error) {
	return r.UpdateTenant(ctx, by, id, revision, func(t *Tenant) error {
		if t.Plan != plan && !keep {
			t.QuotaOverrides = nil
		}
		t.Plan = plan
		return nil
	})
}

// Place records in which database a tenant's rows live from now on; "" is the shared
// one.
func (r *Registry) Place(ctx context.Context, by Actor, id string, isolation Isolation, database string) (Tenant, error) {
	return r.UpdateTenant(ctx, by, id, 0, func(t *Tenant) error {
		t.Isolation, t.Database = isolation, database
		return nil
	})
}

// EraseDue returns deleted tenants whose data is due to be erased.
func (r *Registry) EraseDue(now time.Time) (due []Tenant) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, slug := range r.fold.order {
		if t := r.fold.tenants[r.fold.slugs[slug]]; t.Status == StatusDeleted && !now.Before(t.EraseAt) {
			due = append(due, t.Tenant)
		}
	}
	return due
}

// TrialsOver returns tenants on a trial that is over.
func (r *Registry) TrialsOver(now time.Time) (over []Tenant) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, slug := range r.fold.order {
		if t := r.fold.tenants[r.fold.slugs[slug]]; t.Status == StatusTrial && !now.Before(t.TrialEndsAt) {
			over = append(over, t.Tenant)
		}
	}
	return over
}

// BeginErasure decides that a deleted tenant is erased. It is one record that either
// comes before a restoration, which is refused then, or after it, and is refused itself.
func (r *Registry) BeginErasure(ctx context.Context, by Actor, id string) (Tenant, error) {
	now := clockOf(r.cfg.Now())
	return r.UpdateTenant(ctx, by, id, 0, func(t *Tenant) error {
		switch {
		case t.Status != StatusDeleted:
			return &conflict{fmt.Sprintf("the tenant is %s, and only a deleted one can be erased; delete it first", t.Status)}
		case t.ErasingAt.IsZero():
			t.ErasingAt = now
		}
		return nil
	})
}

// Erased records that a deleted tenant's data is gone, with the certificate, which
// holds nothing personal. From here on the tenant is its id and that certificate: its
// members, keys and slug are gone from the registry, and the caller erases the records
// on the subjects of SubjectsOf that lie before the returned revision.
//
// Errors: ErrNotFound, schemas.ErrConflict (it is not deleted), schemas.ErrUnavailable.
func (r *Registry) Erased(ctx context.Context, by Actor, id string, certificate json.RawMessage) (Tenant, error) {
	if err := r.known(); err != nil {
		return Tenant{}, err
	}
	r.mu.RLock()
	found, ok := r.fold.tenants[id]
	var was entry
	if ok {
		was = *found
	}
	r.mu.RUnlock()
	switch {
	case !ok:
		return Tenant{}, ErrNotFound
	case was.Status == StatusErased:
		return was.Tenant, nil
	case was.Status != StatusDeleted:
		return Tenant{}, &conflict{"only a deleted tenant can be erased"}
	}
	e := r.newEvent(typeTenantErased, by, id, clockOf(r.cfg.Now()))
	e.Certificate = certificate
	if err := r.append(ctx, tenantSubject(id), was.updateSeq, &e); err != nil {
		if errors.Is(err, schemas.ErrConflict) {
			err = &conflict{"somebody else changed the tenant at the same moment; read it again"}
		}
		return Tenant{}, fmt.Errorf("record erasure: %w", err)
	}
	t, _ := r.ByID(id)
	return t, nil
}

// SubjectsOf are the subjects of CONTROL that hold records of a tenant alone.
func SubjectsOf(t *Tenant) []string {
	return []string{slugSubject(t.Slug), tenantSubject(t.ID), subjectKey + t.ID + ".*", membersSubject(t.ID), alertingSubject(t.ID), subjectAttempt + t.ID}
}
