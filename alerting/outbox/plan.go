package outbox

import (
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/internal/contact"
)

// A Party is the tenant, or the platform, with all who may be told of its alerts.
type Party struct {
	Settings contact.Settings
	// Emails are the addresses by role.
	Emails map[contact.Role][]string
	// Default are who is told by e-mail while there is no channel at all; none if no
	// mail can be sent.
	Default []string
}

// An Audience is who may be told of a tenant's alerts: the tenant and the platform. Of
// the platform's own, Tenant is empty.
type Audience struct{ Tenant, Platform Party }

// Plan says to whom a record is told, and when. The deliveries are in the order of the
// channels, the tenant's first.
//
// A threshold is told on the tenant's channels, and on those of the platform that name
// its rule or its limit: the platform's people are not to be woken by every budget. A
// rule is told on the channels that its actions name; an Alertmanager, which sorts for
// itself, hears of everything. Reopened and acked alerts are told to nobody, and neither
// is a threshold that is resolved again after it was reopened; the end of a period only to
// channels that keep incidents open.
func Plan(r *alerting.Record, ref Ref, to Audience, now time.Time) []Delivery {
	if !told(r) {
		return nil
	}
	var list []Delivery
	parties := []struct {
		owner string
		party *Party
	}{{r.Identity.Tenant, &to.Tenant}, {"", &to.Platform}}
	if r.Identity.Tenant == "" {
		parties = parties[1:]
	}
	for _, p := range parties {
		own := p.owner == r.Identity.Tenant
		muted := p.party.Settings.Muted(r.Alert, r.Identity.Rule, r.Identity.Limit, r.Identity.Name, now)
		for _, c := range p.party.channels(own) {
			if !wanted(&c, r, own) || r.Kind == alerting.Resolved && r.Cause == alerting.ByPeriod && !channel.KeepsIncidents(c.Type) {
				continue
			}
			for _, address := range p.party.addresses(&c) {
				d := deliveryOf(r, ref, p.owner, &c, address)
				// An incident that is open somewhere is closed there all the same.
				closes := r.Kind == alerting.Resolved && channel.KeepsIncidents(c.Type)
				d.begin(&c, now, muted && !closes)
				list = append(list, d)
			}
		}
	}
	return list
}

// told reports whether anybody is told of a record at all.
func told(r *alerting.Record) bool {
	switch r.Kind {
	case alerting.Fired:
		return true
	case alerting.Resolved:
		return r.Identity.Rule != alerting.RuleThreshold || r.Episode == 0
	}
	return false
}

// channels are those of a party, and the one of a tenant without any.
func (p *Party) channels(own bool) []contact.Channel {
	if len(p.Settings.Channels) == 0 && own && len(p.Default) > 0 {
		return []contact.Channel{{ID: Default, Name: Default, Type: contact.Email}}
	}
	return p.Settings.Channels
}

// addresses are the receivers of a channel: one that is empty, or of e-mail each address
// once.
func (p *Party) addresses(c *contact.Channel) []string {
	if c.Type != contact.Email {
		return []string{""}
	}
	list := c.To
	if c.ID == Default {
		list = p.Default
	}
	list = slices.Clone(list)
	for _, role := range c.Roles {
		list = append(list, p.Emails[role]...)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(address string) bool {
		low := strings.ToLower(address)
		again := seen[low] || address == ""
		seen[low] = true
		return again
	})
}

// wanted reports whether a channel is for a record. own says that it is the channel of
// whose alert it is.
func wanted(c *contact.Channel, r *alerting.Record, own bool) bool {
	id := &r.Identity
	switch {
	case c.Disabled, r.Severity.Rank() < alerting.Severity(c.Severity).Rank():
		return false
	case len(c.Rules) > 0 && !slices.Contains(c.Rules, id.Rule), len(c.Limits) > 0 && !slices.Contains(c.Limits, id.Limit):
		return false
	case c.Type == contact.Alertmanager:
		return true
	case id.Rule == alerting.RuleThreshold:
		return own || len(c.Rules)+len(c.Limits) > 0
	}
	platform := !own || id.Tenant == ""
	for _, action := range r.Facts.Actions {
		switch action {
		case alerting.EmailAdmin:
			if c.Type == contact.Email && platform {
				return true
			}
		case alerting.EmailTenant:
			if c.Type == contact.Email && !platform {
				return true
			}
		case alerting.PageOncall:
			if c.Type == contact.PagerDuty && platform {
				return true
			}
		case alerting.ActionWebhook:
			if c.Type == contact.Webhook {
				return true
			}
		case alerting.ActionSlack:
			if c.Type == contact.Slack {
				return true
			}
		case alerting.NotifyDashboard, alerting.SuspendTenant: // of others
		}
	}
	return false
}

func deliveryOf(r *alerting.Record, ref Ref, owner string, c *contact.Channel, to string) Delivery {
	return Delivery{
		Version: deliveryVersion, ID: deliveryID(ref.Subject, c.ID, to), Owner: ownerOf(owner), About: ownerOf(r.Identity.Tenant),
		Channel: c.ID, Type: c.Type, To: to, Records: []Ref{ref}, Alert: r.Alert, Kind: r.Kind, Severity: r.Severity,
		Incident: r.Identity.DedupKey(), AckedAt: r.AckedAt,
	}
}

func ownerOf(tenant string) string {
	if tenant == "" {
		return alerting.Platform
	}
	return tenant
}

// begin says how a delivery begins.
func (d *Delivery) begin(c *contact.Channel, now time.Time, muted bool) {
	d.CreatedAt, d.State = now, Pending
	quiet, digest := c.Quiet.Until(now), c.After(now)
	switch {
	case muted:
		d.State, d.Reason, d.EndedAt = Muted, "the alert is muted", now
	case d.Severity == alerting.SeverityCritical:
	case !digest.IsZero():
		d.State, d.Bundle, d.NotBefore, d.Reason = Waiting, true, digest, "it waits for its digest"
	case !quiet.IsZero():
		d.State, d.NotBefore, d.Reason = Waiting, quiet, quietReason
	}
}

const quietReason = "it waits for the end of the quiet hours"
