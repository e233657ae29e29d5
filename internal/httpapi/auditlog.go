package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// audit is the audit log of the whole platform, or of a tenant for its own key.
func (t *Tenants) audit(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	named := r.URL.Query().Get("tenant")
	if named == "" && !scope.IsPlatform() {
		named = scope.TenantID()
	}
	return t.answerAudit(w, r, scope, named)
}

func (t *Tenants) auditOfTenant(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return t.answerAudit(w, r, scope, r.PathValue("tenant"))
}

func (t *Tenants) answerAudit(w http.ResponseWriter, r *http.Request, scope tenancy.Scope, named string) error {
	q := r.URL.Query()
	query := tenancy.AuditQuery{Action: q.Get("action"), Actor: q.Get("actor"), Outcome: q.Get("outcome")}
	if query.Outcome != "" && query.Outcome != tenancy.OutcomeOK && query.Outcome != tenancy.OutcomeRefused {
		return schemas.Invalid("/outcome", schemas.CodeUnknown, "use ok or refused")
	}
	if named != "" {
		found, err := t.Registry.Find(scope, named)
		if err != nil {
			return err
		}
		query.TenantID = found.ID
	}
	var err error
	if query.From, err = auditTime(r, "from"); err != nil {
		return err
	}
	if query.To, err = auditTime(r, "to"); err != nil {
		return err
	}
	if query.Limit, err = PageSize(r); err != nil {
		return err
	}
	list := "audit\x00" + query.TenantID
	before, err := t.Cursors.Decode(scope, list, q.Get("cursor"))
	if err != nil {
		return err
	}
	if before != "" {
		if query.Before, err = strconv.ParseUint(before, 10, 64); err != nil {
			return schemas.Invalid("/cursor", schemas.CodeMalformed, "this is not a cursor of this list")
		}
	}
	entries, next, err := t.Registry.Audit(r.Context(), scope, query)
	if err != nil {
		return err
	}
	answer := page[tenancy.AuditEntry]{Items: entries}
	if answer.Items == nil {
		answer.Items = []tenancy.AuditEntry{}
	}
	if next != 0 {
		answer.NextCursor = t.Cursors.Encode(scope, list, strconv.FormatUint(next, 10))
	}
	WriteJSON(w, http.StatusOK, answer)
	return nil
}

// auditTime reads a bound in time from the query.
func auditTime(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, schemas.Invalid("/"+name, schemas.CodeMalformed, "use a day such as 2026-02-14 or a time such as 2026-02-14T09:00:00Z")
}
