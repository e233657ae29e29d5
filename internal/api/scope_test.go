package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
)

// A tenant's key that names somebody else learns nothing, on no route: the answer
// is the one about a tenant that does not exist, byte for byte.
func TestAnotherTenantIsNotThere(t *testing.T) {
	s := newStack(t)
	s.send(s.beta.key, call("secret", s.now, `"model":"alpha","tokens":{"input":1}`))
	held := s.publish(s.beta.ID, "not JSON")
	_, betaKey, err := auth.Issue(t.Context(), s.registry, tenancy.Actor{ID: "test"}, s.beta.ID, "other", tenancy.PermissionRead)
	if err != nil {
		t.Fatal(err)
	}
	// Routes about no tenant: to all names they say the same, but not 404.
	others := map[string]int{
		"GET /v1/prices": 200, "GET /v1/prices/{provider}/{model...}": 200, "POST /v1/prices/import": 403,
		"GET /v1/summary": 403, "GET /v1/jobs": 403, "POST /v1/verify": 403,
		"GET /v1/tenants": 403, "POST /v1/tenants": 403, "GET /v1/plans": 200,
		"POST /v1/invitations/accept": 400, "POST /v1/signup": 403,
		// These take the platform or an owner, whoever they are about.
		"DELETE /v1/tenants/{tenant}": 403, "PUT /v1/tenants/{tenant}/plan": 403, "POST /v1/tenants/{tenant}/suspend": 403,
		"POST /v1/tenants/{tenant}/resume": 403, "POST /v1/tenants/{tenant}/activate": 403, "POST /v1/tenants/{tenant}/restore": 403,
	}
	// What another tenant has, and what nobody has, where a path names a thing.
	things := map[string][2]string{
		"POST /v1/quarantine/{id}/replay": {placeText(held, 0), placeText(held+100, 0)},
		"DELETE /v1/keys/{id}":            {betaKey.ID, "aaaaaaaa"},
	}
	others["GET /v1/templates"] = 200
	for _, route := range []string{"POST /v1/tenants/{tenant}/erase-user", "GET /v1/debug/user-sessions/{user}", "GET /v1/debug/slow-queries", "GET /v1/audit/queries",
		"POST /v1/tenants/{tenant}/statements/{month}/close"} {
		others[route] = 403
	}
	for _, route := range s.routes {
		if !strings.HasPrefix(route.Pattern[strings.Index(route.Pattern, " ")+1:], "/v1/") {
			continue
		}
		method, pattern, _ := strings.Cut(route.Pattern, " ")
		ask := func(name, thing string) answer {
			path := strings.NewReplacer("{tenant}", name, "{id}", thing, "{provider}", "house", "{model...}", "alpha").Replace(pattern)
			if !strings.Contains(pattern, "{tenant}") {
				path += "?tenant=" + name
			}
			body := ""
			if method == http.MethodPost && strings.Contains(pattern, "lookup") {
				body = `{"source":"/r","ids":["secret"]}`
			}
			return s.ask(s.acme.key, method, path, body)
		}
		thing, nothing := "x", "x"
		if pair, ok := things[route.Pattern]; ok {
			thing, nothing = pair[0], pair[1]
		}
		want, ok := others[route.Pattern]
		if !ok {
			want = http.StatusNotFound
		}
		unknown := ask("nobody", nothing)
		if unknown.status != want {
			t.Errorf("%s: %d %s, want %d", route.Pattern, unknown.status, unknown.body, want)
		}
		for _, name := range []string{s.beta.ID, s.beta.Slug, "ten_aaaaaaaaaaaa"} {
			got := ask(name, thing)
			if got.status != unknown.status || got.body != unknown.body || !sameHeaders(got.header, unknown.header) {
				t.Errorf("%s of %s: %d %v %s\nof nobody: %d %v %s", route.Pattern, name,
					got.status, got.header, got.body, unknown.status, unknown.header, unknown.body)
			}
		}
	}
	// Without a name they are asked for in the tenant's own data.
	for _, path := range []string{"/v1/events?id=secret", "/v1/events?id=secret&source=/r"} {
		if mine, nobodys := s.get(s.acme.key, path), s.get(s.acme.key, strings.Replace(path, "secret", "other", 1)); mine.status != 404 || mine.body != nobodys.body {
			t.Errorf("%s: %d %s", path, mine.status, mine.body)
		}
	}
	own := s.ask(s.acme.key, "POST", "/v1/quarantine/"+placeText(held, 0)+"/replay", "")
	if own.status != 404 {
		t.Errorf("another's quarantine is replayed: %d %s", own.status, own.body)
	}
	for _, path := range []string{"/v1/quarantine", "/v1/conflicts", "/v1/events", "/v1/events?after=0-0"} {
		if a := s.get(s.acme.key, path); a.status != 200 || strings.Contains(a.body, "secret") || strings.Contains(a.body, s.beta.ID) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if got := into[struct{ Missing []string }](t, s.ask(s.acme.key, "POST", "/v1/events/lookup", `{"source":"/r","ids":["secret"]}`)); len(got.Missing) != 1 {
		t.Errorf("lookup found %+v", got)
	}
	if k, ok := s.registry.KeyByID(betaKey.ID); !ok || k.Revoked() {
		t.Error("another's key was revoked")
	}
}

func sameHeaders(a, b http.Header) bool {
	for _, h := range []http.Header{a, b} {
		h.Del("Date")
		h.Del("X-Request-Id")
	}
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if strings.Join(a[name], ",") != strings.Join(b[name], ",") {
			return false
		}
	}
	return true
}

