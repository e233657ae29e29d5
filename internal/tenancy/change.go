package tenancy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/schemas"
)

// Actor is who decided something, for the audit log.
type Actor struct {
	// ID is Scope.Actor, for instance "key:abcd2345" or "system:bootstrap".
	ID string
	// IP is the address the request came from, "" if there was none.
	IP string
}

// NewTenant is what CreateTenant is asked to make.
type NewTenant struct {
	Name             string
	Slug             string
	OrgID            string
	Plan             Plan // "" is starter
	BillingEmail     string
	StripeCustomerID string
	MonthlyBudget    schemas.Money
	HasBudget        bool
	// These came later: left out where there is none, so that the hash of a request is
	// what it was.
	DailyBudget    schemas.Money `json:",omitzero"`
	HasDailyBudget bool          `json:",omitempty"`
	Budgets        []Budget
	QuotaOverrides QuotaOverrides
	// RequestKey is the caller's idempotency key, "" for none.
	RequestKey string
}

// hash identifies the content of the request.
func (n *NewTenant) hash() string {
	content := *n
	content.RequestKey = ""
	body, err := json.Marshal(content)
	if err != nil {
		panic("tenancy: a request that does not encode: " + err.Error())
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// CreateTenant makes a tenant on trial and returns when this node knows it. A
// request that was made before, by its RequestKey, returns the tenant of then as
// it is now, and replayed.
//
// Errors: schemas.ErrInvalid (each wrong field), ErrRequestReused,
// schemas.ErrConflict (the slug is taken), schemas.ErrUnavailable (it may have
// happened; the same RequestKey finds out).
func (r *Registry) CreateTenant(ctx context.Context, by Actor, n NewTenant) (t Tenant, replayed bool, err error) {
	if n.Plan == "" {
		n.Plan = PlanStarter
	}
	now := clockOf(r.cfg.Now())
	t = Tenant{ID: tenantIDPrefix + NewID(tenantIDChars), Name: n.Name, Slug: n.Slug, OrgID: n.OrgID, Plan: n.Plan, Status: StatusTrial,
		BillingEmail: n.BillingEmail, StripeCustomerID: n.StripeCustomerID, MonthlyBudget: n.MonthlyBudget, HasBudget: n.HasBudget,
		DailyBudget: n.DailyBudget, HasDailyBudget: n.HasDailyBudget, Budgets: n.Budgets, QuotaOverrides: n.QuotaOverrides, Isolation: SharedDatabase,
		CreatedAt: now, TrialEndsAt: now.AddDate(0, 0, TrialDays)}
	if len(n.RequestKey) > requestKeyMax || !printable(n.RequestKey) {
		return Tenant{}, false, schemas.Invalid("", schemas.CodeTooLong,
			"the Idempotency-Key is not printable or longer than %d bytes", requestKeyMax)
	}
	if err := t.validate(r.cfg.Plans); err != nil {
		return Tenant{}, false, err
	}
	if err := r.known(); err != nil {
		return Tenant{}, false, err
	}
	if terms, _ := r.cfg.Plans.Find(t.Plan); terms.Isolation == IsolatedDatabase && r.cfg.DatabaseOf != nil {
		t.Isolation, t.Database = IsolatedDatabase, r.cfg.DatabaseOf(t.ID)
	}
	// Without a key of the caller's, one of our own still tells whether the
	// record that stands after a lost race or a lost answer is ours.
	req := request{Key: n.RequestKey, Hash: n.hash()}
	if req.Key == "" {
		req.Key = uuid.NewString()
	}
	e := r.newEvent(typeTenantCreated, by, t.ID, now)
	e.Request, e.Tenant = &req, bodyOfTenant(&t)
	e.Changes = changesBetween(r.cfg.Plans, nil, e.Tenant)
	return r.claim(ctx, &e)
}

// claim appends tenant.created to the subject of its slug, or finds out why that
// cannot be.
func (r *Registry) claim(ctx context.Context, e *event) (Tenant, bool, error) {
	const triesMax = 3 // each further try needs another node to have raced and lost in the fold
	for range triesMax {
		if t, found, err := r.madeBy(e); found || err != nil {
			return t, found && t.ID != e.TenantID, err
		}
		taken, expect := r.slugState(e.Tenant.Slug)
		if taken {
			return Tenant{}, false, slugTaken(e.Tenant.Slug)
		}
		if r.orgTaken(e.Tenant.OrgID, e.TenantID) {
			return Tenant{}, false, errOrgTaken
		}
		subject := slugSubject(e.Tenant.Slug)
		err := r.append(ctx, subject, expect, e)
		if err == nil {
			t, found, err := r.madeBy(e)
			if found || err != nil {
				return t, found && t.ID != e.TenantID, err
			}
			continue // the fold let another one through
		}
		if !errors.Is(err, schemas.ErrConflict) {
			return Tenant{}, false, fmt.Errorf("create tenant: %w", err)
		}
		if err := r.catchUp(ctx, subject); err != nil {
			return Tenant{}, false, fmt.Errorf("create tenant: %w", err)
		}
	}
	return Tenant{}, false, slugTaken(e.Tenant.Slug)
}

func slugTaken(slug string) error { return &conflict{"the slug " + slug + " is taken; choose another"} }

// madeBy returns the tenant that the request of e has made.
func (r *Registry) madeBy(e *event) (Tenant, bool, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.fold.made[e.Request.Key]
	switch {
	case !ok:
		return Tenant{}, false, nil
	case m.hash != e.Request.Hash:
		return Tenant{}, false, ErrRequestReused
	}
	return r.fold.tenants[m.tenantID].Tenant, true, nil
}

var errOrgTaken = &conflict{"another tenant has this org_id; an organisation at the identity provider is one tenant"}

func (r *Registry) orgTaken(org, tenantID string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	holder := r.fold.orgs[org]
	return org != "" && holder != "" && holder != tenantID
}

func (r *Registry) slugState(slug string) (taken bool, seq uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fold.slugs[slug] != "", r.fold.slugSeq[slug]
}

// UpdateTenant changes a tenant and returns when this node knows it. If revision
// is not 0, the tenant must be at it. Id, slug and creation time stay what they
// are. A change that changes nothing is not recorded.
//
// Errors: ErrNotFound, schemas.ErrInvalid, schemas.ErrConflict (another revision,
// or somebody changed it at the same time), schemas.ErrUnavailable, and what
// change returns.
func (r *Registry) UpdateTenant(ctx context.Context, by Actor, id string, revision uint64,
	change func(*Tenant) error) (Tenant, error) {
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
	case !ok || was.Status == StatusErased:
		return Tenant{}, ErrNotFound
	case revision != 0 && revision != was.Revision:
		return Tenant{}, ErrStale
	}
	next := was.clone()
	if err := change(&next); err != nil {
		return Tenant{}, err
	}
	next.ID, next.Slug, next.CreatedAt = was.ID, was.Slug, was.CreatedAt
	if err := next.validate(r.cfg.Plans); err != nil {
		return Tenant{}, err
	}
	if r.orgTaken(next.OrgID, id) {
		return Tenant{}, errOrgTaken
	}
	e := r.newEvent(typeTenantUpdated, by, id, clockOf(r.cfg.Now()))
	e.Tenant = bodyOfTenant(&next)
	e.Changes = changesBetween(r.cfg.Plans, bodyOfTenant(&was.Tenant), e.Tenant)
	if len(e.Changes) == 0 {
		return was.Tenant, nil
	}
	e.Action = actionOf(e.Changes)
	if err := r.append(ctx, tenantSubject(id), was.updateSeq, &e); err != nil {
		if errors.Is(err, schemas.ErrConflict) {
			err = &conflict{"somebody else changed the tenant at the same moment; read it again"}
		}
		return Tenant{}, fmt.Errorf("update tenant: %w", err)
	}
	t, _ := r.ByID(id)
	return t, nil
}

// known refuses changes before the first catch-up.
func (r *Registry) known() error {
	select {
	case <-r.ready:
		return nil
	default:
		return fmt.Errorf("tenants are being loaded: %w", schemas.ErrUnavailable)
	}
}

func (r *Registry) newEvent(kind string, by Actor, tenantID string, at time.Time) event {
	return event{Version: eventVersion, Type: kind, ID: uuid.NewString(), At: at,
		Actor: by.ID, IP: by.IP, TenantID: tenantID}
}

// append stores an event if its subject is still where the caller saw it, and
// waits until it is folded here.
func (r *Registry) append(ctx context.Context, subject string, expect uint64, e *event) error {
	data, err := json.Marshal(e)
	if err != nil {
		panic("tenancy: an event that does not encode: " + err.Error())
	}
	failpoint.Hit(failpoint.ControlBeforeAppend)
	ack, err := r.log.Append(ctx, eventlog.Message{Subject: subject, ID: e.ID, Data: data, ExpectLastSubjectSeq: &expect})
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.ControlAfterAppend)
	return r.WaitFor(ctx, ack.Seq)
}

// catchUp waits until the newest record of a subject is folded here.
func (r *Registry) catchUp(ctx context.Context, subject string) error {
	rec, _, err := r.log.LastForSubject(ctx, schemas.StreamControl, subject)
	if err != nil {
		return err
	}
	return r.WaitFor(ctx, rec.Seq)
}
