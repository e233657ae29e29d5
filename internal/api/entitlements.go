package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// entitlementRequest is what a runtime is about to do, as a query or as an item of
// a batch.
type entitlementRequest struct {
	Action     string `json:"action"`
	Department string `json:"department"`
	CostCenter string `json:"cost_center"`
	Agent      string `json:"agent"`
	Provider   string `json:"provider"`
	Model      string `json:"model"`
	Bytes      int64  `json:"bytes"`
}

// request checks what was asked. pointer leads to it, "" for a query.
func (e *entitlementRequest) request(pointer string) (aggregate.Request, error) {
	action, err := aggregate.ParseAction(e.Action)
	if err != nil {
		return aggregate.Request{}, schemas.Invalid(pointer+"/action", schemas.CodeUnknown,
			"%.40q is not an action; use call, create_agent, upload or start_session", e.Action)
	}
	for _, f := range [...]struct{ name, value string }{
		{"department", e.Department}, {"cost_center", e.CostCenter}, {"agent", e.Agent}, {"provider", e.Provider}, {"model", e.Model},
	} {
		if len(f.value) > schemas.NameBytesMax {
			return aggregate.Request{}, schemas.Invalid(pointer+"/"+f.name, schemas.CodeTooLong, "%d bytes; at most %d", len(f.value), schemas.NameBytesMax)
		}
	}
	switch {
	case e.Bytes < 0:
		return aggregate.Request{}, schemas.Invalid(pointer+"/bytes", schemas.CodeOutOfRange, "an upload is not smaller than nothing")
	case e.Bytes > 0 && action != aggregate.ActionUpload:
		return aggregate.Request{}, schemas.Invalid(pointer+"/bytes", schemas.CodeNotAllowed, "bytes are the size of an upload; use action upload")
	}
	return aggregate.Request{Action: action, Department: e.Department, CostCenter: e.CostCenter, Agent: e.Agent,
		Model: e.Model, Bytes: e.Bytes}, nil
}

type entitlementLimit struct {
	Name    string `json:"name"`
	Value   string `json:"value,omitempty"`
	Usage   string `json:"usage,omitempty"`
	Percent int    `json:"percent"`
	Step    int    `json:"step"`
}

type entitlement struct {
	Decision aggregate.Verdict `json:"decision"`
	Action   aggregate.Action  `json:"action"`
	// Limit is the one that led to the decision, or that is nearest.
	Limit *entitlementLimit `json:"limit,omitempty"`
	// Message is for people; empty while nothing is near.
	Message string   `json:"message,omitempty"`
	AsOf    position `json:"as_of"`
}

func entitlementOf(d *aggregate.Decision, ask *aggregate.Request, asOf aggregate.Position) entitlement {
	e := entitlement{Decision: d.Verdict, Action: ask.Action, Message: d.Message(ask), AsOf: position{Seq: asOf.Seq, Time: asOf.Time}}
	if d.Limit == "" {
		return e
	}
	e.Limit = &entitlementLimit{Name: d.Limit, Percent: d.Percent, Step: d.Step}
	switch {
	case d.Limit == aggregate.LimitSuspended, d.Limit == aggregate.LimitDeleted:
	case d.InMoney():
		e.Limit.Value, e.Limit.Usage = d.ValueCost.String(), d.UsageCost.String()
	case d.Limit == aggregate.LimitStorage:
		e.Limit.Value, e.Limit.Usage = aggregate.Gigabytes(d.Value), aggregate.Gigabytes(d.Usage)
	default:
		e.Limit.Value, e.Limit.Usage = intText(d.Value), intText(d.Usage)
	}
	return e
}

