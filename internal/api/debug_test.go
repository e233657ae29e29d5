package api

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
)

type gotSessions struct {
	Memberships []struct {
		Tenant      struct{ Slug string }
		OrgID       string `json:"org_id"`
		Role        string
		Permissions []string
		Admitted    string
		Why         string
		Subject     string
	}
	Invitations []struct {
		Tenant struct{ Slug string }
		Role   string
		Status string
	}
	Without string `json:"without_org_id"`
}

// Somebody's memberships, and what a sign-in would be let into. What the route says is
// held against the rule that lets people in.
func TestUserSessions(t *testing.T) {
	s := newStack(t)
	by := tenancy.Actor{ID: "test"}
	add := func(tenant, email string, role tenancy.Role) tenancy.Member {
		t.Helper()
		added, errs, err := s.registry.AddMembers(t.Context(), by, tenant, []tenancy.NewMember{{Email: email, Name: "Jane", Role: role}})
		if err != nil || errs[0] != nil {
			t.Fatal(err, errs)
		}
		return added[0]
	}
	add(s.acme.ID, "owner@acme.com", tenancy.RoleOwner)
	unbound := add(s.acme.ID, "jane@acme.com", tenancy.RoleViewer)
	invitation, err := s.registry.Invite(t.Context(), by, s.beta.ID, tenancy.NewMember{Email: "jane@acme.com", Role: tenancy.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(user string) gotSessions {
		t.Helper()
		return into[gotSessions](t, s.get(s.platform, "/v1/debug/user-sessions/"+url.PathEscape(user)))
	}

	got := ask("Jane@acme.com")
	if len(got.Memberships) != 1 || len(got.Invitations) != 1 || got.Invitations[0].Status != "pending" || got.Invitations[0].Tenant.Slug != s.beta.Slug {
		t.Fatalf("%+v", got)
	}
	m := got.Memberships[0]
	if m.Tenant.Slug != "acme-corp" || m.OrgID != s.acme.ID || m.Role != "viewer" || strings.Join(m.Permissions, " ") != "read" || m.Admitted != "depends" || !strings.HasPrefix(got.Without, "refused") {
		t.Errorf("%+v %s", m, got.Without)
	}
	if _, in := s.registry.MemberOf("https://idp", "user_1", s.acme.ID, "jane@acme.com"); !in {
		t.Error("the rule does not let in whom the route says it may")
	}
	if _, in := s.registry.MemberOf("https://idp", "user_1", "", "jane@acme.com"); in {
		t.Error("the rule lets in without an organisation whom the route says is refused")
	}

	if _, err := s.registry.Accept(t.Context(), by, s.beta.ID, invitation.ID, tenancy.Acceptance{Issuer: "https://idp", Subject: "auth0|user/1"}); err != nil {
		t.Fatal(err)
	}
	got = ask("auth0|user/1")
	if len(got.Memberships) != 1 || got.Memberships[0].Admitted != "yes" || got.Memberships[0].Tenant.Slug != s.beta.Slug || !strings.Contains(got.Without, s.beta.Slug) {
		t.Errorf("by subject: %+v", got)
	}
	if _, in := s.registry.MemberOf("https://idp", "auth0|user/1", "", ""); !in {
		t.Error("the rule refuses the only membership")
	}
	if got = ask(unbound.ID); len(got.Memberships) != 1 {
		t.Errorf("by member id: %+v", got)
	}
	if got = ask("jane@acme.com"); len(got.Memberships) != 2 {
		t.Errorf("by address: %+v", got)
	}
	if _, err := s.registry.Suspend(t.Context(), by, s.beta.ID, 0, "invoice 12 is open"); err != nil {
		t.Fatal(err)
	}
	got = ask("auth0|user/1")
	if m := got.Memberships[0]; m.Admitted != "no" || m.Why != "the tenant is suspended: invoice 12 is open" || len(m.Permissions) != 0 {
		t.Errorf("of a suspended tenant: %+v", m)
	}
	wantProblem(t, s.get(s.platform, "/v1/debug/user-sessions/nobody"), 404, "not_found", "")
	wantProblem(t, s.get(s.acme.key, "/v1/debug/user-sessions/jane@acme.com"), 403, "platform_only", "")
}

type gotSlow struct {
	Tenant *struct{ Slug string }
	Items  []struct {
		Name, Source, Tenant string
		DurationUS           int64 `json:"duration_us"`
		Rows                 uint64
		ReadRows             uint64 `json:"read_rows"`
		At                   time.Time
	}
	Advice []string
}

// The longest statements of a tenant and of nobody else, by name and without a text.
func TestSlowQueries(t *testing.T) {
	s := newStack(t)
	s.send(s.acme.key, call("secret-id", s.now, `"model":"alpha","tokens":{"input":5}`))
	s.send(s.beta.key, call("other", s.now, `"model":"alpha","tokens":{"input":5}`))
	for range 3 {
		s.get(s.acme.key, "/v1/events")
		s.get(s.beta.key, "/v1/events")
	}
	raw := s.get(s.platform, "/v1/debug/slow-queries?tenant=acme-corp")
	got := into[gotSlow](t, raw)
	if len(got.Items) < 3 || got.Tenant.Slug != "acme-corp" {
		t.Fatalf("%+v", got)
	}
	for i, q := range got.Items {
		if q.Tenant != "acme-corp" || q.At.IsZero() || !strings.HasPrefix(q.Source, strings.Split(q.Name, "/")[0]+"/sql/") {
			t.Errorf("%+v", q)
		}
		if i > 0 {
			before, now := got.Items[i-1].DurationUS, q.DurationUS
			if now > before || now <= 0 {
				t.Errorf("%v after %v", now, before)
			}
		}
	}
	if !strings.Contains(raw.body, `"aggregate/recent"`) || strings.Contains(raw.body, "secret-id") || strings.Contains(raw.body, "SELECT") {
		t.Errorf("%s", raw.body)
	}
	if len(got.Advice) != 1 || !strings.Contains(got.Advice[0], "too small") {
		t.Errorf("advice %q", got.Advice)
	}
	s.send(s.acme.key, sample("l", s.now, `{"agents":812}`))
	got = into[gotSlow](t, s.get(s.platform, "/v1/debug/slow-queries?tenant=acme-corp&limit=1&since=1h"))
	if len(got.Items) != 1 || len(got.Advice) != 1 || !strings.HasSuffix(got.Advice[0], "panda tenant migrate acme-corp --to isolated-database") || !strings.Contains(got.Advice[0], "812 agents") {
		t.Errorf("%+v", got)
	}
	if all := into[gotSlow](t, s.get(s.platform, "/v1/debug/slow-queries?limit=1000")); len(all.Items) <= 3 || all.Tenant != nil {
		t.Errorf("of all: %+v", all)
	}
	if none := into[gotSlow](t, s.get(s.platform, "/v1/debug/slow-queries?tenant=acme-corp&since=2200-01-01T00:00:00Z")); len(none.Items) != 0 || len(none.Advice) != 0 {
		t.Errorf("of the future: %+v", none)
	}
	wantProblem(t, s.get(s.platform, "/v1/debug/slow-queries?since=yesterday"), 422, "invalid", "/since")
	wantProblem(t, s.get(s.platform, "/v1/debug/slow-queries?tenant=nobody"), 404, "not_found", "")
	wantProblem(t, s.get(s.acme.key, "/v1/debug/slow-queries?tenant=acme-corp"), 403, "platform_only", "")
}

type gotAudit struct {
	Statements, Ran, Missing int
	Runs                     int
	Unnamed                  int      `json:"unnamed_runs"`
	Without                  []string `json:"tables_without_tenant"`
	Items                    []struct {
		Name, Verdict, Filter, Reason string
		Problems                      []string
		Runs                          int
		RunsOfAll                     int `json:"runs_of_all_tenants"`
	}
}

// No statement reads all tenants without saying why; and one that is run without being
// in any file, and does, is found.
func TestAuditQueries(t *testing.T) {
	s := newStack(t)
	s.rolledUp(s.send(s.acme.key, call("a", s.now, `"model":"alpha","tokens":{"input":5}`)))
	s.get(s.acme.key, "/v1/events")
	s.get(s.platform, "/v1/quarantine")
	missing := into[gotAudit](t, s.get(s.platform, "/v1/audit/queries?missing_tenant_filter=true"))
	if missing.Missing != 0 || len(missing.Items) != 0 || missing.Statements < 40 || missing.Ran == 0 || missing.Runs == 0 {
		t.Errorf("%+v", missing)
	}
	all := into[gotAudit](t, s.get(s.platform, "/v1/audit/queries"))
	if len(all.Items) != all.Statements {
		t.Errorf("%d items of %d statements", len(all.Items), all.Statements)
	}
	verdicts := map[string]string{"aggregate/recent": "filtered", "aggregate/rebuild": "declared", "ingest/quarantine": "declared", "rollup/run": "no_tenant_data"}
	for _, q := range all.Items {
		if want := verdicts[q.Name]; want != "" && (q.Verdict != want || q.Runs == 0 && q.Name != "aggregate/rebuild") {
			t.Errorf("%+v, want %s and runs", q, want)
		}
		if q.Name == "ingest/quarantine" && (q.RunsOfAll == 0 || q.Reason == "" || q.Filter == "") {
			t.Errorf("%+v", q)
		}
		delete(verdicts, q.Name)
	}
	if len(verdicts) != 0 {
		t.Errorf("not listed: %v", verdicts)
	}

	rows, err := s.db.Query(t.Context(), "SELECT count() FROM usage_raw WHERE source = {source:String}", warehouse.Param{Name: "source", Value: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	raw := s.get(s.platform, "/v1/audit/queries?missing_tenant_filter=true")
	found := into[gotAudit](t, raw)
	if found.Missing != 1 || len(found.Items) != 1 || !strings.HasPrefix(found.Items[0].Name, "unnamed/") || found.Items[0].Runs != 1 ||
		len(found.Items[0].Problems) != 1 || found.Unnamed == 0 || strings.Contains(raw.body, "secret") {
		t.Errorf("%s", raw.body)
	}
	wantProblem(t, s.get(s.platform, "/v1/audit/queries?missing_tenant_filter=maybe"), 422, "invalid", "/missing_tenant_filter")
	wantProblem(t, s.get(s.acme.key, "/v1/audit/queries"), 403, "platform_only", "")
}
