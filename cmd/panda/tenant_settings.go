package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// tenantFlags are the settings of a tenant, as create and update take them.
type tenantFlags struct {
	name, plan, orgID, billingEmail, stripe string
	budget, daily                           string // of the tenant as a whole
	quotas                                  map[tenancy.QuotaName]*string
	budgets                                 []string
}

// The words that take a setting away: what it was without.
func isNone(text string) bool { return text == "none" || text == "default" }

func quotaFlag(name tenancy.QuotaName) string { return strings.ReplaceAll(string(name), "_", "-") }

// add gives a command the flags; word is how a setting is taken back, "" if it cannot be.
func (f *tenantFlags) add(a *app, cmd *cobra.Command, word string) {
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", "", "name of the organisation")
	fs.StringVar(&f.plan, "plan", "", "starter, pro or enterprise; panda plans shows them")
	f.quotas = map[tenancy.QuotaName]*string{}
	for _, name := range tenancy.QuotaNames() {
		f.quotas[name] = fs.String(quotaFlag(name), "", map[tenancy.QuotaName]string{
			tenancy.MaxAgents: "limit on agents", tenancy.MaxMonthlyTokens: "limit on the tokens of a UTC month",
			tenancy.MaxStorageGB:          "limit on storage, in GB of 1,000,000,000 bytes",
			tenancy.MaxConcurrentSessions: "limit on sessions at a time", tenancy.MaxAPICallsPerMinute: "limit on API calls a minute",
		}[name]+": a whole number, \"unlimited\" or \"default\" (the plan's)")
	}
	fs.StringVar(&f.budget, "monthly-budget", "", "budget of a UTC month in USD, such as 1000 or 99.50"+word)
	fs.StringVar(&f.daily, "daily-budget", "", "budget of a UTC day in USD, which alerts and does not throttle"+word)
	fs.StringArrayVar(&f.budgets, "budget", nil, "budget of a part, such as department:Support=500 (a month) or =500/month,20/day; also agent:… and cost_center:…"+word+"; repeatable")
	fs.StringVar(&f.billingEmail, "billing-email", "", "where invoices go"+word)
	fs.StringVar(&f.stripe, "stripe-customer", "", "customer at Stripe, such as cus_123"+word)
	fs.StringVar(&f.orgID, "org-id", "", "the organisation's id at the identity provider"+word)
	_ = cmd.RegisterFlagCompletionFunc("plan", a.completePlan)
}

// body is what the flags say, for a request: what was given, and nothing else. Budgets
// of parts are not in it.
func (f *tenantFlags) body(given *pflag.FlagSet) (map[string]any, error) {
	body := map[string]any{}
	for flag, field := range map[string]struct{ name, text string }{
		"name": {"name", f.name}, "org-id": {"org_id", f.orgID}, "billing-email": {"billing_email", f.billingEmail},
		"stripe-customer": {"stripe_customer_id", f.stripe},
	} {
		switch {
		case !given.Changed(flag):
		case flag != "name" && isNone(field.text):
			body[field.name] = nil
		default:
			body[field.name] = field.text
		}
	}
	quotas := map[string]any{}
	for _, name := range tenancy.QuotaNames() {
		if flag := quotaFlag(name); given.Changed(flag) {
			limit, err := quotaValue(*f.quotas[name])
			if err != nil {
				return nil, usagef("--%s: %v", flag, err)
			}
			quotas[string(name)] = limit
		}
	}
	if len(quotas) > 0 {
		body["quotas"] = quotas
	}
	for flag, field := range map[string]struct{ name, text string }{
		"monthly-budget": {"monthly_budget", f.budget}, "daily-budget": {"daily_budget", f.daily},
	} {
		switch {
		case !given.Changed(flag):
		case isNone(field.text):
			body[field.name] = nil
		default:
			amount, err := budgetAmount(field.text)
			if err != nil {
				return nil, usagef("--%s: %v", flag, err)
			}
			body[field.name] = amount
		}
	}
	return body, nil
}

