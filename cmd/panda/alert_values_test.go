package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/rule"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

// What rules are told of a tenant is what the registry allows it and the live totals
// count, over a real log and engine; what nobody knows is absent.
func TestValuesOfRules(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	if err := db.Migrate(t.Context(), schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	b := newAlertBench(t, at)
	made, _, err := b.registry.CreateTenant(t.Context(), tenancy.Actor{ID: "test"}, tenancy.NewTenant{
		Name: "Acme", Slug: "acme", Plan: tenancy.PlanPro, HasBudget: true, MonthlyBudget: schemas.Mul(schemas.PicoPerUSD, 20),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.spend(made.ID, at.AddDate(0, 0, -3), 100, "Support", "bot", "opus")
	b.spend(made.ID, at, 400, "Support", "bot", "haiku")
	b.spend(made.ID, at, 500, "", "bot", "haiku")
	reader := aggregate.NewReader(aggregate.ReaderConfig{Live: b.live, Now: b.now}, db)
	source := &ruleSource{limits: b.source, now: b.now, reader: func(string) (*aggregate.Reader, error) { return reader, nil },
		behind: func(time.Time) time.Duration { return 90 * time.Second }}
	var all []string
	metrics := map[string]rule.Metric{}
	for _, m := range rule.Metrics() {
		all, metrics[m.Name] = append(all, m.Name), m
	}
	ask := func(q rule.Question) []string {
		t.Helper()
		q.Metrics = all
		answer, err := source.Values(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, g := range answer.Groups {
			for name, v := range g.Values {
				if v.Known() {
					lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(g.Limit, " ", g.Name, " ", name, " ", v.Show(metrics[name].Unit))), " "))
				}
				if _, ok := metrics[name]; !ok || v.Known() && v.Kind() != metrics[name].Kind {
					t.Errorf("%s is no metric, or of another kind: %s", name, v.Kind())
				}
			}
		}
		slices.Sort(lines)
		return lines
	}
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("a tenant as a whole", ask(rule.Question{Tenant: made.ID, Scope: rule.OfTenant, Window: time.Hour}),
		"budget $20.00", "budget_used 50%", "burn_rate 0x", "calls 0 calls", "cost $10.00", "cost_today $9.00", "days_since_last_event 0ms",
		"errors 0 calls", "max_monthly_tokens 50,000,000 tokens", "tokens 1,000 tokens", "tokens_today 900 tokens")
	check("by model", ask(rule.Question{Tenant: made.ID, Scope: rule.OfTenant, GroupBy: schemas.ByModel, Window: time.Hour}),
		"haiku cost $9.00", "haiku cost_today $9.00", "haiku tokens 900 tokens", "haiku tokens_today 900 tokens", "opus cost $1.00", "opus tokens 100 tokens")
	quotas := ask(rule.Question{Tenant: made.ID, Scope: rule.OfQuota})
	for _, want := range []string{"monthly_tokens usage 1,000", "monthly_tokens quota 50,000,000", "monthly_tokens percent_used 0%", "agents quota 100", "agents cost $10.00"} {
		if !slices.Contains(quotas, want) {
			t.Errorf("of quotas there is no %q in:\n%s", want, strings.Join(quotas, "\n"))
		}
	}
	check("the platform", ask(rule.Question{Scope: rule.OfPlatform}), "ingest_lag 1.5m")
	if _, err := source.Values(t.Context(), rule.Question{Tenant: "ten_none", Scope: rule.OfTenant}); !errors.Is(err, alerting.ErrGone) {
		t.Errorf("of nobody: %v", err)
	}
	b.set(at.AddDate(0, 0, 31))
	got := ask(rule.Question{Tenant: made.ID, Scope: rule.OfTenant})
	if made.CreatedAt.IsZero() || slices.Contains(got, "days_since_last_event 0ms") {
		t.Errorf("a month later: %v", got)
	}
}
