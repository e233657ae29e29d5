package main

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// tenantView is a tenant as the API shows it.
type tenantView struct {
	ID               string                 `json:"id"`
	Name             string                 `json:"name"`
	Slug             string                 `json:"slug"`
	OrgID            string                 `json:"org_id"`
	Plan             string                 `json:"plan"`
	Status           string                 `json:"status"`
	SuspendedReason  string                 `json:"suspended_reason"`
	BillingEmail     string                 `json:"billing_email"`
	StripeCustomerID string                 `json:"stripe_customer_id"`
	MonthlyBudget    *schemas.Money         `json:"monthly_budget"`
	DailyBudget      *schemas.Money         `json:"daily_budget"`
	Budgets          []tenancy.Budget       `json:"budgets"`
	Quotas           tenancy.Quotas         `json:"quotas"`
	QuotaOverrides   tenancy.QuotaOverrides `json:"quota_overrides"`
	Isolation        string                 `json:"isolation"`
	DashboardURL     string                 `json:"dashboard_url"`
	CreatedAt        time.Time              `json:"created_at"`
	UpdatedAt        time.Time              `json:"updated_at"`
	TrialEndsAt      time.Time              `json:"trial_ends_at"`
	DeletedAt        time.Time              `json:"deleted_at"`
	EraseAt          time.Time              `json:"erase_at"`
	ErasedAt         time.Time              `json:"erased_at"`
	Revision         uint64                 `json:"revision"`
}

// newTenant is `panda tenant`.
func newTenant(a *app) *cobra.Command {
	return group("tenant", "Create and manage tenants, their limits, people and data",
		newTenantCreate(a), newTenantUpdate(a), newTenantUpgrade(a), newTenantList(a), newTenantShow(a), newTenantUsage(a),
		newTenantInvite(a), newTenantInvitations(a), newTenantAccept(a), newTenantMembers(a), newTenantImportUsers(a),
		newTenantSuspend(a), newTenantResume(a), newTenantActivate(a), newTenantDelete(a), newTenantRestore(a),
		newTenantProvision(a), newTenantExport(a), newTenantEraseUser(a), newTenantMigrate(a))
}

