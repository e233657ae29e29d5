package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

// tenantView is a tenant as the API shows it.
type tenantView struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	Slug             string         `json:"slug"`
	Plan             string         `json:"plan"`
	Status           string         `json:"status"`
	BillingEmail     string         `json:"billing_email"`
	MonthlyBudget    *schemas.Money `json:"monthly_budget"`
	MaxMonthlyTokens int64          `json:"max_monthly_tokens"`
	CreatedAt        time.Time      `json:"created_at"`
	UpdatedAt        time.Time      `json:"updated_at"`
	TrialEndsAt      time.Time      `json:"trial_ends_at"`
	DashboardURL     string         `json:"dashboard_url"`
}

type tenantList struct {
	Items      []tenantView `json:"items"`
	NextCursor string       `json:"next_cursor"`
}

// newTenantRequest is the body of POST /v1/tenants.
type newTenantRequest struct {
	Name             string `json:"name"`
	Slug             string `json:"slug"`
	Plan             string `json:"plan,omitempty"`
	BillingEmail     string `json:"billing_email,omitempty"`
	MonthlyBudget    string `json:"monthly_budget,omitempty"`
	MaxMonthlyTokens int64  `json:"max_monthly_tokens,omitempty"`
	MaxAgents        int64  `json:"max_agents,omitempty"`
}

// newTenant is `panda tenant`.
func newTenant(a *app) *cobra.Command {
	return group("tenant", "Create and list tenants", newTenantCreate(a), newTenantList(a), newTenantShow(a),
		newTenantProvision(a))
}

func newTenantCreate(a *app) *cobra.Command {
	var body newTenantRequest
	cmd := &cobra.Command{
		Use: "create", Short: "Create a tenant", Args: cobra.NoArgs,
		Example: "  panda tenant create --name \"Acme Corporation\" --slug acme-corp --plan pro \\\n" +
			"    --monthly-budget 1000 --billing-email billing@acme.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if body.MonthlyBudget != "" {
				if _, err := schemas.ParseMoney(body.MonthlyBudget); err != nil {
					return usagef("--monthly-budget: %v", err)
				}
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				t, raw, err := a.createTenant(cmd.Context(), c, body)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return tenantGrid([]tenantView{t}) }, func() {
					a.print("%s Tenant created successfully!\n\n", a.sign("✅", "*"))
					a.drawTenant(t)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&body.Name, "name", "", "name of the organisation")
	f.StringVar(&body.Slug, "slug", "", "its name in addresses and on the command line: a-z, 0-9 and dashes; it never changes")
	f.StringVar(&body.Plan, "plan", "", "starter, pro or enterprise")
	f.StringVar(&body.MonthlyBudget, "monthly-budget", "", "budget of a UTC month in USD, such as 1000 or 99.50")
	f.StringVar(&body.BillingEmail, "billing-email", "", "where invoices go")
	f.Int64Var(&body.MaxMonthlyTokens, "max-monthly-tokens", 0, "limit on the tokens of a UTC month (0: the plan's own)")
	f.Int64Var(&body.MaxAgents, "max-agents", 0, "limit on agents (0: the plan's own)")
	_ = cmd.MarkFlagRequired("name")
	_ = cmd.MarkFlagRequired("slug")
	return cmd
}

// createTenant creates a tenant. A server that keeps no limit on agents gets the
// request again without one, and the user is told.
func (a *app) createTenant(ctx context.Context, c *apiClient, body newTenantRequest) (tenantView, []byte, error) {
	for {
		r, err := post("/v1/tenants", nil, body)
		if err != nil {
			return tenantView{}, nil, err
		}
		r.header = http.Header{"Idempotency-Key": {uuid.NewString()}}
		r.retry = true
		t, raw, err := call[tenantView](ctx, c, r)
		if body.MaxAgents != 0 && refusesField(err, "/max_agents") {
			a.say("note: this server keeps no limit on agents; --max-agents is left out\n")
			body.MaxAgents = 0
			continue
		}
		return t, raw, err
	}
}

// refusesField reports whether an answer does not know a field.
func refusesField(err error, pointer string) bool {
	var api *apiError
	return errors.As(err, &api) && slices.ContainsFunc(api.Errors, func(f problemField) bool {
		return f.Pointer == pointer && (f.Code == schemas.CodeUnknown || f.Code == schemas.CodeUnsupported)
	})
}

// drawTenant writes a tenant the way the product's guide shows it.
func (a *app) drawTenant(t tenantView) {
	a.fields([][2]string{
		{"Tenant ID", t.ID}, {"Name", t.Name}, {"Slug", t.Slug}, {"Dashboard", t.DashboardURL},
		{"Status", tenantStatus(t)}, {"Plan", t.Plan}, {"Monthly budget", budgetCell(t)},
		{"Monthly tokens", limitCell(t.MaxMonthlyTokens)}, {"Billing e-mail", t.BillingEmail},
		{"Created", stamp(t.CreatedAt)},
	})
}

// fields writes names and values, one a line, without those that are empty.
func (a *app) fields(pairs [][2]string) {
	for _, p := range pairs {
		if p[1] != "" {
			a.print("%s: %s\n", p[0], visible(p[1]))
		}
	}
}

func tenantStatus(t tenantView) string {
	if t.Status == "" {
		return ""
	}
	if t.Status != "trial" {
		return strings.ToUpper(t.Status[:1]) + t.Status[1:]
	}
	if t.TrialEndsAt.IsZero() {
		return "Active (Trial)"
	}
	days := int64(time.Until(t.TrialEndsAt) / (24 * time.Hour))
	return "Active (Trial - " + plural(max(days, 0), "day", "days") + " remaining)"
}

func budgetCell(t tenantView) string {
	if t.MonthlyBudget == nil {
		return ""
	}
	return t.MonthlyBudget.Display()
}

func limitCell(n int64) string {
	if n == 0 {
		return ""
	}
	return grouped(n)
}

func newTenantList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tenants", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, tenants, err := allPages(cmd.Context(), c, "/v1/tenants", nil, "items", 0,
					func(l tenantList) ([]tenantView, string) { return l.Items, l.NextCursor })
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return tenantGrid(tenants) }, func() {
					if len(tenants) == 0 {
						a.print("No tenants yet. Create one with: panda tenant create --name NAME --slug SLUG\n")
						return
					}
					a.draw(tenantGrid(tenants))
				})
			})
		},
	}
}

func tenantGrid(tenants []tenantView) grid {
	g := grid{columns: []column{textColumn("slug"), textColumn("name"), textColumn("plan"), textColumn("status"),
		numberColumn("budget"), textColumn("id"), textColumn("created")}}
	for _, t := range tenants {
		g.rows = append(g.rows, []string{t.Slug, t.Name, t.Plan, t.Status, budgetCell(t), t.ID, stamp(t.CreatedAt)})
	}
	return g
}

func newTenantShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show TENANT", Short: "Show a tenant by slug or id", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				t, raw, err := call[tenantView](cmd.Context(), c, get("/v1/tenants/"+url.PathEscape(args[0]), nil))
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return tenantGrid([]tenantView{t}) }, func() { a.drawTenant(t) })
			})
		},
	}
}
