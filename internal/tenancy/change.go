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
	Plan             Plan // "" is starter
	BillingEmail     string
	MonthlyBudget    schemas.Money
	HasBudget        bool
	MaxMonthlyTokens int64
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
	t = Tenant{ID: tenantIDPrefix + NewID(tenantIDChars), Name: n.Name, Slug: n.Slug, Plan: n.Plan, Status: StatusTrial,
		BillingEmail: n.BillingEmail, MonthlyBudget: n.MonthlyBudget, HasBudget: n.HasBudget,
		MaxMonthlyTokens: n.MaxMonthlyTokens, CreatedAt: now}
	if len(n.RequestKey) > requestKeyMax || !printable(n.RequestKey) {
		return Tenant{}, false, schemas.Invalid("", schemas.CodeTooLong,
			"the Idempotency-Key is not printable or longer than %d bytes", requestKeyMax)
	}
	if err := t.validate(); err != nil {
		return Tenant{}, false, err
	}
	if err := r.known(); err != nil {
		return Tenant{}, false, err
	}
	// Without a key of the caller's, one of our own still tells whether the
	// record that stands after a lost race or a lost answer is ours.
	req := request{Key: n.RequestKey, Hash: n.hash()}
	if req.Key == "" {
		req.Key = uuid.NewString()
	}
	e := r.newEvent(typeTenantCreated, by, t.ID, now)
	e.Request, e.Tenant = &req, bodyOfTenant(&t)
	e.Changes = changesBetween(nil, e.Tenant)
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
	case !ok:
		return Tenant{}, ErrNotFound
	case revision != 0 && revision != was.Revision:
		return Tenant{}, &conflict{"the tenant has changed since it was read; read it again"}
	}
	next := was.Tenant
	if err := change(&next); err != nil {
		return Tenant{}, err
	}
	next.ID, next.Slug, next.CreatedAt = was.ID, was.Slug, was.CreatedAt
	if err := next.validate(); err != nil {
		return Tenant{}, err
	}
	e := r.newEvent(typeTenantUpdated, by, id, clockOf(r.cfg.Now()))
	e.Tenant = bodyOfTenant(&next)
	e.Changes = changesBetween(bodyOfTenant(&was.Tenant), e.Tenant)
	if len(e.Changes) == 0 {
		return was.Tenant, nil
	}
	if err := r.append(ctx, tenantSubject(id), was.updateSeq, &e); err != nil {
		if errors.Is(err, schemas.ErrConflict) {
			err = &conflict{"somebody else changed the tenant at the same moment; read it again"}
		}
		return Tenant{}, fmt.Errorf("update tenant: %w", err)
	}
	t, _ := r.ByID(id)
	return t, nil
}

// ErrKeyIDTaken: CreateKey was asked to record an id that exists. Make another
// secret. It matches schemas.ErrConflict.
var ErrKeyIDTaken = &conflict{"a key with this id exists"}

// CreateKey records a key and returns when this node knows it. The secret stays
// with the caller: only its hash comes here.
//
// Errors: schemas.ErrInvalid, ErrNotFound (no such tenant), ErrKeyIDTaken,
// schemas.ErrUnavailable.
func (r *Registry) CreateKey(ctx context.Context, by Actor, n NewKey) (Key, error) {
	if err := n.validate(); err != nil {
		return Key{}, err
	}
	if err := r.known(); err != nil {
		return Key{}, err
	}
	if _, ok := r.ByID(n.TenantID); !ok && n.TenantID != "" {
		return Key{}, ErrNotFound
	}
	if _, ok := r.KeyByID(n.ID); ok {
		return Key{}, ErrKeyIDTaken
	}
	now := clockOf(r.cfg.Now())
	e := r.newEvent(typeKeyCreated, by, n.TenantID, now)
	e.Key = &keyBody{ID: n.ID, Name: n.Name, Scopes: n.Scopes, Hash: hex.EncodeToString(n.Hash[:])}
	e.Changes = map[string]change{"key": {To: n.ID}, "name": {To: n.Name}, "scopes": {To: n.Scopes}}
	if err := r.append(ctx, keySubject(n.TenantID, n.ID), 0, &e); err != nil {
		if errors.Is(err, schemas.ErrConflict) {
			err = ErrKeyIDTaken
		}
		return Key{}, fmt.Errorf("create key: %w", err)
	}
	k, ok := r.KeyByID(n.ID)
	if !ok || k.Hash != n.Hash {
		return Key{}, fmt.Errorf("create key: %w", ErrKeyIDTaken)
	}
	return k, nil
}

// RevokeKey ends a key for ever and returns when this node knows it. A key that
// is revoked already is returned as it is.
//
// Errors: ErrNotFound (unknown, or out of the scope's reach),
// schemas.ErrUnavailable.
func (r *Registry) RevokeKey(ctx context.Context, scope Scope, ip, id string) (Key, error) {
	if err := r.known(); err != nil {
		return Key{}, err
	}
	r.mu.RLock()
	found, ok := r.fold.keys[id]
	var was keyEntry
	if ok {
		was = *found
	}
	r.mu.RUnlock()
	// A key of the platform has no tenant, so it is out of reach of a tenant.
	if !ok || (!scope.IsPlatform() && (was.TenantID == "" || was.TenantID != scope.TenantID())) {
		return Key{}, ErrNotFound
	}
	if was.Revoked() {
		return was.Key, nil
	}
	e := r.newEvent(typeKeyRevoked, Actor{ID: scope.Actor(), IP: ip}, was.TenantID, clockOf(r.cfg.Now()))
	e.Key = &keyBody{ID: id}
	e.Changes = map[string]change{"revoked": {From: false, To: true}}
	subject := keySubject(was.TenantID, id)
	err := r.append(ctx, subject, was.seq, &e)
	if errors.Is(err, schemas.ErrConflict) {
		// Nothing but a revocation follows a creation, so somebody was faster.
		err = r.catchUp(ctx, subject)
	}
	if err != nil {
		return Key{}, fmt.Errorf("revoke key: %w", err)
	}
	k, _ := r.KeyByID(id)
	return k, nil
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
