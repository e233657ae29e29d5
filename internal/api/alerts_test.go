package api

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

type gotAlerts struct {
	Alerts []struct {
		ID, Tenant, Title, State, Severity string
		Threshold                          int
		Used                               struct{ Unit, Money string }
	}
	NextCursor string `json:"next_cursor"`
}

// TestAlerts: a tenant sees its own alerts and nobody else's, the platform all, in pages,
// those that fired last first.
func TestAlerts(t *testing.T) {
	s := newStack(t)
	decider := alerting.NewDecider(s.log)
	decide := func(tenant, name string, threshold int, kind alerting.Kind) {
		t.Helper()
		id := alerting.Identity{Tenant: tenant, Rule: alerting.RuleThreshold, Limit: alerting.LimitMonthlyBudget, Period: "2026-02", Revision: "1-1", Threshold: threshold}
		r := alerting.Record{Alert: id.ID(), Kind: kind, Identity: id, Severity: alerting.SeverityInfo, At: time.Date(2026, 2, 17, 9, 30, 0, 0, time.UTC),
			Facts: alerting.Facts{TenantName: name, Percent: 101, Used: alerting.Amount{Unit: alerting.UnitUSD, Money: schemas.Mul(schemas.PicoPerUSD, 101)},
				Max: alerting.Amount{Unit: alerting.UnitUSD, Money: schemas.Mul(schemas.PicoPerUSD, 100)}}}
		if kind == alerting.Resolved {
			r.Cause = alerting.ByCorrection
		}
		if decided, err := decider.Decide(t.Context(), r); err != nil || !decided {
			t.Fatalf("decide: %v, %v", decided, err)
		}
	}
	for _, threshold := range []int{80, 90, 100} {
		decide(s.acme.ID, "Acme Corporation", threshold, alerting.Fired)
	}
	decide(s.beta.ID, "secret of beta", 80, alerting.Fired)
	decide(s.acme.ID, "Acme Corporation", 100, alerting.Resolved)
	state, err := s.log.State(t.Context(), schemas.StreamDecisions)
	if err == nil {
		err = s.book.WaitFor(t.Context(), state.Last)
	}
	if err != nil {
		t.Fatal(err)
	}

	list := func(key, path string) (thresholds []int, got gotAlerts) {
		t.Helper()
		for cursor := ""; ; cursor = got.NextCursor {
			page := path
			if cursor != "" {
				page += "&cursor=" + cursor
			}
			got = into[gotAlerts](t, s.get(key, page))
			for _, a := range got.Alerts {
				thresholds = append(thresholds, a.Threshold)
				if key != s.platform && a.Tenant != s.acme.ID {
					t.Errorf("%s shows an alert of %s", path, a.Tenant)
				}
			}
			if got.NextCursor == "" {
				return thresholds, got
			}
		}
	}
	for _, row := range []struct {
		key, path string
		want      []int
	}{
		{s.acme.key, "/v1/alerts?limit=1", []int{100, 90, 80}},
		{s.acme.key, "/v1/alerts?state=firing", []int{90, 80}},
		{s.acme.key, "/v1/alerts?state=resolved", []int{100}},
		{s.acme.key, "/v1/alerts?state=expired", nil},
		{s.platform, "/v1/alerts?limit=2", []int{80, 100, 90, 80}},
		{s.platform, "/v1/alerts?tenant=" + s.beta.Slug, []int{80}},
	} {
		if got, _ := list(row.key, row.path); !slices.Equal(got, row.want) {
			t.Errorf("%s: %s", row.path, cmp.Diff(row.want, got))
		}
	}
	_, got := list(s.acme.key, "/v1/alerts?state=resolved")
	if a := got.Alerts[0]; a.Title != "Monthly budget at 101%: $101.00 of $100.00" || a.Used.Money != "101.000000" || a.Used.Unit != "USD" {
		t.Errorf("got %+v", a)
	}
	for path, status := range map[string]int{"/v1/alerts?state=burning": 422, "/v1/alerts?cursor=x": 422, "/v1/alerts?tenant=" + s.beta.Slug: 404, "/v1/alerts?limit=0": 422} {
		if a := s.get(s.acme.key, path); a.status != status {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, status)
		}
	}
}