// quotaValue reads a limit; nil is the plan's own.
func quotaValue(text string) (any, error) {
	if isNone(text) {
		return nil, nil
	}
	limit, err := tenancy.ParseLimit(text)
	if err != nil {
		return nil, fmt.Errorf("%w; \"default\" is the plan's own", err)
	}
	return limit, nil
}

func budgetAmount(text string) (schemas.Money, error) {
	amount, err := schemas.ParseMoney(text)
	if err == nil && amount.Sign() < 0 {
		err = errors.New("a budget is not negative")
	}
	return amount, err
}

func newTenantCreate(a *app) *cobra.Command {
	var f tenantFlags
	var slug string
	cmd := &cobra.Command{
		Use: "create", Short: "Create a tenant", Args: cobra.NoArgs,
		Example: "  panda tenant create --name \"Acme Corporation\" --slug acme-corp --plan pro \\\n" +
			"    --max-agents 100 --monthly-budget 1000 --billing-email billing@acme.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := f.body(cmd.Flags())
			if err != nil {
				return err
			}
			changes, err := f.budgetChanges()
			if err != nil {
				return err
			}
			body["slug"] = slug
			if f.plan != "" {
				body["plan"] = f.plan
			}
			if len(changes) > 0 {
				body["budgets"] = withBudgets(nil, changes)
			}
			for field, value := range body {
				if value == nil { // "none" of what is not there yet
					delete(body, field)
				}
			}
			r, err := post("/v1/tenants", nil, body)
			if err != nil {
				return err
			}
			r.header, r.retry = http.Header{"Idempotency-Key": {uuid.NewString()}}, true
			return a.with(cmd.Context(), func(c *apiClient) error {
				t, raw, err := call[tenantView](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.showTenant(&t, raw, func() {
					a.print("%s Tenant created successfully!\n\n", a.sign("✅", "*"))
					a.fields(headOf(&t))
				})
			})
		},
	}
	f.add(a, cmd, "")
	cmd.Flags().StringVar(&slug, "slug", "", "its name in addresses and on the command line: a-z, 0-9 and dashes; it never changes")
	_ = cmd.MarkFlagRequired("name")
	_ = cmd.MarkFlagRequired("slug")
	return cmd
}

const updateLong = `Changes what is given and leaves the rest. A limit is a whole number, "unlimited", or "default" to go
back to the plan's own; "none" takes a budget or an address away. --budget changes or adds the budgets
it names and leaves the others: department:Support=500 is for the month, =20/day for the day, =500/month,20/day for both,
=none/day takes the day's away and =none both. A budget of a day alerts and does not throttle.

With --plan the tenant moves to that plan first, and its limits to the plan's own, unless they are given
here too. With --if-revision nothing is changed if somebody else has changed the tenant since
(exit code 5); ` + "`panda tenant show`" + ` shows the revision.`

func newTenantUpdate(a *app) *cobra.Command {
	var f tenantFlags
	var revision uint64
	cmd := &cobra.Command{
		Use: "update TENANT", Short: "Change a tenant's limits, budgets and addresses", Long: updateLong, Args: cobra.ExactArgs(1),
		Example: "  panda tenant update acme-corp --max-agents 200 --max-monthly-tokens 100000000\n" +
			"  panda tenant update acme-corp --budget department:Support=500 --budget agent:Researcher=none",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd.Flags())
			if err != nil {
				return err
			}
			changes, err := f.budgetChanges()
			if err != nil {
				return err
			}
			if len(body) == 0 && len(changes) == 0 && f.plan == "" {
				return usagef("nothing to change: give at least one of the flags")
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				u := update{client: c, tenant: args[0], revision: revision, budgets: changes, body: body}
				t, raw, err := u.run(cmd.Context(), f.plan)
				if err != nil {
					return err
				}
				return a.showTenant(&t, raw, func() {
					a.print("%s Tenant %s updated.\n\n", a.sign("✅", "*"), visible(t.Slug))
					a.drawTenant(&t)
				})
			})
		},
	}
	f.add(a, cmd, " (\"none\" takes it away)")
	cmd.Flags().Uint64Var(&revision, "if-revision", 0, "only if the tenant is still at this revision (0: whatever it is at)")
	return cmd
}

