package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

type gotEntitlement struct {
	Decision, Action, Message string
	Limit                     *entitlementLimit
}

func (s *stack) create(n tenancy.NewTenant) tenancy.Tenant {
	s.t.Helper()
	n.Name = n.Slug
	made, _, err := s.registry.CreateTenant(s.t.Context(), tenancy.Actor{ID: "test"}, n)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// A call of a model that costs nothing goes on when the month's tokens are used
// up, and no other.
func TestEntitlementsOfFreeModels(t *testing.T) {
	s := newStack(t)
	book, err := s.prices.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := book.Revision()
	gift := schemas.PriceRow{Provider: "house", Model: "gift"}
	gift.Tokens.Set(schemas.Input, 0)
	gift.Tokens.Set(schemas.Output, 0)
	next.Rows = append(next.Rows, gift)
	if _, err := s.prices.Publish(t.Context(), book.Number(), next); err != nil {
		t.Fatal(err)
	}
	made := s.create(tenancy.NewTenant{Slug: "spent", QuotaOverrides: tenancy.QuotaOverrides{tenancy.MaxMonthlyTokens: 1000}})
	a := s.ask(s.platform, "POST", "/v1/events?tenant=spent", "["+call("e", s.now, `"model":"alpha","tokens":{"input":1000}`)+"]")
	s.judged(into[struct{ Seq uint64 }](t, a).Seq)
	limit := &entitlementLimit{"monthly_tokens", "1000", "1000", 100, 100}
	const message = "Token quota exceeded. Current: 1000, Max: 1000. Only free models may be called. Upgrade your plan."
	asked := []struct{ query, item, decision string }{
		{"", `{}`, "throttle"},
		{"model=gift", `{"model":"gift"}`, "throttle"},
		{"model=gift&provider=house", `{"model":"gift","provider":"house"}`, "throttle"},
		{"model=gift&provider=away", `{"model":"gift","provider":"away"}`, "deny"},
		{"model=alpha", `{"model":"alpha"}`, "deny"},
		{"model=unheard-of", `{"model":"unheard-of"}`, "deny"},
	}
	var items []string
	var want []gotEntitlement
	for _, row := range asked {
		items = append(items, row.item)
		want = append(want, gotEntitlement{row.decision, "call", message, limit})
		got := into[gotEntitlement](t, s.get(s.platform, "/v1/entitlements?tenant="+made.ID+"&"+row.query))
		if diff := cmp.Diff(want[len(want)-1], got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", row.query, diff)
		}
	}
	batch := into[struct{ Decisions []gotEntitlement }](t,
		s.ask(s.platform, "POST", "/v1/entitlements/batch?tenant=spent", `{"requests":[`+strings.Join(items, ",")+`]}`))
	if diff := cmp.Diff(want, batch.Decisions); diff != "" {
		t.Errorf("the batch (-want +got):\n%s", diff)
	}
}

func TestEntitlementsRefuseWhatTheyDoNotKnow(t *testing.T) {
	s := newStack(t)
	long := strings.Repeat("x", 257)
	for query, pointer := range map[string]string{
		"action=destroy": "/action", "bytes=-1": "/bytes", "bytes=5": "/bytes", "action=upload&bytes=many": "/bytes",
		"agent=" + long: "/agent", "department=" + long: "/department", "model=" + long: "/model",
	} {
		wantProblem(t, s.get(s.acme.key, "/v1/entitlements?"+query), 422, "invalid", pointer)
	}
	many, err := json.Marshal(map[string]any{"requests": make([]entitlementRequest, 101)})
	if err != nil {
		t.Fatal(err)
	}
	for body, pointer := range map[string]string{
		`{}`: "/requests", `{"requests":[]}`: "/requests", string(many): "/requests",
		`{"requests":[{},{"action":"destroy"}]}`:        "/requests/1/action",
		`{"requests":[{"bytes":-1,"action":"upload"}]}`: "/requests/0/bytes",
		`{"requests":[{"free_model":true}]}`:            "/requests/0/free_model",
	} {
		wantProblem(t, s.ask(s.acme.key, "POST", "/v1/entitlements/batch", body), 422, "invalid", pointer)
	}
	wantProblem(t, s.ask(s.platform, "POST", "/v1/entitlements/batch", `{"requests":[{}]}`), 422, "invalid", "/tenant")
}

// Whoever is not served is denied everything, whether anything can be counted or
// not.
func TestEntitlementsOfWhoIsNotServed(t *testing.T) {
	s := newStack(t)
	for status, want := range map[tenancy.Status]gotEntitlement{
		tenancy.StatusSuspended: {Limit: &entitlementLimit{Name: "suspended"}, Message: "Tenant suspended. Nothing may run until it is resumed."},
		tenancy.StatusDeleted:   {Limit: &entitlementLimit{Name: "deleted"}, Message: "Tenant deleted. Nothing may run."},
	} {
		made := s.create(tenancy.NewTenant{Slug: string(status)})
		move := s.registry.Delete
		if status == tenancy.StatusSuspended {
			move = func(ctx context.Context, by tenancy.Actor, id string, revision uint64) (tenancy.Tenant, error) {
				return s.registry.Suspend(ctx, by, id, revision, "a test")
			}
		}
		if _, err := move(t.Context(), tenancy.Actor{ID: "test"}, made.ID, 0); err != nil {
			t.Fatal(err)
		}
		for _, down := range []bool{false, true} {
			s.down.Store(down)
			for _, action := range []string{"call", "create_agent", "upload", "start_session"} {
				want.Decision, want.Action = "deny", action
				got := into[gotEntitlement](t, s.get(s.platform, fmt.Sprintf("/v1/entitlements?tenant=%s&action=%s", made.ID, action)))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", status, action, diff)
				}
			}
		}
		s.down.Store(false)
	}
}

