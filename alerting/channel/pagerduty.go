package channel

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// pagerDuty sends events of PagerDuty's Events API v2: trigger and resolve, with a
// dedup_key that is the same for everything about one limit's threshold or one rule.
type pagerDuty struct {
	url, key, public string
	guard            *Guard
}

// pagerDutyURL is where events go, https://developer.pagerduty.com/docs/send-alert-event.
const pagerDutyURL = "https://events.pagerduty.com/v2/enqueue"

func newPagerDuty(s Settings, cfg Config) (Channel, error) {
	p := pagerDuty{url: s.URL, key: s.Secret, public: cfg.PublicURL, guard: cfg.Guard}
	if p.url == "" {
		p.url = pagerDutyURL
	}
	const keyBytes = 32
	if len(p.key) != keyBytes {
		return nil, schemas.Invalid("/secret", schemas.CodeMalformed, "the routing key of a PagerDuty service has %d characters; it is under Integrations, Events API v2", keyBytes)
	}
	return p, cfg.Guard.CheckURL("/url", p.url)
}

type pagerDutyEvent struct {
	RoutingKey string            `json:"routing_key"`
	Action     string            `json:"event_action"`
	DedupKey   string            `json:"dedup_key"`
	Payload    *pagerDutyPayload `json:"payload,omitempty"`
	Client     string            `json:"client,omitempty"`
	ClientURL  string            `json:"client_url,omitempty"`
	Links      []pagerDutyLink   `json:"links,omitempty"`
}

type pagerDutyPayload struct {
	Summary   string    `json:"summary"`
	Source    string    `json:"source"`
	Severity  string    `json:"severity"`
	Timestamp time.Time `json:"timestamp"`
	Component string    `json:"component,omitempty"`
	Group     string    `json:"group,omitempty"`
	Class     string    `json:"class,omitempty"`
	Details   any       `json:"custom_details,omitempty"`
}

type pagerDutyLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

func (p pagerDuty) Send(ctx context.Context, m *alerting.Message) error {
	// Each record is of an incident of its own, whatever was put together for people.
	for i := range m.Records {
		if err := p.send(ctx, m, &m.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p pagerDuty) send(ctx context.Context, m *alerting.Message, r *alerting.Record) error {
	e := pagerDutyEvent{RoutingKey: p.key, Action: "trigger", DedupKey: r.Identity.DedupKey()}
	if m.Test {
		e.DedupKey = m.DedupKey
	}
	if r.Kind == alerting.Resolved {
		e.Action = "resolve"
	} else {
		const summaryMax = 1024
		source := r.Facts.TenantSlug
		if source == "" {
			source = alerting.Platform
		}
		e.Payload = &pagerDutyPayload{Summary: cut(m.Subject, summaryMax), Source: source, Severity: string(r.Severity), Timestamp: r.At.UTC(),
			Component: r.Identity.Name, Group: r.Identity.Limit, Class: r.Identity.Rule, Details: r.Facts}
		e.Client, e.ClientURL = "Panda", p.public
		if m.Link != "" {
			e.Links = []pagerDutyLink{{m.Link, "Look at it"}}
		}
	}
	body, err := json.Marshal(e)
	if err != nil {
		return encodeError(err)
	}
	return p.guard.post(ctx, p.url, jsonHeader(), body)
}
