package tenancy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/contact"
)

// fold is the pure core: records of CONTROL in, tenants and keys out. It must
// come to the same result on every node, so it depends on nothing but the records
// and their order.
type fold struct {
	plans   *Catalog          // what a quota is without an override
	tenants map[string]*entry // by tenant id
	slugs   map[string]string // slug -> tenant id
	order   []string          // slugs, sorted
	keys    map[string]*keyEntry
	keysOf  map[string][]string // tenant id or "" -> key ids in the order of creation
	made    map[string]made     // idempotency key -> what it made
	// people are the members and invitations by tenant; tenants without any have none.
	people map[string]*people
	// alerting are channels and mutes by tenant, the platform's under "".
	alerting map[string]*contact.Settings
	// signIns leads from a person at an identity provider to their memberships.
	signIns map[signIn][]membership
	orgs    map[string]string // organisation id -> tenant id
	// placed is the database of every tenant that has one of its own, by its id. It is
	// never changed, but replaced: who was given it may keep it.
	placed map[string]string
	// slugSeq is the newest position on a slug's subject. It is what a new claim
	// compares with: an event that the fold passed over leaves its slug free.
	slugSeq map[string]uint64
}

type entry struct {
	Tenant
	// updateSeq is the newest position on the tenant's own subject.
	updateSeq uint64
	// limits say since when each limit is what it is.
	limits limitAges
	// terms are what was agreed, since when; see Registry.Terms.
	terms []Terms
}

type keyEntry struct {
	Key
	// seq is the newest position on the key's subject.
	seq uint64
}

// signIn identifies a person at an identity provider.
type signIn struct{ issuer, subject string }

type membership struct{ tenantID, memberID string }

type made struct{ hash, tenantID string }

func newFold(plans *Catalog) *fold {
	return &fold{
		plans:   plans,
		tenants: map[string]*entry{}, slugs: map[string]string{}, keys: map[string]*keyEntry{},
		people: map[string]*people{}, alerting: map[string]*contact.Settings{}, signIns: map[signIn][]membership{}, orgs: map[string]string{},
		keysOf: map[string][]string{}, made: map[string]made{}, slugSeq: map[string]uint64{},
	}
}

// place notes the database of a tenant, "" for the shared one.
func (f *fold) place(tenantID, database string) {
	if f.placed[tenantID] == database {
		return
	}
	next := maps.Clone(f.placed)
	if next == nil {
		next = map[string]string{}
	}
	next[tenantID] = database
	if database == "" {
		delete(next, tenantID)
	}
	f.placed = next
}

// relevant reports whether records on a subject are the registry's.
func relevant(subject string) bool {
	return strings.HasPrefix(subject, subjectSlug) || strings.HasPrefix(subject, subjectTenant) ||
		strings.HasPrefix(subject, subjectKey) || strings.HasPrefix(subject, subjectMembers) || strings.HasPrefix(subject, subjectAlerting)
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
	case typeTenantErased:
		return f.tenantErased(subject, seq, e)
	case typeKeyRotated, typeKeyRevoked:
		return f.keyEnded(subject, seq, e)
	case typeMembersChanged:
		return f.membersChanged(subject, seq, e)
	case typeAlertingChanged:
		return f.alertingChanged(subject, seq, e)
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
	case t.OrgID != "" && f.orgs[t.OrgID] != "":
		return fmt.Errorf("organisation %s is %s's already", t.OrgID, f.orgs[t.OrgID])
	}
	if t.OrgID != "" {
		f.orgs[t.OrgID] = t.ID
	}
	f.tenants[t.ID] = &entry{Tenant: t}
	f.tenants[t.ID].limits.follow(f.plans, nil, &t, e.At)
	f.tenants[t.ID].agree(f.plans, e.At)
	f.place(t.ID, t.Database)
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
	if was.Status == StatusErased {
		return fmt.Errorf("tenant %s is erased", t.ID)
	}
	if t.OrgID != was.OrgID {
		if holder := f.orgs[t.OrgID]; t.OrgID != "" && holder != "" {
			return fmt.Errorf("organisation %s is %s's already", t.OrgID, holder)
		}
		delete(f.orgs, was.OrgID)
		if t.OrgID != "" {
			f.orgs[t.OrgID] = t.ID
		}
	}
	was.limits.follow(f.plans, &was.Tenant, &t, e.At)
	was.Tenant = t
	was.agree(f.plans, e.At)
	f.place(t.ID, t.Database)
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
	case k.TenantID != "" && (f.tenants[k.TenantID] == nil || f.tenants[k.TenantID].Status == StatusErased):
		return fmt.Errorf("key %s is of tenant %s, which does not exist", k.ID, k.TenantID)
	}
	f.keys[k.ID] = &keyEntry{Key: k, seq: seq}
	f.keysOf[k.TenantID] = append(f.keysOf[k.TenantID], k.ID)
	return nil
}