// A tenant's own key may name its tenant either way, and gets the same as without.
func TestOwnTenantByAnyName(t *testing.T) {
	s := newStack(t)
	s.send(s.acme.key, call("e", s.now, `"model":"alpha","tokens":{"input":1000000}`))
	plain := s.get(s.acme.key, "/v1/usage?by=model")
	for _, path := range []string{"/v1/usage?by=model&tenant=" + s.acme.ID, "/v1/usage?by=model&tenant=acme-corp"} {
		if got := s.get(s.acme.key, path); got.status != 200 || got.body != plain.body {
			t.Errorf("%s: %s, want %s", path, got.body, plain.body)
		}
		if got := s.get(s.platform, path); got.body != plain.body {
			t.Errorf("the platform at %s: %s, want %s", path, got.body, plain.body)
		}
	}
}

// The platform's key belongs to no tenant: where an answer is about one it has to
// say which, and where lists may be of all it gets all.
func TestPlatformWithoutATenant(t *testing.T) {
	s := newStack(t)
	for _, row := range [][2]string{
		{"GET", "/v1/usage"}, {"GET", "/v1/usage/series"}, {"GET", "/v1/entitlements"}, {"GET", "/v1/events"},
		{"GET", "/v1/events?id=x"}, {"GET", "/v1/events?after=0-0"}, {"POST", "/v1/events/lookup"},
	} {
		wantProblem(t, s.ask(s.platform, row[0], row[1], ""), 422, "invalid", "/tenant")
	}
	for _, path := range []string{"/v1/events", "/v1/import"} {
		wantProblem(t, s.ask(s.platform, "POST", path, "[]"), 403, "tenant_needed", "")
	}
	for _, path := range []string{"/v1/usage?tenant=nobody", "/v1/quarantine?tenant=nobody", "/v1/conflicts?tenant=nobody"} {
		wantProblem(t, s.get(s.platform, path), 404, "not_found", "")
	}
	s.publish(s.acme.ID, "not JSON")
	s.publish(s.beta.ID, "not JSON either")
	type list struct{ Quarantine []quarantineView }
	for path, want := range map[string]int{"/v1/quarantine": 2, "/v1/quarantine?tenant=acme-corp": 1} {
		if got := into[list](t, s.get(s.platform, path)).Quarantine; len(got) != want {
			t.Errorf("%s: %+v, want %d", path, got, want)
		}
	}
}

// Without the permission there is no answer, whoever asks.
func TestPermissions(t *testing.T) {
	s := newStack(t)
	keys := map[tenancy.Permission]string{}
	for _, p := range tenancy.RoleAdmin.Permissions() {
		secret, _, err := auth.Issue(t.Context(), s.registry, tenancy.Actor{ID: "test"}, s.acme.ID, "one", p)
		if err != nil {
			t.Fatal(err)
		}
		keys[p] = secret.Reveal()
	}
	for _, route := range s.routes {
		if route.Permission == "" {
			continue
		}
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = strings.NewReplacer("{tenant}", "acme-corp", "{id}", "1-0", "{provider}", "house", "{model...}", "alpha").Replace(path)
		for p, key := range keys {
			if p == route.Permission {
				continue
			}
			wantProblem(t, s.ask(key, method, path, ""), 403, auth.CodeInsufficientScope, "")
		}
		wantProblem(t, s.ask("", method, path, ""), 401, auth.CodeKeyMissing, "")
	}
}
