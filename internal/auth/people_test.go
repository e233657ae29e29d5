package auth

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/auth/oidc"
	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// house is a registry with members, and a real provider where they sign in.
type house struct {
	*oidctest.Provider
	registry *tenancy.Registry
	acme     tenancy.Tenant
	config   Config
	lines    bytes.Buffer // of the log, at its most talkative
}

func newHouse(t *testing.T, log tenancy.Log) *house {
	t.Helper()
	h := &house{Provider: oidctest.Start(t), registry: startRegistry(t, log)}
	h.acme = h.tenant(t, "acme", "org_acme")
	h.config = Config{Registry: h.registry, Members: h.registry, Tokens: h.verifier(t), FailuresMax: 1000, Logger: zerolog.New(&h.lines)}
	return h
}

func (h *house) verifier(t *testing.T, more ...oidc.Issuer) *oidc.Verifier {
	t.Helper()
	v, err := oidc.New(oidc.Config{Transport: h.Transport, FetchTimeout: time.Minute, Issuers: append([]oidc.Issuer{
		{URL: h.URL, Audiences: []string{oidctest.ClientID}, AuthorizedParties: []string{oidctest.ClientID}}}, more...)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (h *house) tenant(t *testing.T, slug, org string) tenancy.Tenant {
	t.Helper()
	made, _, err := h.registry.CreateTenant(t.Context(), someone, tenancy.NewTenant{Name: slug, Slug: slug, OrgID: org})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// join invites somebody, who signs in at the provider and accepts.
func (h *house) join(t *testing.T, tenant *tenancy.Tenant, subject string, role tenancy.Role) tenancy.Member {
	t.Helper()
	i, err := h.registry.Invite(t.Context(), someone, tenant.ID, tenancy.NewMember{Email: subject + "@acme.example", Role: role})
	if err != nil {
		t.Fatal(err)
	}
	who, err := New(h.config).Identify(request("/", h.signIn(t, subject, "")))
	if err != nil || who.Email != i.Email {
		t.Fatalf("%+v, %v", who, err)
	}
	m, err := h.registry.Accept(t.Context(), someone, tenant.ID, i.ID,
		tenancy.Acceptance{Name: subject, Issuer: who.Issuer, Subject: who.Subject})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// signIn returns the header of somebody who signed in for an organisation.
func (h *house) signIn(t *testing.T, subject, org string) string {
	t.Helper()
	u := oidctest.User{Subject: subject, Email: subject + "@acme.example", EmailVerified: true, Claims: map[string]any{}}
	if org != "" {
		u.Claims["o"] = map[string]any{"id": org, "rol": "admin"}
	}
	h.AddUser(u)
	return "Authorization: Bearer " + h.SignIn(t, subject).ID
}

func codeOf(t *testing.T, err error) string {
	t.Helper()
	var refusal *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	case errors.Is(err, schemas.ErrUnavailable):
		return "unavailable"
	}
	t.Fatalf("neither a refusal nor unavailable: %v", err)
	return ""
}

// Every role may do what it may, as the provider's role says nothing here.
func TestPeopleHaveTheirRole(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	a := New(h.config)
	for _, role := range tenancy.Roles() {
		m := h.join(t, &h.acme, "person-"+string(role), role)
		for _, org := range []string{"org_acme", ""} {
			scope, err := a.Authenticate(request("/", h.signIn(t, m.Subject, org)))
			if err != nil || scope.TenantID() != h.acme.ID || scope.IsPlatform() || scope.Actor() != "user:"+m.ID {
				t.Fatalf("%s for %q: %+v, %v", role, org, scope, err)
			}
			granted := map[tenancy.Permission]bool{}
			for _, p := range role.Permissions() {
				granted[p] = true
			}
			for _, p := range tenancy.Permissions() {
				err := Require(scope, p)
				if (err == nil) != granted[p] || err != nil && !strings.Contains(err.Error(), "role") {
					t.Errorf("%s and %s: %v", role, p, err)
				}
			}
		}
	}
}

// What is decided about a person counts from the next request on, on a node that did
// not decide it, while the token is as good as before.
func TestRemovedAndLoweredOnAnotherNode(t *testing.T) {
	log := eventlogtest.Open(t)
	h := newHouse(t, log)
	there := startRegistry(t, log)
	h.config.Registry, h.config.Members = there, there
	a := New(h.config)
	h.join(t, &h.acme, "owner", tenancy.RoleOwner)
	m := h.join(t, &h.acme, "ada", tenancy.RoleAdmin)
	header := h.signIn(t, "ada", "org_acme")
	check := func(after, code string, admin bool) {
		t.Helper()
		if err := there.WaitFor(t.Context(), h.registry.Position()); err != nil {
			t.Fatal(err)
		}
		scope, err := a.Authenticate(request("/", header))
		if got := codeOf(t, err); got != code || scope.Allows(tenancy.PermissionAdmin) != admin {
			t.Errorf("%s: %q, %+v", after, got, scope)
		}
		if code != "" && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v is no 403", after, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	check("joined", "", true)
	_, err := h.registry.ChangeRole(ctx, someone, h.acme.ID, m.ID, tenancy.RoleViewer, nil)
	must(err)
	check("lowered", "", false)
	_, err = h.registry.Suspend(ctx, someone, h.acme.ID, 0, "unpaid")
	must(err)
	check("suspended", CodeTenantSuspended, false)
	_, err = h.registry.Resume(ctx, someone, h.acme.ID, 0)
	must(err)
	check("resumed", "", false)
	must(h.registry.RemoveMember(ctx, someone, h.acme.ID, m.ID, nil))
	check("removed", CodeNotAMember, false)
	_, _, err = h.registry.AddMembers(ctx, someone, h.acme.ID, []tenancy.NewMember{{Email: m.Email, Role: tenancy.RoleAdmin}})
	must(err)
	check("added by address", "", true)
	_, err = h.registry.Delete(ctx, someone, h.acme.ID, 0)
	must(err)
	check("deleted", CodeTenantSuspended, false)
}

func TestWhoIsNoMember(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	other := h.tenant(t, "other", "org_other")
	h.join(t, &h.acme, "ada", tenancy.RoleAdmin)
	h.join(t, &other, "eve", tenancy.RoleOwner)
	_, _, err := h.registry.AddMembers(t.Context(), someone, h.acme.ID, []tenancy.NewMember{{Email: "bob@acme.example", Role: tenancy.RoleMember}})
	if err != nil {
		t.Fatal(err)
	}
	h.config.FailuresMax = 1
	a := New(h.config)
	claims := func(subject string, set map[string]any) string {
		now := time.Now()
		all := map[string]any{"iss": h.URL, "sub": subject, "aud": oidctest.ClientID, "azp": oidctest.ClientID,
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
		for name, value := range set {
			all[name] = value
		}
		return "Authorization: Bearer " + h.Signing().Sign(t, h.Signing().Header(), all)
	}
	bob := func(verified any) map[string]any {
		return map[string]any{"org_id": "org_acme", "email": "bob@acme.example", "email_verified": verified}
	}
	for name, row := range map[string]struct {
		header string
		code   string
		tenant string
	}{
		"in their organisation":             {h.signIn(t, "eve", "org_other"), "", other.ID},
		"in the organisation of others":     {h.signIn(t, "eve", "org_acme"), CodeNotAMember, ""},
		"in one that nobody knows":          {h.signIn(t, "eve", "org_none"), CodeNotAMember, ""},
		"in another tenant by its id":       {h.signIn(t, "eve", h.acme.ID), CodeNotAMember, ""},
		"stranger":                          {h.signIn(t, "mallory", "org_acme"), CodeNotAMember, ""},
		"stranger for no organisation":      {h.signIn(t, "mallory", ""), CodeNotAMember, ""},
		"address, verified":                 {claims("bob-1", bob(true)), "", h.acme.ID},
		"address, not verified":             {claims("bob-2", bob(false)), CodeNotAMember, ""},
		"address, nothing said of it":       {claims("bob-3", bob(nil)), CodeNotAMember, ""},
		"address of who is bound otherwise": {claims("eve", map[string]any{"org_id": "org_acme", "email": "ada@acme.example", "email_verified": true}), CodeNotAMember, ""},
	} {
		scope, err := a.Authenticate(request("/", row.header))
		if code := codeOf(t, err); code != row.code || scope.TenantID() != row.tenant {
			t.Errorf("%s: %q, %+v", name, code, scope)
		}
		// They have proven who they are, which is no attempt at guessing.
		if row.code != "" && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v is no 403", name, err)
		}
	}
}

// found is whoever is asked for.
type found tenancy.Member

func (f found) MemberOf(_, _, _, _ string) (tenancy.Member, bool) { return tenancy.Member(f), true }

// A member of no tenant must not become the platform, whoever keeps the members.
func TestNoTenantIsNotThePlatform(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	header := h.signIn(t, "ada", "org_acme")
	for name, m := range map[string]found{
		"no tenant":    {ID: "mem_a", Role: tenancy.RoleOwner},
		"unknown role": {ID: "mem_a", TenantID: h.acme.ID, Role: "root"},
		"no role":      {ID: "mem_a", TenantID: h.acme.ID},
	} {
		h.config.Members = m
		if scope, err := New(h.config).Authenticate(request("/", header)); codeOf(t, err) != CodeNotAMember || scope != (tenancy.Scope{}) {
			t.Errorf("%s: %+v, %v", name, scope, err)
		}
	}
}

func TestPlatformAdmins(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	second := oidctest.Start(t)
	second.AddUser(oidctest.User{Subject: "root"})
	h.config.Tokens = h.verifier(t, oidc.Issuer{URL: second.URL, Audiences: []string{oidctest.ClientID}})
	h.config.PlatformAdmins = []Person{{h.URL, "root"}}
	a := New(h.config)
	for _, org := range []string{"", "org_acme"} {
		scope, err := a.Authenticate(request("/", h.signIn(t, "root", org)))
		if err != nil || !scope.IsPlatform() || scope.Actor() != "user:"+h.URL+"|root" {
			t.Errorf("%+v, %v", scope, err)
		}
		for _, p := range tenancy.Permissions() {
			if !scope.Allows(p) {
				t.Errorf("the platform's admin lacks %s", p)
			}
		}
	}
	if _, err := a.Authenticate(request("/", "Authorization: Bearer "+second.SignIn(t, "root").ID)); codeOf(t, err) != CodeNotAMember {
		t.Errorf("the same subject at another issuer: %v", err)
	}
}

// Keys and tokens come through the same door; what is neither is refused, counted,
// and never written anywhere.
func TestTokensBesideKeys(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	h.join(t, &h.acme, "ada", tenancy.RoleMember)
	secret, _ := issue(t, h.registry, h.acme.ID, tenancy.PermissionIngest)
	header := h.signIn(t, "ada", "org_acme")
	token := strings.TrimPrefix(header, "Authorization: Bearer ")
	expired := h.Signing().Sign(t, h.Signing().Header(), map[string]any{"iss": h.URL, "sub": "ada", "aud": oidctest.ClientID,
		"azp": oidctest.ClientID, "iat": 1, "exp": 2})
	a := New(h.config)
	for name, row := range map[string]struct {
		request *http.Request
		code    string
	}{
		"token":              {request("/", header), ""},
		"key":                {request("/", bearer(secret)), ""},
		"two of them":        {request("/", header, bearer(secret)), CodeKeyMalformed},
		"key cut off":        {request("/", "Authorization: Bearer "+secret.Reveal()[:50]), CodeKeyMalformed},
		"key without prefix": {request("/", "Authorization: Bearer "+secret.Reveal()[3:]), oidc.CodeMalformed},
		"token changed":      {request("/", header[:len(header)-4]+"AAAA"), oidc.CodeSignature},
		"token expired":      {request("/", "Authorization: Bearer "+expired), oidc.CodeExpired},
		"token as basic":     {request("/", "Authorization: Basic "+token), CodeKeyMalformed},
		"nothing":            {request("/", "Authorization: Bearer "), oidc.CodeMalformed},
		"in the query":       {request("/?x=" + token), CodeKeyInURL},
		"in the query too":   {request("/?id_token=x", header), CodeKeyInURL},
		"in a cookie":        {request("/", "Cookie: __session="+token), CodeKeyMissing},
	} {
		_, err := a.Authenticate(row.request)
		if code := codeOf(t, err); code != row.code || err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v, want %s", name, err, row.code)
		}
	}
	if id, ok := a.CheckPassword("", token); ok || id != "" {
		t.Errorf("a token opens the door of the log for %q", id)
	}
	if _, err := a.Identify(request("/", bearer(secret))); codeOf(t, err) != oidc.CodeMalformed {
		t.Errorf("a key as a person: %v", err)
	}
	for _, part := range append(strings.Split(token, "."), strings.Split(expired, ".")...) {
		if strings.Contains(h.lines.String(), part) {
			t.Errorf("a part of a token is in the log:\n%s", h.lines.String())
		}
	}
	if h.lines.Len() == 0 {
		t.Error("nothing was logged at all; this test looks in the wrong place")
	}
	// Where people do not sign in, a token is no key.
	if _, err := New(Config{Registry: h.registry}).Authenticate(request("/", header)); codeOf(t, err) != CodeKeyMalformed {
		t.Errorf("without an issuer: %v", err)
	}
}

func TestTooManyBadTokens(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	h.join(t, &h.acme, "ada", tenancy.RoleMember)
	header := h.signIn(t, "ada", "org_acme")
	h.config.FailuresMax, h.config.FailureLife = 3, time.Hour
	a := New(h.config)
	bad := request("/", header[:len(header)-4]+"AAAA")
	for i, want := range []string{oidc.CodeSignature, oidc.CodeSignature, oidc.CodeSignature, CodeTooManyFailures} {
		if _, err := a.Authenticate(bad); codeOf(t, err) != want {
			t.Errorf("failure %d: %v, want %s", i, err, want)
		}
	}
	if _, err := a.Identify(bad); codeOf(t, err) != CodeTooManyFailures {
		t.Errorf("by another way: %v", err)
	}
	if _, err := a.Authenticate(request("/", header)); err != nil {
		t.Errorf("a good token behind the same address: %v", err)
	}
}

// What cannot be said at the moment is no refusal, and no failure of the caller's.
func TestPeopleWhileSomethingIsAway(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	header := h.signIn(t, "ada", "org_acme")
	h.config.FailuresMax = 1
	h.StandInFront(http.NotFoundHandler())
	a := New(h.config)
	for range 3 {
		if _, err := a.Authenticate(request("/", header)); codeOf(t, err) != "unavailable" {
			t.Errorf("no keys yet: %v", err)
		}
	}
	h.StandInFront(nil)
	h.config.Tokens = h.verifier(t)
	loading := tenancy.New(tenancy.Config{}, eventlogtest.Open(t))
	h.config.Registry, h.config.Members = loading, loading
	if _, err := New(h.config).Authenticate(request("/", header)); codeOf(t, err) != "unavailable" {
		t.Errorf("while members are loading: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	h.config.Tokens = h.verifier(t)
	if _, err := New(h.config).Authenticate(request("/", header).WithContext(gone)); codeOf(t, err) != "unavailable" {
		t.Errorf("who does not wait for the keys: %v", err)
	}
}

func TestIdentifyTellsOnlyVerifiedAddresses(t *testing.T) {
	h := newHouse(t, eventlogtest.Open(t))
	a := New(h.config)
	for verified, want := range map[bool]string{true: "ada@acme.example", false: ""} {
		h.AddUser(oidctest.User{Subject: "ada", Email: "ada@acme.example", EmailVerified: verified})
		who, err := a.Identify(request("/", "Authorization: Bearer "+h.SignIn(t, "ada").ID))
		if err != nil || who.Email != want || who.Subject != "ada" || who.Issuer != h.URL {
			t.Errorf("verified %t: %+v, %v", verified, who, err)
		}
	}
}
