package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Alerts knows which alerts there are; *alerting.Book is it.
type Alerts interface {
	List(q alerting.Query) (alerts []alerting.Alert, next string)
}

type alertView struct {
	ID        string            `json:"id"`
	Tenant    string            `json:"tenant,omitempty"`
	Title     string            `json:"title"`
	Rule      string            `json:"rule"`
	Limit     string            `json:"limit,omitempty"`
	Name      string            `json:"name,omitempty"`
	Period    string            `json:"period,omitempty"`
	Threshold int               `json:"threshold,omitempty"`
	Severity  alerting.Severity `json:"severity"`
	State     alerting.State    `json:"state"`
	FiredAt   time.Time         `json:"fired_at"`
	// ResolvedAt and Cause are there once it is over.
	ResolvedAt  time.Time        `json:"resolved_at,omitzero"`
	Cause       alerting.Cause   `json:"cause,omitempty"`
	Percent     int              `json:"percent"`
	Used        alerting.Amount  `json:"used,omitzero"`
	Max         alerting.Amount  `json:"max,omitzero"`
	Forecast    alerting.Amount  `json:"forecast,omitzero"`
	ExhaustedAt time.Time        `json:"exhausted_at,omitzero"`
	Models      []alerting.Share `json:"models,omitempty"`
	Agents      []alerting.Share `json:"agents,omitempty"`
	Next        string           `json:"next,omitempty"`
}

func viewOfAlert(a *alerting.Alert) alertView {
	f := &a.Facts
	return alertView{
		ID: a.ID, Tenant: a.Tenant, Title: a.Title(), Rule: a.Rule, Limit: a.Limit, Name: a.Name, Period: a.Period, Threshold: a.Threshold,
		Severity: a.Severity, State: a.State, FiredAt: a.FiredAt.UTC(), ResolvedAt: a.ResolvedAt, Cause: a.Cause, Percent: f.Percent,
		Used: f.Used, Max: f.Max, Forecast: f.Forecast, ExhaustedAt: f.ExhaustedAt, Models: f.Models, Agents: f.Agents, Next: f.Next,
	}
}

// alerts is GET /v1/alerts.
func (a *API) alerts(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if a.Book == nil {
		return fmt.Errorf("list alerts: %w", schemas.ErrUnavailable)
	}
	tenant, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	q := alerting.Query{Tenant: tenant, State: alerting.State(r.URL.Query().Get("state"))}
	if tenant == "" {
		q.Tenant = alerting.Everyone
	}
	switch q.State {
	case "", alerting.Firing, alerting.Ended, alerting.Replaced, alerting.Over:
	default:
		return schemas.Invalid("/state", schemas.CodeUnknown, "use firing, resolved, superseded or expired")
	}
	if q.Max, err = httpapi.PageSize(r); err != nil {
		return err
	}
	list := "alerts\x00" + tenant
	if q.After, err = a.Cursors.Decode(scope, list, r.URL.Query().Get("cursor")); err != nil {
		return err
	}
	if _, err := strconv.ParseUint(q.After, 10, 64); q.After != "" && err != nil {
		return schemas.Invalid("/cursor", schemas.CodeMalformed, "this is not a cursor of this list")
	}
	found, next := a.Book.List(q)
	answer := struct {
		Alerts     []alertView `json:"alerts"`
		NextCursor string      `json:"next_cursor,omitempty"`
	}{Alerts: make([]alertView, len(found))}
	for i := range found {
		answer.Alerts[i] = viewOfAlert(&found[i])
	}
	if next != "" {
		answer.NextCursor = a.Cursors.Encode(scope, list, next)
	}
	return writeJSON(w, answer)
}
