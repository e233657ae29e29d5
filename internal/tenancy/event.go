package tenancy

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/schemas"
)

// eventVersion is the version of the bodies below. A change that an older binary
// would read wrongly raises it.
const eventVersion = 1

// The types of events about tenants and keys.
const (
	typeTenantCreated = "tenant.created"
	typeTenantUpdated = "tenant.updated"
	typeTenantErased  = "tenant.erased"
	typeKeyCreated    = "key.created"
	typeKeyRotated    = "key.rotated"
	typeKeyRevoked    = "key.revoked"
	// typeMembersChanged holds members and invitations as they are after it.
	typeMembersChanged = "members.changed"
	// typeAlertingChanged holds channels and mutes as they are after it.
	typeAlertingChanged = "alerting.changed"
	// typeAttempt is something that was refused. Nothing is folded from it.
	typeAttempt = "attempt.refused"
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
	Members  *membersBody      `json:"members,omitempty"`
	Alerting *contact.Settings `json:"alerting,omitempty"`
	Changes  map[string]change `json:"changes,omitempty"`
	// Action is the word of the audit log, where the type is too wide a word.
	Action string `json:"action,omitempty"`
	// Detail is the reason of a refusal, for people. Times is how often it happened
	// in the minute that the record stands for.
	Detail string `json:"detail,omitempty"`
	Times  int    `json:"times,omitempty"`
	// Certificate is that of an erasure.
	Certificate json.RawMessage `json:"certificate,omitempty"`
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
	OrgID            string         `json:"org_id,omitempty"`
	Plan             Plan           `json:"plan"`
	Status           Status         `json:"status"`
	BillingEmail     string         `json:"billing_email,omitempty"`
	StripeCustomerID string         `json:"stripe_customer_id,omitempty"`
	MonthlyBudget    *schemas.Money `json:"monthly_budget,omitempty"`
	DailyBudget      *schemas.Money `json:"daily_budget,omitempty"`
	Budgets          []Budget       `json:"budgets,omitempty"`
	Quotas           QuotaOverrides `json:"quotas,omitempty"`
	// MaxMonthlyTokens was written before there were other quotas.
	MaxMonthlyTokens int64     `json:"max_monthly_tokens,omitempty"`
	Isolation        Isolation `json:"isolation,omitempty"`
	Database         string    `json:"database,omitempty"`
	SuspendedReason  string    `json:"suspended_reason,omitempty"`
	StatusBefore     Status    `json:"status_before,omitempty"`
	CreatedAt        time.Time `json:"created_at"`
	TrialEndsAt      time.Time `json:"trial_ends_at,omitzero"`
	DeletedAt        time.Time `json:"deleted_at,omitzero"`
	EraseAt          time.Time `json:"erase_at,omitzero"`
	ErasingAt        time.Time `json:"erasing_at,omitzero"`
}

func bodyOfTenant(t *Tenant) *tenantBody {
	b := &tenantBody{ID: t.ID, Name: t.Name, Slug: t.Slug, OrgID: t.OrgID, Plan: t.Plan, Status: t.Status,
		BillingEmail: t.BillingEmail, StripeCustomerID: t.StripeCustomerID, Budgets: t.Budgets, Quotas: t.QuotaOverrides,
		Isolation: t.Isolation, Database: t.Database, SuspendedReason: t.SuspendedReason, StatusBefore: t.StatusBefore,
		CreatedAt: t.CreatedAt, TrialEndsAt: t.TrialEndsAt, DeletedAt: t.DeletedAt, EraseAt: t.EraseAt, ErasingAt: t.ErasingAt}
	if t.HasBudget {
		b.MonthlyBudget = &t.MonthlyBudget
	}
	if t.HasDailyBudget {
		b.DailyBudget = &t.DailyBudget
	}
	return b
}

func (b *tenantBody) tenant(updated time.Time, revision uint64) Tenant {
	t := Tenant{ID: b.ID, Name: b.Name, Slug: b.Slug, OrgID: b.OrgID, Plan: b.Plan, Status: b.Status,
		BillingEmail: b.BillingEmail, StripeCustomerID: b.StripeCustomerID, Budgets: b.Budgets, QuotaOverrides: b.Quotas,
		Isolation: b.Isolation, Database: b.Database, SuspendedReason: b.SuspendedReason, StatusBefore: b.StatusBefore,
		CreatedAt: b.CreatedAt, UpdatedAt: updated, TrialEndsAt: b.TrialEndsAt, DeletedAt: b.DeletedAt, EraseAt: b.EraseAt, ErasingAt: b.ErasingAt,
		Revision: revision}
	if b.MonthlyBudget != nil {
		t.MonthlyBudget, t.HasBudget = *b.MonthlyBudget, true
	}
	if b.DailyBudget != nil {
		t.DailyBudget, t.HasDailyBudget = *b.DailyBudget, true
	}
	if b.MaxMonthlyTokens != 0 && t.QuotaOverrides == nil {
		t.QuotaOverrides = QuotaOverrides{MaxMonthlyTokens: Limit(b.MaxMonthlyTokens)}
	}
	if t.TrialEndsAt.IsZero() {
		t.TrialEndsAt = b.CreatedAt.AddDate(0, 0, TrialDays)
	}
	if t.Isolation == "" {
		t.Isolation = SharedDatabase
	}
	return t
}

