package tenancy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// fold is the pure core: records of CONTROL in, tenants and keys out. It must
// come to the same result on every node, so it depends on nothing but the records
// and their order.
type fold struct {
	tenants map[string]*entry // by tenant id
	slugs   map[string]string // slug -> tenant id
	order   []string          // slugs, sorted
	keys    map[string]*keyEntry
	keysOf  map[string][]string // tenant id or "" -> key ids in the order of creation
	made    map[string]made     // idempotency key -> what it made
	// slugSeq is the newest position on a slug's subject. It is what a new claim
	// compares with: an event that the fold passed over leaves its slug free.
	slugSeq map[string]uint64
}

type entry struct {
	Tenant
	// updateSeq is the newest position on the tenant's own subject.
	updateSeq uint64
}

type keyEntry struct {
	Key
	// seq is the newest position on the key's subject.
	seq uint64
}

type made struct{ hash, tenantID string }

func newFold() *fold {
	return &fold{
		tenants: map[string]*entry{}, slugs: map[string]string{}, keys: map[string]*keyEntry{},
		keysOf: map[string][]string{}, made: map[string]made{}, slugSeq: map[string]uint64{},
	}
}

// relevant reports whether records on a subject are the registry's.
func relevant(subject string) bool {
	return strings.HasPrefix(subject, subjectSlug) || strings.HasPrefix(subject, subjectTenant) ||
		strings.HasPrefix(subject, subjectKey)
}

// apply folds one event. The error says why the event was passed over; it
// changed nothing then, except for the position of its subject.
func (f *fold) apply(subject string, seq uint64, e *event) error {
	switch e.Type {
	case typeTenantCreated:
		return f.tenantCreated(subject, seq, e)
	case typeTenantUpdated:
		return f.tenantUpdated(subject, seq, e)
	case typeKeyCreated:
		return f.keyCreated(subject, seq, e)
	case typeKeyRevoked:
		return f.keyRevoked(subject, seq, e)
	}
	panic("tenancy: an event of type " + e.Type + " got past decode")
}

func (f *fold) tenantCreated(subject string, seq uint64, e *event) error {
	t := e.Tenant.tenant(e.At, seq)
	if subject != slugSubject(t.Slug) {
		return fmt.Errorf("tenant %s with slug %s came on subject %s", t.ID, t.Slug, subject)
	}
	f.slugSeq[t.Slug] = seq
	switch {
	case f.slugs[t.Slug] != "":
		return fmt.Errorf("slug %s is %s's already", t.Slug, f.slugs[t.Slug])
	case f.tenants[t.ID] != nil:
		return fmt.Errorf("tenant %s exists already", t.ID)
	case f.made[e.Request.Key].tenantID != "":
		return fmt.Errorf("request %s made %s already", e.Request.Key, f.made[e.Request.Key].tenantID)
	}
	f.tenants[t.ID] = &entry{Tenant: t}
	f.slugs[t.Slug] = t.ID
	f.made[e.Request.Key] = made{hash: e.Request.Hash, tenantID: t.ID}
	at, _ := slices.BinarySearch(f.order, t.Slug)
	f.order = slices.Insert(f.order, at, t.Slug)
	return nil
}

func (f *fold) tenantUpdated(subject string, seq uint64, e *event) error {
	t := e.Tenant.tenant(e.At, seq)
	was := f.tenants[t.ID]
	switch {
	case was == nil:
		return fmt.Errorf("tenant %s does not exist", t.ID)
	case subject != tenantSubject(t.ID):
		return fmt.Errorf("a change of tenant %s came on subject %s", t.ID, subject)
	}
	was.updateSeq = seq
	if t.Slug != was.Slug || !t.CreatedAt.Equal(was.CreatedAt) {
		return fmt.Errorf("a change of tenant %s touches what never changes", t.ID)
	}
	was.Tenant = t
	return nil
}

func (f *fold) keyCreated(subject string, seq uint64, e *event) error {
	k, err := e.Key.key(e.TenantID, e.At)
	switch {
	case err != nil:
		return err
	case subject != keySubject(k.TenantID, k.ID):
		return fmt.Errorf("key %s came on subject %s", k.ID, subject)
	case f.keys[k.ID] != nil:
		return fmt.Errorf("key %s exists already", k.ID)
	case k.TenantID != "" && f.tenants[k.TenantID] == nil:
		return fmt.Errorf("key %s is of tenant %s, which does not exist", k.ID, k.TenantID)
	}
	f.keys[k.ID] = &keyEntry{Key: k, seq: seq}
	f.keysOf[k.TenantID] = append(f.keysOf[k.TenantID], k.ID)
	return nil
}

func (f *fold) keyRevoked(subject string, seq uint64, e *event) error {
	k := f.keys[e.Key.ID]
	switch {
	case k == nil || k.TenantID != e.TenantID:
		return fmt.Errorf("key %s of %q does not exist", e.Key.ID, e.TenantID)
	case subject != keySubject(k.TenantID, k.ID):
		return fmt.Errorf("the end of key %s came on subject %s", k.ID, subject)
	}
	k.seq = seq
	if !k.Revoked() {
		k.RevokedAt = e.At
	}
	return nil
}

// clockOf cuts a time to what JSON bodies keep, so that the fold after a restart
// equals the one before.
func clockOf(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
