package alerting

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
)

func dollars(t *testing.T, text string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// budgetRecord is the guide's tenant at 84 % of its budget.
func budgetRecord(t *testing.T) Record {
	id := Identity{Tenant: "ten_abc", Rule: RuleThreshold, Limit: "monthly_budget", Period: "2026-02", Revision: "7-1000", Threshold: 80}
	return Record{Version: RecordVersion, Alert: id.ID(), Kind: Fired, Identity: id, Severity: SeverityInfo,
		At: time.Date(2026, 2, 17, 9, 30, 0, 0, time.UTC), AsOf: 41,
		Facts: Facts{TenantName: "Acme Corporation", TenantSlug: "acme-corp", Used: Amount{Unit: UnitUSD, Money: dollars(t, "847.32")},
			Max: Amount{Unit: UnitUSD, Money: dollars(t, "1000")}, Percent: 84, Forecast: Amount{Unit: UnitUSD, Money: dollars(t, "1437.91")},
			ExhaustedAt: time.Date(2026, 2, 20, 10, 0, 0, 0, time.UTC),
			Models:      []Share{{"claude-opus-4-6", dollars(t, "524.18"), 61}, {"claude-sonnet-4-5", dollars(t, "213.44"), 25}, {"claude-haiku-4-5", dollars(t, "89.12"), 10}},
			Agents:      []Share{{"Customer Support", dollars(t, "312.45"), 36}, {"Code Reviewer", dollars(t, "189.23"), 22}},
			Next:        "At 100% only models that cost nothing may be called."}}
}

// TestMessages holds what people read against testdata/message. Each record is rendered
// as text and as HTML.
func TestMessages(t *testing.T) {
	fired := budgetRecord(t)
	full := fired
	full.Severity, full.Identity.Threshold = SeverityCritical, 100
	full.Facts.Used.Money, full.Facts.Percent = dollars(t, "1312.004"), 131
	full.Facts.Next = "Only models that cost nothing may be called."
	resolved := fired
	resolved.Kind, resolved.Cause, resolved.Facts.Percent = Resolved, ByCorrection, 79
	resolved.Facts.Used.Money = dollars(t, "799.99")
	raised := resolved
	raised.Cause, raised.Facts.Percent, raised.Facts.Max.Money = ByLimit, 42, dollars(t, "2000")
	over := resolved
	over.Cause = ByPeriod
	storage := fired
	storage.Identity.Limit, storage.Identity.Threshold, storage.Severity = "storage_gb", 90, SeverityWarning
	storage.Facts.Used, storage.Facts.Max, storage.Facts.Percent = Amount{Unit: UnitBytes, Count: 94_900_000_000}, Amount{Unit: UnitBytes, Count: 100_000_000_000}, 94
	storage.Facts.Forecast, storage.Facts.ExhaustedAt, storage.Facts.Models, storage.Facts.Agents = Amount{}, time.Time{}, nil, nil
	storage.Facts.Next = "At 100% uploads are rejected."
	daily := fired
	daily.Identity.Limit, daily.Identity.Name, daily.Identity.Period = "department_budget", "Support", "2026-02-17"
	rule := Record{Version: RecordVersion, Alert: "alr_1", Kind: Fired, Severity: SeverityCritical, At: fired.At,
		Identity: Identity{Tenant: "ten_abc", Rule: "high-error-rate", RuleHash: "x"},
		Facts: Facts{TenantName: "Acme Corporation", TenantSlug: "acme-corp", Condition: "error_rate > 5%", Values: map[string]string{"error_rate": "7.25%", "calls": "1,204"},
			Actions: []Action{PageOncall}}}
	for _, row := range []struct {
		name    string
		records []Record
	}{
		{"budget_80", []Record{fired}}, {"budget_100", []Record{full}}, {"resolved_correction", []Record{resolved}},
		{"resolved_limit", []Record{raised}}, {"resolved_period", []Record{over}}, {"storage_90", []Record{storage}},
		{"department_day", []Record{daily}}, {"rule", []Record{rule}}, {"digest", []Record{fired, storage, rule}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := Render(RenderConfig{PublicURL: "https://panda.your-domain.com"}, "msg_1", "finance@acme.com", row.records)
			if again := Render(RenderConfig{PublicURL: "https://panda.your-domain.com"}, "msg_1", "finance@acme.com", row.records); again.HTML != m.HTML || again.Text != m.Text {
				t.Error("the same records made another message")
			}
			for ext, got := range map[string]string{".txt": m.Subject + "\n\n" + m.Text, ".html": m.HTML} {
				golden(t, filepath.Join("testdata", "message", row.name+ext), got)
			}
		})
	}
}

// TestHostileNames: names come from runtimes and tenants, and must stay names.
func TestHostileNames(t *testing.T) {
	r := budgetRecord(t)
	const evil = "Acme\r\nBcc: victim@example.com\r\n\r\n<script>alert(1)</script>\u202e\u2028<!channel>"
	r.Facts.TenantName = evil
	r.Facts.Agents = []Share{{evil + strings.Repeat("x", 500), dollars(t, "1"), 1}}
	r.Identity.Limit, r.Identity.Name = "agent_budget", evil
	m := Render(RenderConfig{}, "msg_1", "", []Record{r})
	if strings.ContainsAny(m.Subject, "\r\n\u202e\u2028") {
		t.Errorf("the subject has another line: %q", m.Subject)
	}
	for _, line := range strings.Split(m.Text, "\n") {
		if strings.HasPrefix(line, "Bcc:") || strings.ContainsAny(line, "\r\u202e\u2028") {
			t.Errorf("the text has a line of somebody else's: %q", line)
		}
		if len([]rune(line)) > 400 {
			t.Errorf("a line of %d characters", len([]rune(line)))
		}
	}
	if strings.Contains(m.HTML, "<script") || strings.Contains(m.HTML, "<!channel") {
		t.Error("a name became markup")
	}
}

// TestDedupKey: a limit's threshold is one incident, whatever the month and the limit's
// value; another threshold or name is another.
func TestDedupKey(t *testing.T) {
	a := Identity{Tenant: "ten_a", Rule: RuleThreshold, Limit: "monthly_budget", Period: "2026-02", Revision: "1", Threshold: 80}
	b := a
	b.Period, b.Revision = "2026-03", "2"
	if a.DedupKey() != b.DedupKey() || a.ID() == b.ID() {
		t.Error("another month is another alert of the same incident")
	}
	for _, other := range []Identity{
		{Tenant: "ten_b", Rule: a.Rule, Limit: a.Limit, Threshold: 80}, {Tenant: "ten_a", Rule: a.Rule, Limit: a.Limit, Threshold: 90},
		{Tenant: "ten_a", Rule: a.Rule, Limit: "department_budget", Name: "x", Threshold: 80}, {Tenant: "ten_a", Rule: a.Rule + "m", Limit: "onthly_budget", Threshold: 80},
	} {
		if other.DedupKey() == a.DedupKey() {
			t.Errorf("%+v is the same incident", other)
		}
	}
}