// keyEnded folds the end of a key, at once or after a while.
func (f *fold) keyEnded(subject string, seq uint64, e *event) error {
	k := f.keys[e.Key.ID]
	switch {
	case k == nil || k.TenantID != e.TenantID:
		return fmt.Errorf("key %s of %q does not exist", e.Key.ID, e.TenantID)
	case subject != keySubject(k.TenantID, k.ID):
		return fmt.Errorf("the end of key %s came on subject %s", k.ID, subject)
	}
	k.seq = seq
	switch {
	case k.Revoked():
	case e.Type == typeKeyRotated:
		k.ExpiresAt, k.RotatedTo = e.Key.ExpiresAt, e.Key.RotatedTo
	default:
		k.RevokedAt = e.At
	}
	return nil
}

func (f *fold) membersChanged(subject string, seq uint64, e *event) error {
	t := f.tenants[e.TenantID]
	switch {
	case t == nil || t.Status == StatusErased:
		return fmt.Errorf("tenant %s does not exist", e.TenantID)
	case subject != membersSubject(e.TenantID):
		return fmt.Errorf("members of %s came on subject %s", e.TenantID, subject)
	}
	p := f.people[e.TenantID]
	if p == nil {
		p = newPeople()
		f.people[e.TenantID] = p
	}
	p.seq = seq
	if err := p.check(e.Members); err != nil {
		return fmt.Errorf("members of %s: %w", e.TenantID, err)
	}
	for _, id := range e.Members.Removed {
		f.signedOut(p.members[id])
	}
	for _, m := range e.Members.Set {
		f.signedOut(p.members[m.ID])
		if m.Subject != "" {
			who := signIn{m.Issuer, m.Subject}
			f.signIns[who] = append(f.signIns[who], membership{e.TenantID, m.ID})
		}
	}
	p.apply(e.Members)
	return nil
}

func (f *fold) alertingChanged(subject string, seq uint64, e *event) error {
	if t := f.tenants[e.TenantID]; e.TenantID != "" && (t == nil || t.Status == StatusErased) {
		return fmt.Errorf("tenant %s does not exist", e.TenantID)
	}
	if subject != alertingSubject(e.TenantID) {
		return fmt.Errorf("channels of %q came on subject %s", e.TenantID, subject)
	}
	settings := e.Alerting.Clone()
	settings.Revision = seq
	f.alerting[e.TenantID] = &settings // never changed, but replaced: readers keep it
	return nil
}

// signedOut takes a member's sign-in away.
func (f *fold) signedOut(m Member) {
	who := signIn{m.Issuer, m.Subject}
	left := slices.DeleteFunc(f.signIns[who], func(s membership) bool { return s == membership{m.TenantID, m.ID} })
	if len(left) == 0 {
		delete(f.signIns, who)
	} else {
		f.signIns[who] = left
	}
}

// tenantErased leaves the id and the certificate. The records before it may be gone
// from the log by then, so it stands alone.
func (f *fold) tenantErased(subject string, seq uint64, e *event) error {
	if subject != tenantSubject(e.TenantID) {
		return fmt.Errorf("the erasure of %s came on subject %s", e.TenantID, subject)
	}
	was := f.tenants[e.TenantID]
	if was == nil {
		was = &entry{}
		f.tenants[e.TenantID] = was
	}
	if was.Status == StatusErased {
		was.updateSeq = seq
		return fmt.Errorf("tenant %s is erased already", e.TenantID)
	}
	f.place(e.TenantID, "")
	if slug := was.Slug; slug != "" {
		delete(f.slugs, slug)
		delete(f.slugSeq, slug)
		if at, ok := slices.BinarySearch(f.order, slug); ok {
			f.order = slices.Delete(f.order, at, at+1)
		}
		delete(f.orgs, was.OrgID)
	}
	if p := f.people[e.TenantID]; p != nil {
		for _, m := range p.members {
			f.signedOut(m)
		}
		delete(f.people, e.TenantID)
	}
	delete(f.alerting, e.TenantID)
	for _, id := range f.keysOf[e.TenantID] {
		delete(f.keys, id)
	}
	delete(f.keysOf, e.TenantID)
	for key, m := range f.made {
		if m.tenantID == e.TenantID {
			delete(f.made, key)
		}
	}
	*was = entry{updateSeq: seq, Tenant: Tenant{ID: e.TenantID, Status: StatusErased, ErasedAt: e.At,
		UpdatedAt: e.At, Certificate: e.Certificate, Revision: seq}}
	return nil
}

// clockOf cuts a time to what JSON bodies keep, so that the fold after a restart
// equals the one before.
func clockOf(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
