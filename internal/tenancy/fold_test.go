package tenancy

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentik-os/panda/schemas"
)

var day = time.Date(2026, 2, 14, 9, 0, 0, 0, time.UTC)

func created(slug, id, key, hash string) *event {
	return &event{Version: 1, Type: typeTenantCreated, ID: "ev-" + id, At: day, TenantID: id, Request: &request{key, hash},
		Tenant: &tenantBody{ID: id, Name: slug, Slug: slug, Plan: PlanPro, Status: StatusTrial, CreatedAt: day}}
}

// What the fold lets through and what it passes over, in the order of the log.
// Every row that is passed over must leave no trace.
func TestFoldVerdicts(t *testing.T) {
	keyHash := strings.Repeat("ab", 32)
	key := func(kind, tenant, id string) *event {
		return &event{Version: 1, Type: kind, At: day, TenantID: tenant, Key: &keyBody{ID: id, Scopes: []Permission{PermissionRead}, Hash: keyHash}}
	}
	updated := func(id, slug string, created time.Time) *event {
		return &event{Version: 1, Type: typeTenantUpdated, At: day.Add(time.Hour), TenantID: id,
			Tenant: &tenantBody{ID: id, Name: "New", Slug: slug, Plan: PlanPro, Status: StatusSuspended, CreatedAt: created}}
	}
	plans, err := DefaultCatalog()
	if err != nil {
		t.Fatal(err)
	}
	f := newFold(plans)
	for i, row := range []struct {
		name, subject string
		event         *event
		passedOver    string
	}{
		{"first", "control.slug.acme", created("acme", "ten_a", "k1", "h1"), ""},
		{"slug again", "control.slug.acme", created("acme", "ten_b", "k2", "h2"), "slug acme is ten_a's"},
		{"id again", "control.slug.beta", created("beta", "ten_a", "k3", "h3"), "ten_a exists"},
		{"request again", "control.slug.beta", created("beta", "ten_c", "k1", "h9"), "request k1 made ten_a"},
		{"slug is still free", "control.slug.beta", created("beta", "ten_d", "k4", "h4"), ""},
		{"wrong subject", "control.slug.gamma", created("delta", "ten_e", "k5", "h5"), "came on subject"},
		{"update", "control.tenant.ten_a", updated("ten_a", "acme", day), ""},
		{"update of the slug", "control.tenant.ten_a", updated("ten_a", "beta", day), "never changes"},
		{"update of the birth", "control.tenant.ten_a", updated("ten_a", "acme", day.Add(1)), "never changes"},
		{"update of nobody", "control.tenant.ten_x", updated("ten_x", "acme", day), "does not exist"},
		{"update elsewhere", "control.tenant.ten_d", updated("ten_a", "acme", day), "came on subject"},
		{"key", "control.key.ten_a.aaaaaaaa", key(typeKeyCreated, "ten_a", "aaaaaaaa"), ""},
		{"key of another", "control.key.ten_d.aaaaaaaa", key(typeKeyCreated, "ten_d", "aaaaaaaa"), "exists already"},
		{"key of nobody", "control.key.ten_x.bbbbbbbb", key(typeKeyCreated, "ten_x", "bbbbbbbb"), "does not exist"},
		{"key elsewhere", "control.key.ten_d.bbbbbbbb", key(typeKeyCreated, "ten_a", "bbbbbbbb"), "came on subject"},
		{"revoked by another", "control.key.ten_d.aaaaaaaa", key(typeKeyRevoked, "ten_d", "aaaaaaaa"), "does not exist"},
		{"revoked", "control.key.ten_a.aaaaaaaa", key(typeKeyRevoked, "ten_a", "aaaaaaaa"), ""},
		{"platform key", "control.key.platform.cccccccc", key(typeKeyCreated, "", "cccccccc"), ""},
	} {
		err := f.apply(row.subject, uint64(i+1), row.event)
		if (err == nil) != (row.passedOver == "") || err != nil && !strings.Contains(err.Error(), row.passedOver) {
			t.Errorf("%s: %v, want %q", row.name, err, row.passedOver)
		}
	}
	if diff := cmp.Diff([]string{"acme", "beta"}, f.order); diff != "" {
		t.Error(diff)
	}
	if a := f.tenants["ten_a"]; a.Status != StatusSuspended || a.Name != "New" || a.Revision != 7 || !a.UpdatedAt.Equal(day.Add(time.Hour)) {
		t.Errorf("ten_a is %+v", a)
	}
	if k := f.keys["aaaaaaaa"]; k.TenantID != "ten_a" || !k.Revoked() || hex.EncodeToString(k.Hash[:]) != keyHash {
		t.Errorf("key is %+v", k)
	}
	if len(f.tenants) != 2 || len(f.keys) != 2 || f.slugSeq["beta"] != 5 {
		t.Errorf("%d tenants, %d keys, beta at %d", len(f.tenants), len(f.keys), f.slugSeq["beta"])
	}
}

