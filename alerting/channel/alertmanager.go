package channel

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/agentik-os/panda/alerting"
)

// alertmanager posts to the API v2 of a Prometheus Alertmanager. Alerts with the same
// labels are one there, so the labels are those of the incident; the rest is in the
// annotations. Format: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
type alertmanager struct {
	url, public string
	guard       *Guard
}

type postableAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     *time.Time        `json:"startsAt,omitempty"`
	EndsAt       *time.Time        `json:"endsAt,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// openFor is how long an alert counts as firing when nobody says that it is over: the
// rest of the longest period. Alertmanager would take resolve_timeout, minutes,
// otherwise.
const openFor = 32 * 24 * time.Hour

func (a alertmanager) Send(ctx context.Context, m *alerting.Message) error {
	list := make([]postableAlert, 0, len(m.Records))
	for i := range m.Records {
		list = append(list, a.alert(m, &m.Records[i]))
	}
	body, err := json.Marshal(list)
	if err != nil {
		return encodeError(err)
	}
	return a.guard.post(ctx, a.url+"/api/v2/alerts", jsonHeader(), body)
}

func (a alertmanager) alert(m *alerting.Message, r *alerting.Record) postableAlert {
	id := &r.Identity
	labels := map[string]string{"alertname": "Panda_" + id.Rule, "severity": string(r.Severity), "tenant": r.Facts.TenantSlug}
	for name, value := range map[string]string{"limit": id.Limit, "name": id.Name} {
		if value != "" {
			labels[name] = value
		}
	}
	if id.Threshold > 0 {
		labels["threshold"] = strconv.Itoa(id.Threshold)
	}
	if labels["tenant"] == "" {
		labels["tenant"] = alerting.Platform
	}
	at := r.At.UTC()
	p := postableAlert{Labels: labels, GeneratorURL: m.Link, Annotations: map[string]string{"summary": m.Subject, "description": m.Text}}
	if r.Kind == alerting.Resolved {
		p.EndsAt = &at
		return p
	}
	end := at.Add(openFor)
	if m.Test {
		end = at.Add(time.Minute)
	}
	p.StartsAt, p.EndsAt = &at, &end
	return p
}
