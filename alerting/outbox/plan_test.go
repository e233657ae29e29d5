package outbox

import (
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/internal/contact"
)

func TestChannelTypesAreThoseOfContacts(t *testing.T) {
	if got, want := strings.Join(channel.Types(), " "), strings.Join(contact.Types(), " "); got != want {
		t.Errorf("channels are %s, contacts %s", got, want)
	}
}

// TestPlan says who is told of what. A line of the answer is owner:channel:address.
func TestPlan(t *testing.T) {
	tenant := Party{Settings: contact.Settings{Channels: []contact.Channel{
		{ID: "mail", Type: contact.Email, To: []string{"ops@acme.com", "Boss@acme.com"}, Roles: []contact.Role{contact.Owners}},
		{ID: "hook", Type: contact.Webhook, Severity: "warning"},
		{ID: "slack", Type: contact.Slack, Limits: []string{alerting.LimitTokens}},
		{ID: "pager", Type: contact.PagerDuty},
		{ID: "off", Type: contact.Webhook, Disabled: true},
	}}, Emails: map[contact.Role][]string{contact.Owners: {"boss@acme.com", "owner@acme.com"}}}
	platform := Party{Settings: contact.Settings{Channels: []contact.Channel{
		{ID: "admins", Type: contact.Email, To: []string{"root@panda.dev"}},
		{ID: "oncall", Type: contact.PagerDuty},
		{ID: "am", Type: contact.Alertmanager, Severity: "critical"},
		{ID: "sales", Type: contact.Slack, Rules: []string{alerting.RuleThreshold}},
	}}}
	const all = "ten_a:mail:ops@acme.com ten_a:mail:Boss@acme.com ten_a:mail:owner@acme.com ten_a:hook: ten_a:pager: platform:sales:"
	threshold := alerting.Identity{Tenant: "ten_a", Rule: alerting.RuleThreshold, Limit: alerting.LimitMonthlyBudget, Threshold: 90}
	rule := alerting.Identity{Tenant: "ten_a", Rule: "spike"}
	warning := func(id alerting.Identity, kind alerting.Kind, cause alerting.Cause, episode int, actions ...alerting.Action) alerting.Record {
		return alerting.Record{Alert: "alr_1", Kind: kind, Cause: cause, Episode: episode, Severity: alerting.SeverityWarning, Identity: id, Facts: alerting.Facts{Actions: actions}}
	}
	critical := warning(threshold, alerting.Fired, "", 0)
	critical.Severity = alerting.SeverityCritical
	mild := warning(threshold, alerting.Fired, "", 0)
	mild.Severity = alerting.SeverityInfo
	for _, row := range []struct {
		name string
		r    alerting.Record
		want string
	}{
		{"fired", warning(threshold, alerting.Fired, "", 0), all},
		{"resolved by a correction", warning(threshold, alerting.Resolved, alerting.ByCorrection, 0), all},
		{"resolved again", warning(threshold, alerting.Resolved, alerting.ByCorrection, 1), ""},
		{"the month is over", warning(threshold, alerting.Resolved, alerting.ByPeriod, 0), "ten_a:pager:"},
		{"reopened", warning(threshold, alerting.Reopened, "", 1), ""},
		{"acked", warning(threshold, alerting.Acked, "", 0), ""},
		{"critical", critical, strings.Replace(all, "platform:sales:", "platform:am: platform:sales:", 1)},
		{"mild", mild, strings.Replace(all, "ten_a:hook: ", "", 1)},
		{"a rule for the admin", warning(rule, alerting.Fired, "", 0, alerting.EmailAdmin), "platform:admins:root@panda.dev"},
		{"a rule's second episode", warning(rule, alerting.Resolved, alerting.ByCondition, 1, alerting.PageOncall), "platform:oncall:"},
		{"a rule for the tenant and its webhooks", warning(rule, alerting.Fired, "", 0, alerting.EmailTenant, alerting.ActionWebhook),
			"ten_a:mail:ops@acme.com ten_a:mail:Boss@acme.com ten_a:mail:owner@acme.com ten_a:hook:"},
		{"a rule for the list", warning(rule, alerting.Fired, "", 0, alerting.NotifyDashboard), ""},
		{"a rule of the platform", warning(alerting.Identity{Rule: "lag"}, alerting.Fired, "", 0, alerting.EmailAdmin, alerting.PageOncall), "platform:admins:root@panda.dev platform:oncall:"},
	} {
		var got []string
		seen := map[string]bool{}
		for _, d := range Plan(&row.r, Ref{"decision.x", 7}, Audience{tenant, platform}, valentine) {
			got = append(got, d.Owner+":"+d.Channel+":"+d.To)
			if seen[d.ID] || d.State != Pending {
				t.Errorf("%s: %s is %s, seen before: %t", row.name, d.ID, d.State, seen[d.ID])
			}
			seen[d.ID] = true
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: told are\n %s\nwant\n %s", row.name, strings.Join(got, " "), row.want)
		}
	}
	// A tenant without channels: who pays and who runs it.
	fired := warning(threshold, alerting.Fired, "", 0)
	none := Audience{Tenant: Party{Default: []string{"billing@acme.com", "owner@acme.com", "Billing@acme.com"}}}
	if list := Plan(&fired, Ref{"decision.x", 7}, none, valentine); len(list) != 2 || list[0].Channel != Default || list[0].To != "billing@acme.com" {
		t.Errorf("by default told are %+v", list)
	}
	// What is muted is noted and not sent, but an open incident is closed.
	tenant.Settings.Mutes = []contact.Mute{{Limit: alerting.LimitMonthlyBudget, Until: valentine.Add(time.Hour)}}
	for _, kind := range []alerting.Kind{alerting.Fired, alerting.Resolved} {
		r := warning(threshold, kind, alerting.ByCorrection, 0)
		for _, d := range Plan(&r, Ref{"decision.x", 7}, Audience{Tenant: tenant}, valentine) {
			if want := kind == alerting.Fired || d.Channel != "pager"; want != (d.State == Muted) {
				t.Errorf("muted, %s on %s is %s", kind, d.Channel, d.State)
			}
		}
	}
}

