package tenancy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/schemas"
)

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
	if t, ok := r.ByID(n.TenantID); n.TenantID != "" && (!ok || t.Status == StatusErased) {
		return Key{}, ErrNotFound
	}
	if _, ok := r.KeyByID(n.ID); ok {
		return Key{}, ErrKeyIDTaken
	}
	now := clockOf(r.cfg.Now())
	e := r.newEvent(typeKeyCreated, by, n.TenantID, now)
	e.Key = &keyBody{ID: n.ID, Name: n.Name, Scopes: n.Scopes, Hash: hex.EncodeToString(n.Hash[:]), MemberID: n.MemberID}
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
	const triesMax = 5 // a rotation may come in between, and another revocation
	for range triesMax {
		was, seq, err := r.reachableKey(scope, id)
		if err != nil || was.Revoked() {
			return was, err
		}
		e := r.newEvent(typeKeyRevoked, Actor{ID: scope.Actor(), IP: ip}, was.TenantID, clockOf(r.cfg.Now()))
		e.Key = &keyBody{ID: id}
		e.Changes = map[string]change{"revoked": {From: false, To: true}}
		subject := keySubject(was.TenantID, id)
		if err = r.append(ctx, subject, seq, &e); errors.Is(err, schemas.ErrConflict) {
			err = r.catchUp(ctx, subject)
		}
		if err != nil {
			return Key{}, fmt.Errorf("revoke key: %w", err)
		}
	}
	if k, ok := r.KeyByID(id); ok && k.Revoked() {
		return k, nil
	}
	return Key{}, &conflict{"others change this key at the same time; it is not revoked yet, try again"}
}

// within reports whether a scope reaches what belongs to a tenant, or to the platform
// for "": a key of the platform has no tenant, so it is out of reach of one.
func within(scope Scope, tenantID string) bool {
	return scope.IsPlatform() || tenantID != "" && tenantID == scope.TenantID()
}

// RotateOverlapMax is how long a key that was rotated may work beside its successor.
const RotateOverlapMax = 30 * 24 * time.Hour

// RotateKey records that a key has a successor, and ends it after an overlap, in
// which both work. The successor was made by CreateKey before, so that a crash in
// between leaves one key too many and never none.
//
// Errors: ErrNotFound (unknown, revoked, or out of the scope's reach),
// schemas.ErrInvalid (the overlap), schemas.ErrConflict (it has a successor),
// schemas.ErrUnavailable.
func (r *Registry) RotateKey(ctx context.Context, scope Scope, ip, id, successor string, overlap time.Duration) (Key, error) {
	was, seq, err := r.reachableKey(scope, id)
	if err == nil {
		err = was.rotatable(r.cfg.Now(), overlap)
	}
	if err != nil {
		return Key{}, err
	}
	now := clockOf(r.cfg.Now())
	e := r.newEvent(typeKeyRotated, Actor{ID: scope.Actor(), IP: ip}, was.TenantID, now)
	e.Key = &keyBody{ID: id, ExpiresAt: now.Add(overlap), RotatedTo: successor}
	e.Changes = map[string]change{"key": {From: id, To: successor}, "expires_at": {To: e.Key.ExpiresAt.Format(time.RFC3339)}}
	if err := r.append(ctx, keySubject(was.TenantID, id), seq, &e); err != nil {
		if errors.Is(err, schemas.ErrConflict) {
			err = &conflict{"somebody else changed the key at the same moment"}
		}
		return Key{}, fmt.Errorf("rotate key: %w", err)
	}
	k, _ := r.KeyByID(id)
	return k, nil
}

// ReachableKey returns a key that can be rotated by a scope with this overlap. Errors
// are those of RotateKey.
func (r *Registry) ReachableKey(scope Scope, id string, overlap time.Duration) (Key, error) {
	k, _, err := r.reachableKey(scope, id)
	if err == nil {
		err = k.rotatable(r.cfg.Now(), overlap)
	}
	return k, err
}

func (k *Key) rotatable(now time.Time, overlap time.Duration) error {
	switch {
	case overlap < 0 || overlap > RotateOverlapMax:
		return schemas.Invalid("/overlap_seconds", schemas.CodeOutOfRange, "an overlap is 0 to %d seconds", int(RotateOverlapMax/time.Second))
	case k.RotatedTo != "":
		return &conflict{"this key was rotated already, to " + k.RotatedTo}
	case !k.Works(now):
		return &conflict{"this key does not work any more; create a new one"}
	}
	return nil
}

func (r *Registry) reachableKey(scope Scope, id string) (k Key, seq uint64, err error) {
	if err := r.known(); err != nil {
		return Key{}, 0, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	found, ok := r.fold.keys[id]
	if !ok || !within(scope, found.TenantID) {
		return Key{}, 0, ErrNotFound
	}
	return found.Key, found.seq, nil
}
