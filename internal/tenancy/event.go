package tenancy

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// eventVersion is the version of the bodies below. A change that an older binary
// would read wrongly raises it.
const eventVersion = 1

// The types of events about tenants and keys.
const (
	typeTenantCreated = "tenant.created"
	typeTenantUpdated = "tenant.updated"
	typeKeyCreated    = "key.created"
	typeKeyRevoked    = "key.revoked"
)

// event is the JSON body of a record on CONTROL. Tenant and Key are the state
// after the event, from which the registry is folded; Changes say the same as
// from and to, for people.
type event struct {
	Version  int               `json:"v"`
	Type     string            `json:"type"`
	ID       string            `json:"id"`
	At       time.Time         `json:"at"`
	Actor    string            `json:"actor"`
	IP       string            `json:"ip,omitempty"`
	TenantID string            `json:"tenant_id,omitempty"`
	Request  *request          `json:"request,omitempty"`
	Tenant   *tenantBody       `json:"tenant,omitempty"`
	Key      *keyBody          `json:"key,omitempty"`
	Changes  map[string]change `json:"changes,omitempty"`
}

// request identifies the request that made a tenant, so that the same request
// is recognised when it comes again.
type request struct {
	Key string `json:"key"`
	// Hash is the hex SHA-256 of what was asked for.
	Hash string `json:"hash"`
}

// change is a field before and after; From is absent when there was nothing.
type change struct {
	From any `json:"from,omitempty"`
	To   any `json:"to"`
}

type tenantBody struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	Slug             string         `json:"slug"`
	Plan             Plan           `json:"plan"`
	Status           Status         `json:"status"`
	BillingEmail     string         `json:"billing_email,omitempty"`
	MonthlyBudget    *schemas.Money `json:"monthly_budget,omitempty"`
	MaxMonthlyTokens int64          `json:"max_monthly_tokens,omitempty"`
	CreatedAt        time.Time      `json:"created_at"`
}

func bodyOfTenant(t *Tenant) *tenantBody {
	b := &tenantBody{ID: t.ID, Name: t.Name, Slug: t.Slug, Plan: t.Plan, Status: t.Status,
		BillingEmail: t.BillingEmail, MaxMonthlyTokens: t.MaxMonthlyTokens, CreatedAt: t.CreatedAt}
	if t.HasBudget {
		b.MonthlyBudget = &t.MonthlyBudget
	}
	return b
}

func (b *tenantBody) tenant(updated time.Time, revision uint64) Tenant {
	t := Tenant{ID: b.ID, Name: b.Name, Slug: b.Slug, Plan: b.Plan, Status: b.Status,
		BillingEmail: b.BillingEmail, MaxMonthlyTokens: b.MaxMonthlyTokens,
		CreatedAt: b.CreatedAt, UpdatedAt: updated, Revision: revision}
	if b.MonthlyBudget != nil {
		t.MonthlyBudget, t.HasBudget = *b.MonthlyBudget, true
	}
	return t
}

// fields are the words of the audit log. Absent fields are absent here too.
func (b *tenantBody) fields() map[string]any {
	f := map[string]any{"name": b.Name, "slug": b.Slug, "plan": b.Plan, "status": b.Status}
	if b.BillingEmail != "" {
		f["billing_email"] = b.BillingEmail
	}
	if b.MonthlyBudget != nil {
		f["monthly_budget"] = b.MonthlyBudget.String()
	}
	if b.MaxMonthlyTokens != 0 {
		f["max_monthly_tokens"] = b.MaxMonthlyTokens
	}
	return f
}

// changesBetween lists what differs; from may be nil for a new tenant.
func changesBetween(from, to *tenantBody) map[string]change {
	before := map[string]any{}
	if from != nil {
		before = from.fields()
	}
	after := to.fields()
	changes := map[string]change{}
	for name, value := range after {
		if was := before[name]; was != value {
			changes[name] = change{From: was, To: value}
		}
	}
	for name, was := range before {
		if _, there := after[name]; !there {
			changes[name] = change{From: was, To: nil}
		}
	}
	return changes
}

type keyBody struct {
	ID     string       `json:"id"`
	Name   string       `json:"name,omitempty"`
	Scopes []Permission `json:"scopes,omitempty"`
	Hash   string       `json:"hash,omitempty"`
}

func (b *keyBody) key(tenantID string, created time.Time) (Key, error) {
	k := Key{ID: b.ID, TenantID: tenantID, Name: b.Name, Scopes: b.Scopes, CreatedAt: created}
	hash, err := hex.DecodeString(b.Hash)
	if err != nil || len(hash) != len(k.Hash) {
		return Key{}, fmt.Errorf("key %s: the hash is not 32 bytes of hex", b.ID)
	}
	copy(k.Hash[:], hash)
	if slices.ContainsFunc(k.Scopes, func(p Permission) bool { return !p.Known() }) {
		return Key{}, fmt.Errorf("key %s: unknown scope among %v", b.ID, k.Scopes)
	}
	return k, nil
}

// decode reads a record. An unknown version or type is an error: an older binary
// must not guess at access rights.
func decode(data []byte) (event, error) {
	var e event
	if err := json.Unmarshal(data, &e); err != nil {
		return event{}, fmt.Errorf("decode: %w", err)
	}
	if e.Version != eventVersion {
		return event{}, fmt.Errorf("event version %d is not known, this binary knows %d; run a newer one",
			e.Version, eventVersion)
	}
	var complete bool
	switch e.Type {
	case typeTenantCreated:
		complete = e.Tenant != nil && e.Request != nil && e.Tenant.ID == e.TenantID
	case typeTenantUpdated:
		complete = e.Tenant != nil && e.Tenant.ID == e.TenantID
	case typeKeyCreated, typeKeyRevoked:
		complete = e.Key != nil
	default:
		return event{}, fmt.Errorf("event type %q is not known; run a newer binary", e.Type)
	}
	if !complete {
		return event{}, fmt.Errorf("event %s of type %s lacks a part", e.ID, e.Type)
	}
	return e, nil
}

// The subjects of CONTROL that the registry is folded from.
const (
	subjectSlug   = "control.slug."
	subjectTenant = "control.tenant."
	subjectKey    = "control.key."
	ownerPlatform = "platform"
)

func slugSubject(slug string) string { return subjectSlug + slug }
func tenantSubject(id string) string { return subjectTenant + id }
func keySubject(tenantID, id string) string {
	if tenantID == "" {
		tenantID = ownerPlatform
	}
	return subjectKey + tenantID + "." + id
}
