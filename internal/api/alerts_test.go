package api

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/tenancy"
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

// TestAckAlert: whoever acks first stands, whoever asks again; nobody acks somebody else's
// alert, or one that is over; it is in the history and in the audit log.
func TestAckAlert(t *testing.T) {
	s := newStack(t)
	decider := alerting.NewDecider(s.log)
	decide := func(tenant string, kind alerting.Kind, threshold int) string {
		t.Helper()
		id := alerting.Identity{Tenant: tenant, Rule: alerting.RuleThreshold, Limit: alerting.LimitMonthlyBudget, Period: "2026-02", Revision: "1-1", Threshold: threshold}
		if _, err := decider.Decide(t.Context(), alerting.Record{Alert: id.ID(), Kind: kind, Identity: id, Severity: alerting.SeverityCritical,
			At: time.Date(2026, 2, 17, 9, 30, 0, 0, time.UTC), Facts: alerting.Facts{TenantName: "n", Percent: 101}}); err != nil {
			t.Fatal(err)
		}
		state, err := s.log.State(t.Context(), schemas.StreamDecisions)
		if err == nil {
			err = s.book.WaitFor(t.Context(), state.Last)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id.ID()
	}
	open, foreign, over := decide(s.acme.ID, alerting.Fired, 100), decide(s.beta.ID, alerting.Fired, 100), decide(s.acme.ID, alerting.Fired, 80)
	decide(s.acme.ID, alerting.Resolved, 80)
	type detail struct {
		ID, State string
		AckedBy   string `json:"acked_by"`
		History   []struct{ Kind, Actor string }
	}
	for _, row := range []struct {
		key, id string
		status  int
	}{
		{s.acme.key, open, 200}, {s.platform, foreign, 200}, {s.acme.key, over, 200},
		{s.acme.key, foreign, 404}, {s.acme.key, "alr_unknown", 404}, {s.platform, "alr_unknown", 404},
	} {
		got := s.get(row.key, "/v1/alerts/"+row.id)
		if got.status != row.status || got.status == 200 && into[detail](t, got).ID != row.id {
			t.Errorf("%s: %d %s, want %d", row.id, got.status, got.body, row.status)
		}
	}
	first := into[detail](t, s.ask(s.acme.key, "POST", "/v1/alerts/"+open+"/ack", ""))
	if len(first.History) != 2 || first.History[1].Kind != "acked" || first.AckedBy == "" || first.History[1].Actor != first.AckedBy || first.State != "firing" {
		t.Errorf("acked, it is %+v", first)
	}
	for query, want := range map[string]int{"?unacked=1": 1, "?unacked=0": 2, "?unacked=1&state=firing": 0} { // the one that is over was never acked
		if got := into[gotAlerts](t, s.get(s.acme.key, "/v1/alerts"+query)); len(got.Alerts) != want {
			t.Errorf("%s lists %d alerts, want %d", query, len(got.Alerts), want)
		}
	}
	if again := into[detail](t, s.ask(s.platform, "POST", "/v1/alerts/"+open+"/ack", "")); again.AckedBy != first.AckedBy || len(again.History) != 2 {
		t.Errorf("acked again by somebody else, it is %+v", again)
	}
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/alerts/"+over+"/ack", ""), 409, "alert_over", "")
	if got := s.ask(s.acme.key, "POST", "/v1/alerts/"+foreign+"/ack", ""); got.status != 404 {
		t.Errorf("somebody else's: %d %s", got.status, got.body)
	}
	if a := into[detail](t, s.get(s.platform, "/v1/alerts/"+foreign)); a.AckedBy != "" {
		t.Errorf("somebody else's alert is acked: %+v", a)
	}
	entries, _, err := s.registry.Audit(t.Context(), tenancy.ScopeOf("", "key:test", tenancy.PermissionAdmin),
		tenancy.AuditQuery{TenantID: s.acme.ID, Action: "alert.acked", Limit: 10})
	if err != nil || len(entries) != 1 || entries[0].Actor != first.AckedBy {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
}
