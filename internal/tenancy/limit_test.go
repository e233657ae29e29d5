package tenancy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// revisions are those of a tenant's limits, by name.
func revisions(t *testing.T, r *Registry, id string) map[string]string {
	t.Helper()
	_, limits, ok := r.Limits(id)
	if !ok {
		t.Fatalf("%s has no limits", id)
	}
	all := map[string]string{}
	for i := range limits {
		l := &limits[i]
		name := string(l.Quota)
		if name == "" {
			name = strings.Trim(fmt.Sprintf("%s %s daily=%t", l.Of, l.Name, l.Daily), " ")
		}
		all[name] = l.Revision()
	}
	return all
}

// The revision of a limit changes with the value that holds, and with nothing else.
func TestLimitsSinceWhen(t *testing.T) {
	log := eventlogtest.Open(t)
	r := start(t, log)
	n := acme("")
	n.QuotaOverrides = QuotaOverrides{MaxAgents: 77}
	n.Budgets = []Budget{{Kind: BudgetDepartment, Name: "Sales", MonthlyBudget: schemas.Pico(5)}}
	made := create(t, r, n)
	want := revisions(t, r, made.ID)
	for name, revision := range want {
		if seq, _, _ := strings.Cut(revision, "-"); seq != fmt.Sprint(made.Revision) {
			t.Errorf("%s of a new tenant is %s", name, revision)
		}
	}
	if want["max_agents"] != fmt.Sprintf("%d-77", made.Revision) || len(want) != 7 {
		t.Errorf("a new tenant has %v", want)
	}
	pro, _ := r.Plans().Find(PlanPro)
	step := func(name string, change func(*Tenant) error, changed ...string) {
		t.Helper()
		now, err := r.UpdateTenant(t.Context(), someone, made.ID, 0, change)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := revisions(t, r, made.ID)
		var moved []string
		for limit, revision := range got {
			if want[limit] != revision {
				moved = append(moved, limit)
				if seq, _, _ := strings.Cut(revision, "-"); seq != fmt.Sprint(now.Revision) {
					t.Errorf("%s: %s is %s at %d", name, limit, revision, now.Revision)
				}
			}
		}
		for limit := range want {
			if _, there := got[limit]; !there {
				moved = append(moved, limit)
			}
		}
		slices.Sort(moved)
		if diff := cmp.Diff(changed, moved, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		want = got
	}
	step("a name", func(t *Tenant) error { t.Name = "Acme"; return nil })
	step("suspended", func(t *Tenant) error { t.Status = StatusSuspended; return nil })
	step("the plan's own value as its own", func(t *Tenant) error {
		t.QuotaOverrides = QuotaOverrides{MaxAgents: 77, MaxStorageGB: pro.Quotas.MaxStorageGB}
		return nil
	})
	step("a quota", func(t *Tenant) error { t.QuotaOverrides = QuotaOverrides{MaxAgents: 78}; return nil }, "max_agents")
	step("the plan", func(t *Tenant) error { t.Plan = PlanStarter; return nil },
		"max_api_calls_per_minute", "max_concurrent_sessions", "max_monthly_tokens", "max_storage_gb")
	step("the budget", func(t *Tenant) error { t.MonthlyBudget = schemas.Pico(9); return nil }, "daily=false")
	step("a daily budget", func(t *Tenant) error { t.DailyBudget, t.HasDailyBudget = schemas.Pico(0), true; return nil }, "daily=true")
	step("budgets of a part", func(t *Tenant) error {
		t.Budgets = []Budget{{Kind: BudgetAgent, Name: "bot", DailyOnly: true, DailyBudget: schemas.Pico(1), HasDaily: true},
			{Kind: BudgetDepartment, Name: "Sales", MonthlyBudget: schemas.Pico(5), DailyBudget: schemas.Pico(2), HasDaily: true}}
		return nil
	}, "agent bot daily=true", "department Sales daily=true")
	step("taken away", func(t *Tenant) error { t.HasBudget, t.Budgets = false, t.Budgets[:1]; return nil },
		"daily=false", "department Sales daily=false", "department Sales daily=true")
	step("and given again", func(t *Tenant) error { t.HasBudget, t.MonthlyBudget = true, schemas.Pico(9); return nil }, "daily=false")
	if diff := cmp.Diff(want, revisions(t, start(t, log), made.ID)); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	if _, _, ok := r.Limits("ten_nobody"); ok {
		t.Error("nobody has limits")
	}
}

func TestChangedSince(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	a := create(t, r, NewTenant{Name: "A", Slug: "aa"})
	changed, at, more := r.ChangedSince(0)
	if !slices.Equal(changed, []string{a.ID}) || at < a.Revision {
		t.Errorf("changed since the beginning: %v, %d", changed, at)
	}
	b := create(t, r, NewTenant{Name: "B", Slug: "bb"})
	<-more
	if changed, later, _ := r.ChangedSince(at); !slices.Equal(changed, []string{b.ID}) || later < b.Revision {
		t.Errorf("changed since %d: %v, %d", at, changed, later)
	}
}

// A budget has a month, a day, or both, and reads what was written before there were
// days.
func TestBudgetOnTheWire(t *testing.T) {
	for text, want := range map[string]Budget{
		`{"kind":"agent","name":"bot","monthly_budget":"5.000000"}`: {Kind: BudgetAgent, Name: "bot", MonthlyBudget: schemas.Mul(schemas.PicoPerUSD, 5)},
		`{"kind":"agent","name":"bot","daily_budget":"0.000000"}`:   {Kind: BudgetAgent, Name: "bot", DailyOnly: true, HasDaily: true},
		`{"kind":"agent","name":"bot","monthly_budget":"5.000000","daily_budget":"1.000000"}`: {Kind: BudgetAgent, Name: "bot",
			MonthlyBudget: schemas.Mul(schemas.PicoPerUSD, 5), DailyBudget: schemas.Mul(schemas.PicoPerUSD, 1), HasDaily: true},
	} {
		var got Budget
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
		if again, err := json.Marshal(got); err != nil || string(again) != text {
			t.Errorf("written again it is %s, %v", again, err)
		}
	}
	var b Budget
	for _, text := range []string{`{"kind":"agent","name":"bot"}`, `{"kind":"agent","name":"bot","weekly_budget":"5"}`} {
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			t.Errorf("%s is a budget", text)
		}
	}
	errs := errors.Join(validateBudgets([]Budget{{Kind: BudgetAgent, Name: "a", DailyOnly: true},
		{Kind: BudgetAgent, Name: "b", DailyOnly: true, HasDaily: true, DailyBudget: schemas.Pico(-1)}})...)
	if errs == nil || !strings.Contains(errs.Error(), "/budgets/0/monthly_budget") || !strings.Contains(errs.Error(), "/budgets/1/daily_budget") {
		t.Errorf("refused with %v", errs)
	}
}

// The hash of a request that names no daily budget is the one it had before there were
// any: the same request, sent again to a newer server, finds its tenant.
func TestRequestHashIsWhatItWas(t *testing.T) {
	n := NewTenant{Name: "Acme", Slug: "acme", Plan: PlanPro, MonthlyBudget: schemas.Pico(1), HasBudget: true,
		Budgets: []Budget{{Kind: BudgetAgent, Name: "bot", MonthlyBudget: schemas.Pico(5)}}}
	if got := n.hash(); got != hashBefore {
		t.Errorf("the hash is %s, and was %s", got, hashBefore)
	}
	n.HasDailyBudget = true
	if n.hash() == hashBefore {
		t.Error("a daily budget is not in the hash")
	}
}

// hashBefore is what the version before daily budgets computed.
const hashBefore = "856fc095df3f1d14190bf26495cc8cf4122ba9ecb3befee514b5d256d889439e"