// entitlements is GET /v1/entitlements: may this tenant do what it is about to do?
func (a *API) entitlements(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenant(r, scope)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	bytes, err := intQuery(r, "bytes", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	asked := entitlementRequest{Action: q.Get("action"), Department: q.Get("department"), CostCenter: q.Get("cost_center"),
		Agent: q.Get("agent"), Provider: q.Get("provider"), Model: q.Get("model"), Bytes: int64(bytes)}
	ask, err := asked.request("")
	if err != nil {
		return err
	}
	decider := a.decider(r.Context(), &tenant)
	answer, err := decider.decide(&ask, asked.Provider)
	if err != nil {
		return err
	}
	return writeJSON(w, answer)
}

// entitlementsMax bounds a batch: what a runtime has waiting at one moment.
const entitlementsMax = 100

// entitlementsBatch is POST /v1/entitlements/batch: an answer per request, in
// their order. Each is judged by itself: two that fit alone may not fit both.
func (a *API) entitlementsBatch(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.tenant(r, scope)
	if err != nil {
		return err
	}
	var body struct {
		Requests []entitlementRequest `json:"requests"`
	}
	if err := httpapi.DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	switch n := len(body.Requests); {
	case n == 0:
		return schemas.Invalid("/requests", schemas.CodeMissing, "a batch needs at least one request")
	case n > entitlementsMax:
		return schemas.Invalid("/requests", schemas.CodeTooMany, "%d requests; send at most %d at once", n, entitlementsMax)
	}
	asks := make([]aggregate.Request, len(body.Requests))
	for i := range body.Requests {
		if asks[i], err = body.Requests[i].request(fmt.Sprintf("/requests/%d", i)); err != nil {
			return err
		}
	}
	decider := a.decider(r.Context(), &tenant)
	answers := make([]entitlement, len(asks))
	for i := range asks {
		if answers[i], err = decider.decide(&asks[i], body.Requests[i].Provider); err != nil {
			return err
		}
	}
	return writeJSON(w, struct {
		Decisions []entitlement `json:"decisions"`
	}{answers})
}

// decider decides the requests of one tenant in one HTTP request.
type decider struct {
	api    *API
	ctx    context.Context
	tenant *tenancy.Tenant
	now    time.Time
	calls  int64
	book   *schemas.PriceBook // nil until it is needed
}

func (a *API) decider(ctx context.Context, tenant *tenancy.Tenant) *decider {
	d := &decider{api: a, ctx: ctx, tenant: tenant, now: a.Now()}
	if a.Calls != nil {
		d.calls = a.Calls(tenant.ID)
	}
	return d
}

func (d *decider) decide(ask *aggregate.Request, provider string) (entitlement, error) {
	limits := limitsOf(d.tenant, d.api.Registry.Quotas(d.tenant), ask)
	if limits.Access != aggregate.Served {
		// Nothing has to be counted to know this.
		decision := aggregate.Decide(&limits, &aggregate.Usage{}, ask)
		return entitlementOf(&decision, ask, aggregate.Position{}), nil
	}
	stages, err := d.api.Stages()
	if err != nil {
		return entitlement{}, err
	}
	month := schemas.WindowOf(schemas.GrainMonth, d.now)
	decision, asOf, err := stages.of(d.tenant.ID).Live.Decide(d.tenant.ID, month, &limits, d.calls, ask)
	if err != nil {
		return entitlement{}, err
	}
	if decision.Verdict == aggregate.Deny && decision.FreeModelsPass() && ask.Model != "" {
		// What a model costs is asked only where it matters.
		if d.book == nil {
			if d.book, err = d.api.Prices.Current(d.ctx); err != nil {
				return entitlement{}, err
			}
		}
		if ask.FreeModel = d.book.Free(provider, ask.Model, d.now); ask.FreeModel {
			if decision, asOf, err = stages.of(d.tenant.ID).Live.Decide(d.tenant.ID, month, &limits, d.calls, ask); err != nil {
				return entitlement{}, err
			}
		}
	}
	return entitlementOf(&decision, ask, asOf), nil
}

// limitsOf returns a tenant's limits for a request.
func limitsOf(t *tenancy.Tenant, q tenancy.Quotas, ask *aggregate.Request) aggregate.Limits {
	limits := aggregate.Limits{
		Agents: int64(q.MaxAgents), MonthlyTokens: int64(q.MaxMonthlyTokens), StorageBytes: int64(q.StorageBytes()),
		Sessions: int64(q.MaxConcurrentSessions), CallsPerMinute: int64(q.MaxAPICallsPerMinute),
		MonthlyBudget: aggregate.Budget{Max: t.MonthlyBudget, Set: t.HasBudget},
	}
	switch {
	case t.Status == tenancy.StatusSuspended:
		limits.Access = aggregate.Suspended
	case !t.Served():
		limits.Access = aggregate.Deleted
	}
	for i := range t.Budgets {
		b := &t.Budgets[i]
		set := aggregate.Budget{Max: b.MonthlyBudget, Set: !b.DailyOnly} // a daily one alerts and stops nothing
		switch {
		case b.Kind == tenancy.BudgetDepartment && b.Name == ask.Department:
			limits.Budgets[aggregate.OfDepartment] = set
		case b.Kind == tenancy.BudgetAgent && b.Name == ask.Agent:
			limits.Budgets[aggregate.OfAgent] = set
		case b.Kind == tenancy.BudgetCostCenter && b.Name == ask.CostCenter:
			limits.Budgets[aggregate.OfCostCenter] = set
		}
	}
	return limits
}