// TestEntitlementsFollowLevelsAndBudgets goes the whole way: levels that a runtime
// reports, calls that cost, and the answers of the guide.
func TestEntitlementsFollowLevelsAndBudgets(t *testing.T) {
	s := newStack(t)
	usd := func(n int64) schemas.Money { return schemas.Pico(n * schemas.PicoPerUSD) }
	made := s.create(tenancy.NewTenant{Slug: "guide", Plan: tenancy.PlanPro, MonthlyBudget: usd(1000), HasBudget: true, Budgets: []tenancy.Budget{
		{Kind: tenancy.BudgetDepartment, Name: "sales", MonthlyBudget: usd(2)},
		{Kind: tenancy.BudgetCostCenter, Name: "CC-1001", MonthlyBudget: usd(4)},
		{Kind: tenancy.BudgetAgent, Name: "Closer", MonthlyBudget: usd(3)},
		{Kind: tenancy.BudgetAgent, Name: "Idle", MonthlyBudget: usd(0)},
		{Kind: tenancy.BudgetAgent, Name: "Daily", DailyOnly: true, DailyBudget: usd(0), HasDaily: true},
	}})
	sample := `{"specversion":"1.0","id":"s","source":"/r","type":"resource.sample","time":"` + s.now.Format("2006-01-02T15:04:05Z") +
		`","data":{"levels":{"agents":100,"concurrent_sessions":85,"storage_gb":"99.5"}}}`
	spent := call("e", s.now, `"model":"alpha","department":"sales","cost_center":"CC-1001","agent":"Closer","tokens":{"input":2500000}`)
	a := s.ask(s.platform, "POST", "/v1/events?tenant=guide", "["+sample+","+spent+"]")
	s.judged(into[struct{ Seq uint64 }](t, a).Seq)
	var items []string
	var want []gotEntitlement
	for _, row := range []struct {
		item, query string
		want        gotEntitlement
	}{
		{`{"action":"create_agent"}`, "action=create_agent", gotEntitlement{"deny", "create_agent",
			"Agent quota exceeded. Current: 100, Max: 100. Upgrade your plan.", &entitlementLimit{"agents", "100", "100", 100, 100}}},
		{`{"action":"start_session"}`, "action=start_session", gotEntitlement{"warn", "start_session",
			"Session quota at 85%. Current: 85, Max: 100. Upgrade your plan.", &entitlementLimit{"concurrent_sessions", "100", "85", 85, 80}}},
		{`{"action":"upload","bytes":500000000}`, "action=upload&bytes=500000000", gotEntitlement{"warn", "upload",
			"Storage quota at 99%. Current: 99.5 GB, Max: 100 GB. Upgrade your plan.", &entitlementLimit{"storage_gb", "100", "99.5", 99, 90}}},
		{`{"action":"upload","bytes":500000001}`, "action=upload&bytes=500000001", gotEntitlement{"deny", "upload",
			"Storage quota exceeded. Current: 99.5 GB, Max: 100 GB, Upload: 0.500000001 GB. Upgrade your plan.", &entitlementLimit{"storage_gb", "100", "99.5", 99, 90}}},
		{`{"department":"sales","model":"alpha"}`, "department=sales&model=alpha", gotEntitlement{"deny", "call",
			"Monthly budget of department sales exceeded. Current: $2.50, Max: $2.00. Only free models may be called. Raise the budget.",
			&entitlementLimit{"department_budget", "2.000000", "2.500000", 125, 100}}},
		{`{"agent":"Closer"}`, "agent=Closer", gotEntitlement{"warn", "call",
			"Monthly budget of agent Closer at 83%. Current: $2.50, Max: $3.00. Raise the budget.", &entitlementLimit{"agent_budget", "3.000000", "2.500000", 83, 80}}},
		{`{"agent":"Idle"}`, "agent=Idle", gotEntitlement{"throttle", "call",
			"Monthly budget of agent Idle exceeded. Current: $0.00, Max: $0.00. Only free models may be called. Raise the budget.",
			&entitlementLimit{"agent_budget", "0.000000", "0.000000", 100, 100}}},
		// A budget of a day alerts and stops nothing.
		{`{"agent":"Daily"}`, "agent=Daily", gotEntitlement{"allow", "call", "", &entitlementLimit{"monthly_tokens", "50000000", "2500000", 5, 0}}},
		{`{"agent":"Unnamed","cost_center":"CC-1001"}`, "agent=Unnamed&cost_center=CC-1001", gotEntitlement{"allow", "call", "",
			&entitlementLimit{"cost_center_budget", "4.000000", "2.500000", 62, 0}}},
		{`{}`, "", gotEntitlement{"allow", "call", "", &entitlementLimit{"monthly_tokens", "50000000", "2500000", 5, 0}}},
	} {
		items, want = append(items, row.item), append(want, row.want)
		got := into[gotEntitlement](t, s.get(s.platform, "/v1/entitlements?tenant=guide&"+row.query))
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", row.query, diff)
		}
	}
	batch := into[struct{ Decisions []gotEntitlement }](t,
		s.ask(s.platform, "POST", "/v1/entitlements/batch?tenant="+made.ID, `{"requests":[`+strings.Join(items, ",")+`]}`))
	if diff := cmp.Diff(want, batch.Decisions); diff != "" {
		t.Errorf("the batch (-want +got):\n%s", diff)
	}
	// What is decided about the tenant holds from the next question on.
	_, err := s.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "test"}, made.ID, 0, func(t *tenancy.Tenant) error {
		t.QuotaOverrides = tenancy.QuotaOverrides{tenancy.MaxAgents: 200}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := into[gotEntitlement](t, s.get(s.platform, "/v1/entitlements?tenant=guide&action=create_agent"))
	if diff := cmp.Diff(gotEntitlement{"allow", "create_agent", "", &entitlementLimit{"agents", "200", "100", 50, 0}}, got); diff != "" {
		t.Errorf("with a larger quota (-want +got):\n%s", diff)
	}
}
