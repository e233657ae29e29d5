package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

type gotEntitlement struct {
	Decision, Action, Message string
	Limit                     *entitlementLimit
}

func (s *stack) create(n tenancy.NewTenant) tenancy.Tenant {
	s.t.Helper()
	n.Name = n.Slug
	made, _, err := s.registry.CreateTenant(s.t.Context(), tenancy.Actor{ID: "test"}, n)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// A call of a model that costs nothing goes on when the month's tokens are used
// up, and no other.
func TestEntitlementsOfFreeModels(t *testing.T) {
	s := newStack(t)
	book, err := s.prices.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := book.Revision()
	gift := schemas.PriceRow{Provider: "house", Model: "gift"}
	gift.Tokens.Set(schemas.Input, 0)
	gift.Tokens.Set(schemas.Output, 0)
	next.Rows = append(next.Rows, gift)
	if _, err := s.prices.Publish(t.Context(), book.Number(), next); err != nil {
		t.Fatal(err)
	}
	made := s.create(tenancy.NewTenant{Slug: "spent", MaxMonthlyTokens: 1000})
	a := s.ask(s.platform, "POST", "/v1/events?tenant=spent", "["+call("e", s.now, `"model":"alpha","tokens":{"input":1000}`)+"]")
	s.judged(into[struct{ Seq uint64 }](t, a).Seq)
	limit := &entitlementLimit{"monthly_tokens", "1000", "1000", 100, 100}
	const message = "Token quota exceeded. Current: 1000, Max: 1000. Only free models may be called. Upgrade your plan."
	asked := []struct{ query, item, decision string }{
		{"", `{}`, "throttle"},
		{"model=gift", `{"model":"gift"}`, "throttle"},
		{"model=gift&provider=house", `{"model":"gift","provider":"house"}`, "throttle"},
		{"model=gift&provider=away", `{"model":"gift","provider":"away"}`, "deny"},
		{"model=alpha", `{"model":"alpha"}`, "deny"},
		{"model=unheard-of", `{"model":"unheard-of"}`, "deny"},
	}
	var items []string
	var want []gotEntitlement
	for _, row := range asked {
		items = append(items, row.item)
		want = append(want, gotEntitlement{row.decision, "call", message, limit})
		got := into[gotEntitlement](t, s.get(s.platform, "/v1/entitlements?tenant="+made.ID+"&"+row.query))
		if diff := cmp.Diff(want[len(want)-1], got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", row.query, diff)
		}
	}
	batch := into[struct{ Decisions []gotEntitlement }](t,
		s.ask(s.platform, "POST", "/v1/entitlements/batch?tenant=spent", `{"requests":[`+strings.Join(items, ",")+`]}`))
	if diff := cmp.Diff(want, batch.Decisions); diff != "" {
		t.Errorf("the batch (-want +got):\n%s", diff)
	}
}

func TestEntitlementsRefuseWhatTheyDoNotKnow(t *testing.T) {
	s := newStack(t)
	long := strings.Repeat("x", 257)
	for query, pointer := range map[string]string{
		"action=destroy": "/action", "bytes=-1": "/bytes", "bytes=5": "/bytes", "action=upload&bytes=many": "/bytes",
		"agent=" + long: "/agent", "department=" + long: "/department", "model=" + long: "/model",
	} {
		wantProblem(t, s.get(s.acme.key, "/v1/entitlements?"+query), 422, "invalid", pointer)
	}
	many, err := json.Marshal(map[string]any{"requests": make([]entitlementRequest, 101)})
	if err != nil {
		t.Fatal(err)
	}
	for body, pointer := range map[string]string{
		`{}`: "/requests", `{"requests":[]}`: "/requests", string(many): "/requests",
		`{"requests":[{},{"action":"destroy"}]}`:        "/requests/1/action",
		`{"requests":[{"bytes":-1,"action":"upload"}]}`: "/requests/0/bytes",
		`{"requests":[{"free_model":true}]}`:            "/requests/0/free_model",
	} {
		wantProblem(t, s.ask(s.acme.key, "POST", "/v1/entitlements/batch", body), 422, "invalid", pointer)
	}
	wantProblem(t, s.ask(s.platform, "POST", "/v1/entitlements/batch", `{"requests":[{}]}`), 422, "invalid", "/tenant")
}

// Whoever is not served is denied everything, whether anything can be counted or
// not.
func TestEntitlementsOfWhoIsNotServed(t *testing.T) {
	s := newStack(t)
	for status, want := range map[tenancy.Status]gotEntitlement{
		tenancy.StatusSuspended: {Limit: &entitlementLimit{Name: "suspended"}, Message: "Tenant suspended. Nothing may run until it is resumed."},
		tenancy.StatusDeleted:   {Limit: &entitlementLimit{Name: "deleted"}, Message: "Tenant deleted. Nothing may run."},
	} {
		made := s.create(tenancy.NewTenant{Slug: string(status)})
		_, err := s.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "test"}, made.ID, 0, func(t *tenancy.Tenant) error { t.Status = status; return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, down := range []bool{false, true} {
			s.down.Store(down)
			for _, action := range []string{"call", "create_agent", "upload", "start_session"} {
				want.Decision, want.Action = "deny", action
				got := into[gotEntitlement](t, s.get(s.platform, fmt.Sprintf("/v1/entitlements?tenant=%s&action=%s", made.ID, action)))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", status, action, diff)
				}
			}
		}
		s.down.Store(false)
	}
}