// tenantPath is the address of a tenant, or of something of it.
func tenantPath(tenant string, rest ...string) string {
	path := "/v1/tenants/" + url.PathEscape(tenant)
	for _, part := range rest {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// headOf are the lines about a tenant that the product's guide shows.
func headOf(t *tenantView) [][2]string {
	return [][2]string{{"Tenant ID", t.ID}, {"Name", t.Name}, {"Slug", t.Slug}, {"Dashboard", t.DashboardURL},
		{"Status", tenantStatus(t, time.Now())}}
}

// drawTenant writes everything about a tenant.
func (a *app) drawTenant(t *tenantView) {
	a.fields(append(headOf(t), [][2]string{
		{"Suspended because", t.SuspendedReason}, {"Can be restored until", stampUTC(t.EraseAt)}, {"Erased", stampUTC(t.ErasedAt)},
		{"Plan", t.Plan}, {"Isolation", t.Isolation}, {"Monthly budget", budgetCell(t.MonthlyBudget)}, {"Daily budget", budgetCell(t.DailyBudget)}, {"Billing e-mail", t.BillingEmail},
		{"Stripe customer", t.StripeCustomerID}, {"Organisation", t.OrgID}, {"Created", stampUTC(t.CreatedAt)},
		{"Changed", stampUTC(t.UpdatedAt)}, {"Revision", strconv.FormatUint(t.Revision, 10)},
	}...))
	if t.Status == string(tenancy.StatusErased) {
		return
	}
	a.print("\n")
	a.draw(quotaGrid(t))
	if len(t.Budgets) > 0 {
		a.print("\n")
		a.draw(budgetGrid(t.Budgets))
	}
}

// quotaTitles are the names of quotas in the product's guide.
var quotaTitles = map[tenancy.QuotaName]string{
	tenancy.MaxAgents: "Agents", tenancy.MaxMonthlyTokens: "Monthly tokens", tenancy.MaxStorageGB: "Storage (GB)",
	tenancy.MaxConcurrentSessions: "Concurrent sessions", tenancy.MaxAPICallsPerMinute: "API calls/min",
}

func quotaGrid(t *tenantView) grid {
	g := grid{columns: []column{textColumn("quota"), numberColumn("limit"), textColumn("from")}}
	for _, name := range tenancy.QuotaNames() {
		from := "plan " + t.Plan
		if _, own := t.QuotaOverrides[name]; own {
			from = "its own"
		}
		g.rows = append(g.rows, []string{quotaTitles[name], limitText(t.Quotas.Of(name)), from})
	}
	return g
}

// limitText is a limit for people.
func limitText(l tenancy.Limit) string {
	if l == tenancy.Unlimited {
		return l.String()
	}
	return grouped(int64(l))
}

func budgetGrid(budgets []tenancy.Budget) grid {
	g := grid{columns: []column{textColumn("budget of"), textColumn("name"), numberColumn("per month")}}
	daily := slices.ContainsFunc(budgets, func(b tenancy.Budget) bool { return b.HasDaily })
	if daily {
		g.columns = append(g.columns, numberColumn("per day"))
	}
	for i := range budgets {
		b := &budgets[i]
		month, day := "", ""
		if !b.DailyOnly {
			month = b.MonthlyBudget.Display()
		}
		if b.HasDaily {
			day = b.DailyBudget.Display()
		}
		row := []string{strings.ReplaceAll(string(b.Kind), "_", " "), b.Name, month}
		if daily {
			row = append(row, day)
		}
		g.rows = append(g.rows, row)
	}
	return g
}

// fields writes names and values, one a line, without those that are empty.
func (a *app) fields(pairs [][2]string) {
	for _, p := range pairs {
		if p[1] != "" {
			a.print("%s: %s\n", p[0], visible(p[1]))
		}
	}
}

// tenantStatus is the state of a tenant in words. A day of a trial that has begun is
// one that remains.
func tenantStatus(t *tenantView, now time.Time) string {
	if t.Status == "" {
		return ""
	}
	if t.Status != string(tenancy.StatusTrial) {
		return strings.ToUpper(t.Status[:1]) + t.Status[1:]
	}
	if t.TrialEndsAt.IsZero() {
		return "Active (Trial)"
	}
	const day = 24 * time.Hour
	days := int64((t.TrialEndsAt.Sub(now) + day - 1) / day)
	return "Active (Trial - " + plural(max(days, 0), "day", "days") + " remaining)"
}

func budgetCell(amount *schemas.Money) string {
	if amount == nil {
		return ""
	}
	return amount.Display()
}

// stampUTC is a time in a sentence.
func stampUTC(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t) + " UTC"
}

// tenantGrid is the table of tenants for people.
func tenantGrid(tenants []tenantView) grid {
	g := grid{columns: []column{textColumn("slug"), textColumn("name"), textColumn("plan"), textColumn("status"),
		numberColumn("budget"), textColumn("id"), textColumn("created")}}
	for i := range tenants {
		t := &tenants[i]
		g.rows = append(g.rows, []string{t.Slug, t.Name, t.Plan, t.Status, budgetCell(t.MonthlyBudget), t.ID, stamp(t.CreatedAt)})
	}
	return g
}

// tenantCSV has everything about tenants that fits a cell, for machines: amounts and
// limits as the API has them.
func tenantCSV(tenants []tenantView) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("slug"), textColumn("name"), textColumn("plan"), textColumn("status"),
		textColumn("billing_email"), textColumn("stripe_customer_id"), textColumn("org_id"), numberColumn("monthly_budget"), numberColumn("daily_budget")}}
	for _, name := range tenancy.QuotaNames() {
		g.columns = append(g.columns, numberColumn(string(name)))
	}
	for _, name := range []string{"isolation", "created_at", "trial_ends_at", "deleted_at", "erase_at", "revision"} {
		g.columns = append(g.columns, textColumn(name))
	}
	for i := range tenants {
		t := &tenants[i]
		month, day := "", ""
		if t.MonthlyBudget != nil {
			month = t.MonthlyBudget.String()
		}
		if t.DailyBudget != nil {
			day = t.DailyBudget.String()
		}
		row := []string{t.ID, t.Slug, t.Name, t.Plan, t.Status, t.BillingEmail, t.StripeCustomerID, t.OrgID, month, day}
		for _, name := range tenancy.QuotaNames() {
			row = append(row, t.Quotas.Of(name).String())
		}
		g.rows = append(g.rows, append(row, t.Isolation, instant(t.CreatedAt), instant(t.TrialEndsAt), instant(t.DeletedAt),
			instant(t.EraseAt), strconv.FormatUint(t.Revision, 10)))
	}
	return g
}

// instant is a time for machines.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// showTenant writes a tenant in the form that was asked for.
func (a *app) showTenant(t *tenantView, raw []byte, people func()) error {
	return a.show(raw, func() grid { return tenantCSV([]tenantView{*t}) }, people)
}

func newTenantShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show TENANT", Short: "Show a tenant by slug or id: status, limits, budgets", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				t, raw, err := call[tenantView](cmd.Context(), c, get(tenantPath(args[0]), nil))
				if err != nil {
					return err
				}
				return a.showTenant(&t, raw, func() { a.drawTenant(&t) })
			})
		},
	}
}
