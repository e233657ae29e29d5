package httpapi

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/auth/oidc"
	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
)

// newSignInAPI is newAPI where people sign in at a real provider.
func newSignInAPI(t *testing.T) (*api, *oidctest.Provider) {
	t.Helper()
	a, p := newAPI(t), oidctest.Start(t)
	v, err := oidc.New(oidc.Config{Transport: p.Transport, FetchTimeout: time.Minute, Issuers: []oidc.Issuer{{URL: p.URL, Audiences: []string{oidctest.ClientID}}}})
	if err != nil {
		t.Fatal(err)
	}
	authenticator := auth.New(auth.Config{Registry: a.registry, Members: a.registry, Tokens: v, RemoteIP: RemoteIP, FailuresMax: 1000,
		PlatformAdmins: []auth.Person{{Issuer: p.URL, Subject: "operator"}}})
	s := newServer(t, func(c *Config) { c.Authenticate = authenticator.Authenticate })
	invitations := auth.Invitations{Key: bytes.Repeat([]byte{8}, 32)}
	(&Tenants{Registry: a.registry, Cursors: Cursors{Key: bytes.Repeat([]byte{7}, 32)}, Authenticate: s.cfg.Authenticate,
		NewToken: invitations.NewToken, ReadToken: invitations.ReadToken,
		Identify: func(r *http.Request) (Person, error) {
			who, err := authenticator.Identify(r)
			return Person{Issuer: who.Issuer, Subject: who.Subject, Email: who.Email}, err
		}}).Register(s)
	a.h = s.Handler()
	return a, p
}

// Somebody is invited, signs in at the provider, accepts, works, gets another role
// and is removed, with one token all the way.
func TestPeopleOverHTTP(t *testing.T) {
	a, p := newSignInAPI(t)
	acme, other := a.tenant("acme"), a.tenant("other")
	signIn := func(subject, email string, verified bool) string {
		p.AddUser(oidctest.User{Subject: subject, Email: email, EmailVerified: verified, Claims: map[string]any{"org_id": acme}})
		return p.SignIn(t, subject).ID
	}
	ada := signIn("ada", "ada@acme.example", true)
	expect := func(what string, token, method, target, body string, status int, code string) {
		t.Helper()
		w := a.call(token, method, target, body)
		if w.Code != status || code != "" && !strings.Contains(w.Body.String(), `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", what, w.Code, w.Body, status, code)
		}
		if strings.Contains(w.Body.String(), ada[:30]) {
			t.Errorf("%s: the answer repeats the token", what)
		}
	}
	expect("not invited", ada, "GET", "/v1/tenants/acme", "", 403, auth.CodeNotAMember)
	invited := a.made(a.call(a.platform, "POST", "/v1/tenants/acme/invitations", `{"email":"ada@acme.example","role":"admin"}`), 201)
	accept := `{"token":"` + invited["token"].(string) + `","name":"Ada"}`
	expect("nobody", "", "POST", "/v1/invitations/accept", accept, 401, auth.CodeKeyMissing)
	expect("with a key", a.platform, "POST", "/v1/invitations/accept", accept, 401, oidc.CodeMalformed)
	expect("another address", signIn("eve", "eve@evil.example", true), "POST", "/v1/invitations/accept", accept, 403, "other_address")
	expect("an address that is not verified", signIn("eve", "ada@acme.example", false), "POST", "/v1/invitations/accept", accept, 403, "other_address")
	expect("a token that was changed", ada, "POST", "/v1/invitations/accept", strings.Replace(accept, `"token":"A`, `"token":"B`, 1), 422, "malformed")
	joined := a.made(a.call(ada, "POST", "/v1/invitations/accept", accept), 201)
	if joined["key"] != nil {
		t.Errorf("who signs in got a key as well: %v", joined)
	}
	expect("accepted twice", ada, "POST", "/v1/invitations/accept", accept, 409, "")

	member := "/v1/tenants/acme/members/" + joined["member"].(map[string]any)["id"].(string)
	const plan = `{"plan":"pro"}`
	expect("an admin reads", ada, "GET", "/v1/tenants/acme", "", 200, "")
	expect("an admin makes a key", ada, "POST", "/v1/tenants/acme/keys", `{"name":"ci","scopes":["ingest"]}`, 201, "")
	expect("an admin is no owner", ada, "PUT", "/v1/tenants/acme/plan", plan, 403, auth.CodeInsufficientScope)
	expect("another tenant", ada, "GET", "/v1/tenants/"+other, "", 404, CodeNotFound)
	expect("every tenant", ada, "POST", "/v1/tenants", `{"name":"x","slug":"xx"}`, 403, "")
	expect("a token in the address", "", "GET", "/v1/tenants/acme?t="+ada, "", 401, auth.CodeKeyInURL)

	expect("the role is lowered", a.platform, "PATCH", member, `{"role":"viewer"}`, 200, "")
	expect("a viewer reads", ada, "GET", "/v1/tenants/acme", "", 200, "")
	expect("a viewer makes no key", ada, "POST", "/v1/tenants/acme/keys", `{"name":"ci","scopes":["ingest"]}`, 403, auth.CodeInsufficientScope)
	expect("the tenant is suspended", a.platform, "POST", "/v1/tenants/acme/suspend", `{"reason":"unpaid"}`, 200, "")
	expect("of a suspended tenant", ada, "GET", "/v1/tenants/acme", "", 403, auth.CodeTenantSuspended)
	expect("the tenant is resumed", a.platform, "POST", "/v1/tenants/acme/resume", "", 200, "")
	expect("the member is removed", a.platform, "DELETE", member, "", 204, "")
	expect("removed", ada, "GET", "/v1/tenants/acme", "", 403, auth.CodeNotAMember)

	operator := signIn("operator", "", false)
	expect("the platform's admin", operator, "PUT", "/v1/tenants/other/plan", plan, 200, "")
}
