package export

import (
	"context"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// tenantRecord is a tenant's record in the registry.
type tenantRecord struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	Slug             string         `json:"slug"`
	OrgID            string         `json:"org_id,omitempty"`
	Status           tenancy.Status `json:"status"`
	BillingEmail     string         `json:"billing_email,omitempty"`
	StripeCustomerID string         `json:"stripe_customer_id,omitempty"`
	SuspendedReason  string         `json:"suspended_reason,omitempty"`
	CreatedAt        time.Time      `json:"created_at"`
	UpdatedAt        time.Time      `json:"updated_at"`
	TrialEndsAt      time.Time      `json:"trial_ends_at,omitzero"`
	DeletedAt        time.Time      `json:"deleted_at,omitzero"`
	EraseAt          time.Time      `json:"erase_at,omitzero"`
	Revision         uint64         `json:"revision"`
}

// configurationRecord is how the tenant is set up.
type configurationRecord struct {
	Plan           tenancy.Plan           `json:"plan"`
	Quotas         tenancy.Quotas         `json:"quotas"`
	QuotaOverrides tenancy.QuotaOverrides `json:"quota_overrides,omitempty"`
	MonthlyBudget  *schemas.Money         `json:"monthly_budget,omitempty"`
	DailyBudget    *schemas.Money         `json:"daily_budget,omitempty"`
	Budgets        []tenancy.Budget       `json:"budgets,omitempty"`
	Isolation      tenancy.Isolation      `json:"isolation,omitempty"`
	Database       string                 `json:"database,omitempty"`
}

// keyRecord is a key without what proves it.
type keyRecord struct {
	ID        string               `json:"id"`
	Name      string               `json:"name"`
	Scopes    []tenancy.Permission `json:"scopes"`
	CreatedAt time.Time            `json:"created_at"`
	RevokedAt time.Time            `json:"revoked_at,omitzero"`
	ExpiresAt time.Time            `json:"expires_at,omitzero"`
	RotatedTo string               `json:"rotated_to,omitempty"`
}

// writeRegistry writes what the registry knows.
func (x *Exporter) writeRegistry(ctx context.Context, scope tenancy.Scope, t *tenancy.Tenant, d *document) error {
	if err := d.section("tenant", true); err != nil {
		return err
	}
	err := d.record(tenantRecord{ID: t.ID, Name: t.Name, Slug: t.Slug, OrgID: t.OrgID, Status: t.Status, BillingEmail: t.BillingEmail,
		StripeCustomerID: t.StripeCustomerID, SuspendedReason: t.SuspendedReason, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		TrialEndsAt: t.TrialEndsAt, DeletedAt: t.DeletedAt, EraseAt: t.EraseAt, Revision: t.Revision})
	if err != nil {
		return err
	}
	if err := d.section("configuration", true); err != nil {
		return err
	}
	configuration := configurationRecord{Plan: t.Plan, Quotas: x.cfg.Registry.Quotas(t), QuotaOverrides: t.QuotaOverrides,
		Budgets: t.Budgets, Isolation: t.Isolation, Database: t.Database}
	if t.HasBudget {
		configuration.MonthlyBudget = &t.MonthlyBudget
	}
	if t.HasDailyBudget {
		configuration.DailyBudget = &t.DailyBudget
	}
	if err := d.record(configuration); err != nil {
		return err
	}
	if err := list(d, "members", x.cfg.Registry.MembersOf(t.ID)); err != nil {
		return err
	}
	if err := list(d, "invitations", x.cfg.Registry.InvitationsOf(t.ID)); err != nil {
		return err
	}
	var keys []keyRecord
	for _, k := range x.cfg.Registry.KeysOf(t.ID) {
		keys = append(keys, keyRecord{ID: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt, RevokedAt: k.RevokedAt,
			ExpiresAt: k.ExpiresAt, RotatedTo: k.RotatedTo})
	}
	if err := list(d, "keys", keys); err != nil {
		return err
	}
	alerting := x.cfg.Registry.Alerting(t.ID)
	channels := make([]contact.Channel, 0, len(alerting.Channels))
	for _, c := range alerting.Channels {
		channels = append(channels, c.Shown())
	}
	if err := list(d, "alert_channels", channels); err != nil {
		return err
	}
	if err := list(d, "alert_mutes", alerting.Mutes); err != nil {
		return err
	}
	return x.writeAudit(ctx, scope, t.ID, d)
}

func list[T any](d *document, name string, records []T) error {
	if err := d.section(name, false); err != nil {
		return err
	}
	for i := range records {
		if err := d.record(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeAudit writes the audit log, oldest first. It is read going back, and is what
// people did, so it fits into memory.
func (x *Exporter) writeAudit(ctx context.Context, scope tenancy.Scope, tenant string, d *document) error {
	var entries []tenancy.AuditEntry
	for before := uint64(0); ; {
		page, next, err := x.cfg.Registry.Audit(ctx, scope, tenancy.AuditQuery{TenantID: tenant, Before: before, Limit: tenancy.AuditLimitMax})
		if err != nil {
			return err
		}
		entries = append(entries, page...)
		if next == 0 {
			break
		}
		before = next
	}
	slices.Reverse(entries)
	return list(d, "audit", entries)
}
