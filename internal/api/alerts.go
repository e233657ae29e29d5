package api

import (
	"context"
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
	Get(tenant, id string) (alerting.Alert, bool)
	WaitFor(ctx context.Context, seq uint64) error
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
	AckedAt     time.Time        `json:"acked_at,omitzero"`
	AckedBy     string           `json:"acked_by,omitempty"`
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
		Severity: a.Severity, State: a.State, FiredAt: a.FiredAt.UTC(), ResolvedAt: a.ResolvedAt, Cause: a.Cause, AckedAt: a.AckedAt, AckedBy: a.AckedBy, Percent: f.Percent,
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
	if q.Unacked, err = boolQuery(r, "unacked"); err != nil {
		return err
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

// alertDetail is an alert with what became of it.
type alertDetail struct {
	alertView
	Condition string            `json:"condition,omitempty"`
	Values    map[string]string `json:"values,omitempty"`
	Actions   []alerting.Action `json:"actions,omitempty"`
	// History is in the order in which it was decided.
	History []alertRecord `json:"history"`
}

type alertRecord struct {
	Kind    alerting.Kind   `json:"kind"`
	At      time.Time       `json:"at"`
	Cause   alerting.Cause  `json:"cause,omitempty"`
	Actor   string          `json:"actor,omitempty"`
	Percent int             `json:"percent,omitempty"`
	Used    alerting.Amount `json:"used,omitzero"`
	Max     alerting.Amount `json:"max,omitzero"`
}

func detailOfAlert(a *alerting.Alert) alertDetail {
	d := alertDetail{alertView: viewOfAlert(a), Condition: a.Facts.Condition, Values: a.Facts.Values, Actions: a.Facts.Actions,
		History: make([]alertRecord, len(a.History))}
	for i := range a.History {
		r := &a.History[i]
		d.History[i] = alertRecord{r.Kind, r.At.UTC(), r.Cause, r.Actor, r.Facts.Percent, r.Facts.Used, r.Facts.Max}
	}
	return d
}

// oneAlert finds the alert that a request names, within reach of its scope.
func (a *API) oneAlert(r *http.Request, scope tenancy.Scope) (alerting.Alert, error) {
	if a.Book == nil {
		return alerting.Alert{}, fmt.Errorf("find an alert: %w", schemas.ErrUnavailable)
	}
	tenant, err := a.tenantOrAll(r, scope)
	if err != nil {
		return alerting.Alert{}, err
	}
	if tenant == "" {
		tenant = alerting.Everyone
	}
	alert, ok := a.Book.Get(tenant, r.PathValue("alert"))
	if !ok {
		return alert, httpapi.NotFound()
	}
	return alert, nil
}

// alert is GET /v1/alerts/{alert}.
func (a *API) alert(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	alert, err := a.oneAlert(r, scope)
	if err != nil {
		return err
	}
	return writeJSON(w, detailOfAlert(&alert))
}

// ackAlert is POST /v1/alerts/{alert}/ack: somebody has taken note. Asked again it
// answers the same; who was first stands.
func (a *API) ackAlert(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	alert, err := a.oneAlert(r, scope)
	if err != nil {
		return err
	}
	if !alert.AckedAt.IsZero() {
		return writeJSON(w, detailOfAlert(&alert))
	}
	if alert.State != alerting.Firing {
		return httpapi.Problem{Status: http.StatusConflict, Code: "alert_over",
			Detail: fmt.Sprintf("the alert is %s; there is nothing to take note of", alert.State)}
	}
	if alert.Tenant != "" {
		// Before: what could not be recorded is not done.
		err := a.Registry.Record(r.Context(), actorOf(scope, r), alert.Tenant, "alert.acked", map[string]any{"alert": alert.ID, "title": alert.Title()})
		if err != nil {
			return err
		}
	}
	seq, err := a.Decider.Ack(r.Context(), &alert, scope.Actor(), a.Now())
	if err == nil {
		err = a.Book.WaitFor(r.Context(), seq)
	}
	if err != nil {
		return err
	}
	if alert, err = a.oneAlert(r, scope); err != nil {
		return err
	}
	return writeJSON(w, detailOfAlert(&alert))
}
