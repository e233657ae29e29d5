package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

// SpansOf cuts what a tenant agreed to into the spans of a month. Nothing is owed while a
// tenant is deleted. A suspended one goes on owing what it owed before: its data is kept.
//
// Errors match schemas.ErrInvalid for a plan without rates.
func SpansOf(terms []tenancy.Terms, card *bill.RateCard, month schemas.Window) ([]bill.Span, error) {
	var spans []bill.Span
	for i := range terms {
		t := &terms[i]
		from, to := t.From, month.End()
		if from.Before(month.Start) {
			from = month.Start
		}
		if i+1 < len(terms) && terms[i+1].From.Before(to) {
			to = terms[i+1].From
		}
		if !from.Before(to) || t.Status == tenancy.StatusDeleted || t.Status == tenancy.StatusErased {
			continue
		}
		rates, ok := card.Plans[string(t.Plan)]
		if !ok {
			return nil, schemas.Invalid("/plan", schemas.CodeMissing, "plan %s has no billing section in plans.yaml, so that nobody can say what it costs", t.Plan)
		}
		spans = append(spans, bill.Span{From: from.UTC(), To: to.UTC(), Plan: string(t.Plan), Trial: t.Trial, Rates: rates, StorageGB: int64(t.StorageGB)})
	}
	return joinSpans(spans), nil
}

// joinSpans makes one of neighbours that are charged alike: a suspension is no change.
func joinSpans(spans []bill.Span) []bill.Span {
	var list []bill.Span
	for i := range spans {
		sp := &spans[i]
		if n := len(list); n > 0 {
			last := &list[n-1]
			if last.To.Equal(sp.From) && last.Plan == sp.Plan && last.Trial == sp.Trial && last.StorageGB == sp.StorageGB {
				last.To = sp.To
				continue
			}
		}
		list = append(list, *sp)
	}
	return list
}

type statementHead struct {
	ID       string        `json:"id"`
	Month    string        `json:"month"`
	Currency string        `json:"currency"`
	Total    int64         `json:"total"`
	Exact    schemas.Money `json:"exact"`
	AsOf     uint64        `json:"as_of"`
	SealedAt time.Time     `json:"sealed_at"`
	Checksum string        `json:"checksum"`
}

// statements is GET /v1/tenants/{tenant}/statements.
func (a *API) statements(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	t, err := a.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	sealed, err := stages.of(t.ID).Billing.Sealed(r.Context(), t.ID)
	if err != nil {
		return err
	}
	answer := struct {
		Items []statementHead `json:"items"`
	}{Items: make([]statementHead, len(sealed))}
	for i := range sealed {
		s := &sealed[i]
		answer.Items[i] = statementHead{s.ID, s.Month, s.Currency, s.Total, s.Exact, s.AsOf, s.SealedAt, s.Checksum}
	}
	if err := a.still(scope, t.ID); err != nil {
		return err
	}
	return writeJSON(w, answer)
}

// statement is GET /v1/tenants/{tenant}/statements/{month}: the sealed one, or the draft.
func (a *API) statement(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	t, err := a.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	month, err := schemas.ParseMonth(r.PathValue("month"))
	if err != nil {
		return err
	}
	asOf, err := intQuery(r, "as_of", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	forecast, err := boolQuery(r, "forecast")
	if err != nil {
		return err
	}
	if forecast && asOf != 0 {
		return schemas.Invalid("/forecast", schemas.CodeNotAllowed, "a forecast is made from now, not from an earlier position")
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	var s bill.Statement
	if forecast {
		s, err = stages.of(t.ID).Billing.Forecast(r.Context(), t.ID, month.String())
	} else if asOf != 0 {
		s, err = stages.of(t.ID).Billing.AsOf(r.Context(), t.ID, month.String(), asOf)
	} else {
		s, err = stages.of(t.ID).Billing.Get(r.Context(), t.ID, month.String())
	}
	if err != nil {
		return err
	}
	if err := a.still(scope, t.ID); err != nil {
		return err
	}
	return writeJSON(w, s)
}

// closeMonth is POST /v1/tenants/{tenant}/statements/{month}/close.
func (a *API) closeMonth(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	t, err := a.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	month, err := schemas.ParseMonth(r.PathValue("month"))
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	s, _, err := stages.of(t.ID).Billing.Close(r.Context(), t.ID, month.String())
	if err != nil {
		return fmt.Errorf("close the month: %w", err)
	}
	return writeJSON(w, s)
}