// TestWhatWaits: quiet hours and digests hold up what is not critical.
func TestWhatWaits(t *testing.T) {
	night := &contact.QuietHours{From: "22:00", To: "07:00", Zone: "Europe/Berlin"}
	at := time.Date(2026, 2, 14, 22, 30, 0, 0, time.UTC)
	for _, row := range []struct {
		c        contact.Channel
		severity alerting.Severity
		state    State
		bundle   bool
		until    time.Time
	}{
		{contact.Channel{Quiet: night}, alerting.SeverityWarning, Waiting, false, time.Date(2026, 2, 15, 6, 0, 0, 0, time.UTC)},
		{contact.Channel{Quiet: night}, alerting.SeverityCritical, Pending, false, time.Time{}},
		{contact.Channel{Digest: contact.Hourly}, alerting.SeverityInfo, Waiting, true, time.Date(2026, 2, 14, 23, 0, 0, 0, time.UTC)},
		{contact.Channel{Digest: contact.Daily}, alerting.SeverityCritical, Pending, false, time.Time{}},
	} {
		d := Delivery{Severity: row.severity}
		d.begin(&row.c, at, false)
		if d.State != row.state || d.Bundle != row.bundle || !d.NotBefore.Equal(row.until) {
			t.Errorf("%+v %s: %s, bundle %t, not before %s", row.c, row.severity, d.State, d.Bundle, d.NotBefore)
		}
	}
}

// TestBackoff: twice as long each time, at most an hour and a fifth, and the clock alone
// ends nothing.
func TestBackoff(t *testing.T) {
	d, now := Delivery{ID: "dlv_1", Records: []Ref{{}}}, valentine
	last := time.Duration(0)
	for d.State != Dead {
		d.failed(errAway, now)
		if d.State == Dead {
			break
		}
		pause := d.NotBefore.Sub(now)
		if pause < backoffMin || pause > backoffMax*6/5 || d.Attempts < 8 && pause <= last {
			t.Fatalf("after %d tries a pause of %s, before %s", d.Attempts, pause, last)
		}
		last, now = pause, d.NotBefore
	}
	if now.Sub(valentine) < giveUpAfter || now.Sub(valentine) > giveUpAfter+2*time.Hour || d.Attempts < 40 {
		t.Errorf("given up after %s and %d tries", now.Sub(valentine), d.Attempts)
	}
	// A clock that jumped ahead by a week between two tries.
	d = Delivery{ID: "dlv_1", Attempts: 1, FirstTriedAt: valentine}
	if d.failed(errAway, valentine.Add(7*24*time.Hour)); d.State != Pending {
		t.Errorf("after a jump it is %s", d.State)
	}
	// And back.
	if !d.due(valentine) {
		t.Error("it would wait a week")
	}
	if d.failed(fatal("gone"), valentine); d.State != Dead {
		t.Errorf("after a final error it is %s", d.State)
	}
}