// fields are the words of the audit log. Absent fields are absent here too. Quotas
// are those that hold, so that a change of the plan shows what it changes.
func (b *tenantBody) fields(plans *Catalog) map[string]any {
	f := map[string]any{"name": b.Name, "slug": b.Slug, "plan": b.Plan, "status": b.Status}
	for name, value := range map[string]string{
		"org_id": b.OrgID, "billing_email": b.BillingEmail, "stripe_customer_id": b.StripeCustomerID,
		"isolation": string(b.Isolation), "database": b.Database, "suspended_reason": b.SuspendedReason,
	} {
		if value != "" {
			f[name] = value
		}
	}
	if b.MonthlyBudget != nil {
		f["monthly_budget"] = b.MonthlyBudget.String()
	}
	if b.DailyBudget != nil {
		f["daily_budget"] = b.DailyBudget.String()
	}
	for _, budget := range b.Budgets {
		of := string(budget.Kind) + ":" + budget.Name
		if !budget.DailyOnly {
			f["budget:"+of] = budget.MonthlyBudget.String()
		}
		if budget.HasDaily {
			f["daily_budget:"+of] = budget.DailyBudget.String()
		}
	}
	terms, _ := plans.Find(b.Plan)
	quotas := b.Quotas.on(terms.Quotas)
	for _, name := range QuotaNames() {
		f[string(name)] = quotas.Of(name)
	}
	for name, at := range map[string]time.Time{"deleted_at": b.DeletedAt, "erase_at": b.EraseAt, "erasing_at": b.ErasingAt} {
		if !at.IsZero() {
			f[name] = at.Format(time.RFC3339)
		}
	}
	return f
}

// changesBetween lists what differs; from may be nil for a new tenant.
func changesBetween(plans *Catalog, from, to *tenantBody) map[string]change {
	before := map[string]any{}
	if from != nil {
		before = from.fields(plans)
	}
	after := to.fields(plans)
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

// actionOf is the audit log's word for a change of a tenant, by what it changes.
func actionOf(changes map[string]change) string {
	to := func(name string) any { return changes[name].To }
	if _, ok := changes["status"]; ok {
		switch to("status") {
		case StatusSuspended:
			return "tenant.suspended"
		case StatusDeleted:
			return "tenant.deleted"
		}
		if changes["status"].From == StatusDeleted {
			return "tenant.restored"
		}
		if changes["status"].From == StatusSuspended {
			return "tenant.resumed"
		}
		return "tenant.activated"
	}
	only := func(is func(name string) bool) bool {
		for name := range changes {
			if !is(name) {
				return false
			}
		}
		return true
	}
	isBudget := func(name string) bool {
		return name == "monthly_budget" || name == "daily_budget" ||
			strings.HasPrefix(name, "budget:") || strings.HasPrefix(name, "daily_budget:")
	}
	isQuota := func(name string) bool { return new(Quotas).field(QuotaName(name)) != nil }
	switch _, plan := changes["plan"]; {
	case plan:
		return "plan.changed"
	case only(func(name string) bool { return name == "isolation" || name == "database" }):
		return "tenant.migrated"
	case only(isQuota):
		return "quota.updated"
	case only(isBudget):
		return "budget.updated"
	}
	return typeTenantUpdated
}

type keyBody struct {
	ID     string       `json:"id"`
	Name   string       `json:"name,omitempty"`
	Scopes []Permission `json:"scopes,omitempty"`
	Hash   string       `json:"hash,omitempty"`
	// ExpiresAt and RotatedTo are of a rotation.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	RotatedTo string    `json:"rotated_to,omitempty"`
	MemberID  string    `json:"member_id,omitempty"`
}

func (b *keyBody) key(tenantID string, created time.Time) (Key, error) {
	k := Key{ID: b.ID, TenantID: tenantID, Name: b.Name, Scopes: b.Scopes, MemberID: b.MemberID, CreatedAt: created}
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
	case typeTenantErased:
		complete = e.TenantID != ""
	case typeKeyCreated, typeKeyRotated, typeKeyRevoked:
		complete = e.Key != nil
	case typeMembersChanged:
		complete = e.Members != nil && e.TenantID != ""
	case typeAlertingChanged:
		complete = e.Alerting != nil
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
	// subjectMembers is followed by the tenant: all changes of its members and
	// invitations come one after the other, so that two of them cannot both take
	// away the last owner but one.
	subjectMembers = "control.members."
	// subjectAlerting is followed by the tenant or the platform.
	subjectAlerting = "control.alerting."
	// subjectAttempt is followed by the tenant or the platform. Nothing is folded
	// from it.
	subjectAttempt = "control.attempt."
	// subjectErasure is followed by the tenant and the id of the erasure: the
	// certificates of users that were erased. Nothing is folded from it.
	subjectErasure = "control.erasure."
	ownerPlatform  = "platform"
)

// UserErasureSubject is where the certificate of a user's erasure is kept, so that it
// is in the tenant's audit log.
func UserErasureSubject(tenantID, erasure string) string {
	return subjectErasure + tenantID + "." + erasure
}

func membersSubject(tenantID string) string { return subjectMembers + tenantID }

func alertingSubject(tenantID string) string {
	if tenantID == "" {
		tenantID = ownerPlatform
	}
	return subjectAlerting + tenantID
}

func slugSubject(slug string) string { return subjectSlug + slug }
func tenantSubject(id string) string { return subjectTenant + id }
func keySubject(tenantID, id string) string {
	if tenantID == "" {
		tenantID = ownerPlatform
	}
	return subjectKey + tenantID + "." + id
}
