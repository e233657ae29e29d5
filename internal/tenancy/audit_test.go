package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
)

// The log of two tenants, as it reads from each side.
func TestAuditLog(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	one, other := create(t, r, acme("")), create(t, r, NewTenant{Name: "Globex", Slug: "globex"})
	steps := []error{
		second(r.UpdateTenant(t.Context(), someone, one.ID, 0, func(t *Tenant) error {
			t.QuotaOverrides = QuotaOverrides{MaxAgents: 200, MaxMonthlyTokens: 100_000_000}
			return nil
		})),
		second(r.ChangePlan(t.Context(), someone, one.ID, 0, PlanEnterprise, true)),
		second(r.UpdateTenant(t.Context(), someone, one.ID, 0, func(t *Tenant) error { t.HasBudget = false; return nil })),
		second(r.Suspend(t.Context(), someone, one.ID, 0, "unpaid")),
		second(r.Suspend(t.Context(), someone, other.ID, 0, "")),
		second(r.Resume(t.Context(), someone, one.ID, 0)),
		second(r.Place(t.Context(), someone, one.ID, IsolatedDatabase, "panda_one")),
		second(r.Delete(t.Context(), someone, one.ID, 0)),
		second(r.Restore(t.Context(), someone, one.ID, 0)),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	certificate := `{"erasure":"era_a","tenant_id":"` + one.ID + `","actor":"key:e","finished_at":"2026-02-14T09:00:00Z","erased":{"usage_raw":7}}`
	if _, err := r.log.Append(t.Context(), eventlog.Message{Subject: UserErasureSubject(one.ID, "era_a"), ID: "era_a", Data: []byte(certificate)}); err != nil {
		t.Fatal(err)
	}
	add(t, r, one.ID, "user@acme.com", RoleOwner)
	platform, own := ScopeOf("", "key:p", PermissionAdmin), ScopeOf(one.ID, "key:o", PermissionAdmin)
	actions := func(entries []AuditEntry) (out []string) {
		for _, e := range entries {
			out = append(out, e.Action)
		}
		return out
	}
	mine := []string{"member.added", "user.erased", "tenant.restored", "tenant.deleted", "tenant.migrated", "tenant.resumed", "tenant.suspended",
		"budget.updated", "plan.changed", "quota.updated", "tenant.created"}
	for _, row := range []struct {
		name  string
		scope Scope
		query AuditQuery
		want  []string
	}{
		{"the tenant's own, newest first", own, AuditQuery{Limit: 100}, mine},
		{"the same, by the platform", platform, AuditQuery{TenantID: one.ID, Limit: 100}, mine},
		{"another's", platform, AuditQuery{TenantID: other.ID, Limit: 100}, []string{"tenant.suspended", "tenant.created"}},
		{"one kind", own, AuditQuery{Action: "tenant.suspended", Limit: 100}, []string{"tenant.suspended"}},
		{"one word", own, AuditQuery{Action: "quota.", Limit: 100}, []string{"quota.updated"}},
		{"of nobody", own, AuditQuery{Actor: "key:nobody", Limit: 100}, nil},
		{"before it began", own, AuditQuery{To: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Limit: 100}, nil},
		{"since then", own, AuditQuery{From: time.Now().Add(-time.Hour), Limit: 100}, slices.DeleteFunc(slices.Clone(mine), func(a string) bool { return a == "user.erased" })},
	} {
		got, next, err := r.Audit(t.Context(), row.scope, row.query)
		if diff := cmp.Diff(row.want, actions(got)); diff != "" || err != nil || next != 0 {
			t.Errorf("%s: next %d, %v\n%s", row.name, next, err, diff)
		}
	}
	if _, _, err := r.Audit(t.Context(), own, AuditQuery{TenantID: other.ID, Limit: 1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant's log: %v", err)
	}
	if _, _, err := r.Audit(t.Context(), Scope{}, AuditQuery{Limit: 1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody's log: %v", err)
	}
	// Page by page it is the same list.
	var paged []string
	for before := uint64(0); ; {
		got, next, err := r.Audit(t.Context(), own, AuditQuery{Limit: 3, Before: before})
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, actions(got)...)
		if before = next; next == 0 {
			break
		}
	}
	if diff := cmp.Diff(mine, paged); diff != "" {
		t.Errorf("page by page:\n%s", diff)
	}
	got, _, err := r.Audit(t.Context(), own, AuditQuery{Action: "quota.updated", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]AuditChange{
		"max_agents":         {From: 100.0, To: 200.0},
		"max_monthly_tokens": {From: 50_000_000.0, To: 100_000_000.0},
	}
	if diff := cmp.Diff(want, got[0].Changes); diff != "" || got[0].Actor != someone.ID || got[0].IP != someone.IP || got[0].Outcome != OutcomeOK {
		t.Errorf("%+v\n%s", got[0], diff)
	}
}

func second[T any](_ T, err error) error { return err }

// The same attempt again and again is one entry a minute, with its number.
func TestAttemptsAreCounted(t *testing.T) {
	log := eventlogtest.Open(t)
	r := start(t, log)
	made := create(t, r, acme(""))
	a := NewAttempts(log, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	for i := range 500 {
		a.Note(Attempt{By: someone, TenantID: made.ID, Action: "PATCH /v1/tenants/{tenant}", Code: "platform_only", Detail: fmt.Sprint(i)})
	}
	a.Note(Attempt{By: someone, TenantID: made.ID, Action: "DELETE /v1/keys/{id}", Code: "not_found"})
	go func() { done <- a.Run(ctx) }()
	own := ScopeOf(made.ID, "x", PermissionAdmin)
	query := AuditQuery{Outcome: OutcomeRefused, Limit: 10}
	var got []AuditEntry
	for deadline := time.Now().Add(30 * time.Second); len(got) < 2 && time.Now().Before(deadline); {
		var err error
		if got, _, err = r.Audit(t.Context(), own, query); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, e := range got {
		times[fmt.Sprint(e.Changes["route"].To)] = e.Times
	}
	if diff := cmp.Diff(map[string]int{"PATCH /v1/tenants/{tenant}": 500, "DELETE /v1/keys/{id}": 1}, times); diff != "" {
		t.Errorf("%+v\n%s", got, diff)
	}
}