// An older binary must stop rather than guess.
func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	good, err := json.Marshal(created("acme", "ten_a", "k", "h"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(good); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"version": strings.Replace(string(good), `"v":1`, `"v":2`, 1),
		"type":    strings.Replace(string(good), `tenant.created`, `tenant.merged`, 1),
		"part":    `{"v":1,"type":"key.created"}`,
		"tenant":  strings.Replace(string(good), `"tenant_id":"ten_a"`, `"tenant_id":"ten_b"`, 1),
		"json":    `{`,
	} {
		if _, err := decode([]byte(body)); err == nil {
			t.Errorf("%s: decoded %s", name, body)
		}
	}
}

func TestTenantSurvivesItsEvent(t *testing.T) {
	want := Tenant{ID: "ten_a", Name: "Ä", Slug: "acme", Plan: PlanEnterprise, Status: StatusActive, BillingEmail: "a@b.c",
		MonthlyBudget: schemas.Pico(1), HasBudget: true, QuotaOverrides: QuotaOverrides{MaxMonthlyTokens: 7, MaxAgents: Unlimited},
		OrgID: "org_1", StripeCustomerID: "cus_1", DailyBudget: schemas.Pico(2), HasDailyBudget: true,
		Budgets: []Budget{{Kind: BudgetAgent, Name: "bot", MonthlyBudget: schemas.Pico(5)},
			{Kind: BudgetAgent, Name: "day", DailyOnly: true, DailyBudget: schemas.Pico(0), HasDaily: true},
			{Kind: BudgetDepartment, Name: "both", MonthlyBudget: schemas.Pico(9), DailyBudget: schemas.Pico(3), HasDaily: true}},
		Isolation: IsolatedDatabase, Database: "panda_ten_a", SuspendedReason: "unpaid", StatusBefore: StatusTrial,
		CreatedAt: day, UpdatedAt: day.Add(1), TrialEndsAt: day.Add(2), DeletedAt: day.Add(3), EraseAt: day.Add(4), ErasingAt: day.Add(5), Revision: 9}
	data, err := json.Marshal(bodyOfTenant(&want))
	if err != nil {
		t.Fatal(err)
	}
	var b tenantBody
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.tenant(day.Add(1), 9), cmpopts.EquateComparable(schemas.Money{})); diff != "" {
		t.Error(diff)
	}
}

func TestChangesSayFromAndTo(t *testing.T) {
	plans, err := DefaultCatalog()
	if err != nil {
		t.Fatal(err)
	}
	money := schemas.Pico(2_000_000_000_000)
	from := &tenantBody{Name: "A", Slug: "a", Plan: PlanPro, Status: StatusTrial, BillingEmail: "x@y.z"}
	to := &tenantBody{Name: "B", Slug: "a", Plan: PlanPro, Status: StatusTrial, MonthlyBudget: &money}
	want := map[string]change{"name": {"A", "B"}, "billing_email": {"x@y.z", nil}, "monthly_budget": {nil, money.String()}}
	if diff := cmp.Diff(want, changesBetween(plans, from, to)); diff != "" {
		t.Error(diff)
	}
}