// update is one change of a tenant's settings.
type update struct {
	client   *apiClient
	tenant   string
	revision uint64 // that it has to be at; 0 is any
	budgets  []budgetChange
	body     map[string]any
}

func (u *update) run(ctx context.Context, plan string) (t tenantView, raw []byte, err error) {
	if plan != "" {
		if t, raw, err = u.client.changePlan(ctx, u.tenant, plan, false, u.revision); err != nil {
			return t, raw, err
		}
		if len(u.body) == 0 && len(u.budgets) == 0 {
			return t, raw, nil
		}
		if u.revision != 0 {
			u.revision = t.Revision
		}
	}
	t, raw, err = u.patch(ctx)
	if err != nil && plan != "" {
		err = fmt.Errorf("the plan is %s now; the rest was not changed: %w", plan, err)
	}
	return t, raw, err
}

// staleMax is how often a change of budgets begins again because somebody else changed
// the tenant in between.
const staleMax = 5

// patch sends the change. The API takes all budgets at once, so a change of one is made
// on the ground of a revision, and again when that was not the newest.
func (u *update) patch(ctx context.Context) (t tenantView, raw []byte, err error) {
	for try := 0; ; try++ {
		revision := u.revision
		if len(u.budgets) > 0 {
			now, _, err := call[tenantView](ctx, u.client, get(tenantPath(u.tenant), nil))
			if err != nil {
				return t, nil, err
			}
			u.body["budgets"] = withBudgets(now.Budgets, u.budgets)
			if revision == 0 {
				revision = now.Revision
			}
		}
		r, err := post(tenantPath(u.tenant), nil, u.body)
		if err != nil {
			return t, nil, err
		}
		r.method, r.header = http.MethodPatch, ifMatch(revision)
		r.retry = revision == 0 // made twice it is the same; with a revision the second would be stale
		t, raw, err = call[tenantView](ctx, u.client, r)
		var api *apiError
		if errors.As(err, &api) && api.Status == http.StatusPreconditionFailed && u.revision == 0 && try < staleMax {
			continue
		}
		return t, raw, err
	}
}

// ifMatch is the header of a change that is made on the ground of a revision.
func ifMatch(revision uint64) http.Header {
	if revision == 0 {
		return nil
	}
	return http.Header{"If-Match": {`"` + strconv.FormatUint(revision, 10) + `"`}}
}

// changePlan moves a tenant to a plan. Its own limits go, unless they are kept.
func (c *apiClient) changePlan(ctx context.Context, tenant, plan string, keep bool, revision uint64) (tenantView, []byte, error) {
	r, err := post(tenantPath(tenant, "plan"), nil, map[string]any{"plan": plan, "keep_quotas": keep})
	if err != nil {
		return tenantView{}, nil, err
	}
	r.method, r.header, r.retry = http.MethodPut, ifMatch(revision), revision == 0
	return call[tenantView](ctx, c, r)
}

func newTenantUpgrade(a *app) *cobra.Command {
	var plan string
	var keep bool
	cmd := &cobra.Command{
		Use: "upgrade TENANT", Short: "Move a tenant to another plan", Args: cobra.ExactArgs(1),
		Long: "Moves a tenant to another plan, larger or smaller, at once. The limits are the plan's own from then on;\n" +
			"--keep-quotas keeps those that the tenant had of its own.",
		Example:           "  panda tenant upgrade acme-corp --plan enterprise",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				t, raw, err := c.changePlan(cmd.Context(), args[0], plan, keep, 0)
				if err != nil {
					return err
				}
				return a.showTenant(&t, raw, func() {
					a.print("%s Tenant %s is on the plan %s now.\n\n", a.sign("✅", "*"), visible(t.Slug), visible(t.Plan))
					a.draw(quotaGrid(&t))
				})
			})
		},
	}
	cmd.Flags().StringVar(&plan, "plan", "", "starter, pro or enterprise; panda plans shows them")
	cmd.Flags().BoolVar(&keep, "keep-quotas", false, "keep the tenant's own limits")
	_ = cmd.MarkFlagRequired("plan")
	_ = cmd.RegisterFlagCompletionFunc("plan", a.completePlan)
	return cmd
}
