package oidc

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ada acts for an organisation, as Clerk says it.
var ada = oidctest.User{Subject: "user_ada", Email: "ada@acme.example", EmailVerified: true,
	Claims: map[string]any{"v": 2, "o": map[string]any{"id": "org_acme", "slg": "acme", "rol": "admin"}}}

// configOf is the configuration for a provider; a test changes what it is about.
func configOf(p *oidctest.Provider) Config {
	// A loaded machine takes its time, and no test here is about that.
	return Config{Transport: p.Transport, FetchTimeout: time.Minute, Issuers: []Issuer{{URL: p.URL,
		Audiences: []string{"https://api.panda.example", oidctest.ClientID}, AuthorizedParties: []string{oidctest.ClientID}}}}
}

func newVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// codeOf is the code of a refusal; "" is let in, and "unavailable" is no refusal.
func codeOf(t testing.TB, err error) string {
	t.Helper()
	var refusal *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		if errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("%v is a refusal and unavailable", err)
		}
		return refusal.Code
	case errors.Is(err, schemas.ErrUnavailable):
		return "unavailable"
	}
	t.Fatalf("neither a refusal nor unavailable: %v", err)
	return ""
}

// Somebody signs in at a real provider, in each algorithm, and is known by both
// kinds of token.
func TestSignIn(t *testing.T) {
	p := oidctest.Start(t)
	p.AddUser(ada)
	cfg := configOf(p)
	clock := time.Now()
	cfg.Now = func() time.Time { return clock }
	v := newVerifier(t, cfg)
	// An access token of this provider has no azp.
	cfg.Issuers = []Issuer{{URL: p.URL, Audiences: []string{oidctest.ClientID}}}
	access := newVerifier(t, cfg)
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		p.Rotate(oidctest.NewKey(t, algorithm), p.Signing())
		clock = clock.Add(v.cfg.RetryEvery)
		tokens := p.SignIn(t, ada.Subject)
		got, err := v.Verify(t.Context(), tokens.ID)
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		if got.ExpiresAt.Before(clock) || got.ExpiresAt.After(clock.Add(2*time.Hour)) {
			t.Errorf("%s: expires at %s", algorithm, got.ExpiresAt)
		}
		got.ExpiresAt = time.Time{}
		want := Identity{Issuer: p.URL, Subject: "user_ada", Email: "ada@acme.example", EmailVerified: true,
			OrgID: "org_acme", OrgRole: "admin"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", algorithm, diff)
		}
		got, err = access.Verify(t.Context(), tokens.Access)
		if err != nil || got.Subject != "user_ada" || got.OrgID != "org_acme" || got.Email != "" || got.EmailVerified {
			t.Errorf("%s, access token: %+v, %v", algorithm, got, err)
		}
		if _, err := v.Verify(t.Context(), tokens.Access); codeOf(t, err) != CodeParty {
			t.Errorf("%s, access token without azp where one is asked for: %v", algorithm, err)
		}
	}
}

func TestSignInOverTLS(t *testing.T) {
	p := oidctest.StartTLS(t)
	p.AddUser(ada)
	token := p.SignIn(t, ada.Subject).ID
	cfg := configOf(p)
	if got, err := newVerifier(t, cfg).Verify(t.Context(), token); err != nil || got.Subject != ada.Subject {
		t.Errorf("%+v, %v", got, err)
	}
	cfg.Issuers[0].JWKSURL = p.JWKSURL()
	if got, err := newVerifier(t, cfg).Verify(t.Context(), token); err != nil || got.Subject != ada.Subject {
		t.Errorf("keys at a configured address: %+v, %v", got, err)
	}
	// Somebody in between has a certificate that nobody we trust has signed.
	cfg.Transport = nil
	if _, err := newVerifier(t, cfg).Verify(t.Context(), token); codeOf(t, err) != "unavailable" ||
		!strings.Contains(err.Error(), "certificate") {
		t.Errorf("with a certificate of a stranger: %v", err)
	}
}

// Two issuers: each speaks for its own people alone.
func TestTwoIssuers(t *testing.T) {
	a, b := oidctest.Start(t), oidctest.Start(t)
	a.AddUser(ada)
	b.AddUser(ada)
	cfg := configOf(a)
	cfg.Issuers = append(cfg.Issuers, configOf(b).Issuers...)
	v := newVerifier(t, cfg)
	for _, p := range []*oidctest.Provider{a, b} {
		if got, err := v.Verify(t.Context(), p.SignIn(t, ada.Subject).ID); err != nil || got.Issuer != p.URL {
			t.Errorf("%+v, %v", got, err)
		}
	}
	// B signs, with its own key, that the token is A's.
	claims := valid(a, time.Now())
	if _, err := v.Verify(t.Context(), b.Signing().Sign(t, b.Signing().Header(), claims)); codeOf(t, err) != CodeKey {
		t.Errorf("one issuer speaks for another: %v", err)
	}
	forged := *b.Signing()
	forged.ID = a.Signing().ID
	if _, err := v.Verify(t.Context(), forged.Sign(t, forged.Header(), claims)); codeOf(t, err) != CodeSignature {
		t.Errorf("one issuer speaks for another under its key's id: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := Issuer{URL: "https://clerk.acme.example", AuthorizedParties: []string{"https://app.acme.example"}}
	for name, row := range map[string]struct {
		change func(*Config, *Issuer)
		want   string // part of the error, "" is good
	}{
		"good":                     {func(*Config, *Issuer) {}, ""},
		"with a path":              {func(_ *Config, i *Issuer) { i.URL = "https://sso.acme.example/realms/panda" }, ""},
		"loopback":                 {func(_ *Config, i *Issuer) { i.URL = "http://127.0.0.1:9998/" }, ""},
		"loopback, version 6":      {func(_ *Config, i *Issuer) { i.URL, i.JWKSURL = "http://[::1]:9998", "http://localhost/keys" }, ""},
		"keys elsewhere":           {func(_ *Config, i *Issuer) { i.JWKSURL = "https://keys.acme.example/jwks.json" }, ""},
		"no issuer":                {func(c *Config, _ *Issuer) { c.Issuers = c.Issuers[:0] }, "at least one issuer"},
		"plain":                    {func(_ *Config, i *Issuer) { i.URL = "http://clerk.acme.example" }, "https address"},
		"plain, looks like local":  {func(_ *Config, i *Issuer) { i.URL = "http://localhost.acme.example" }, "https address"},
		"no scheme":                {func(_ *Config, i *Issuer) { i.URL = "clerk.acme.example" }, "https address"},
		"file":                     {func(_ *Config, i *Issuer) { i.URL = "file:///etc/passwd" }, "https address"},
		"with a query":             {func(_ *Config, i *Issuer) { i.URL += "?a=b" }, "https address"},
		"with a password":          {func(_ *Config, i *Issuer) { i.URL = "https://a:b@acme.example" }, "https address"},
		"keys in the clear":        {func(_ *Config, i *Issuer) { i.JWKSURL = "http://clerk.acme.example/keys" }, "keys are at an https address"},
		"keys on loopback":         {func(_ *Config, i *Issuer) { i.JWKSURL = "http://127.0.0.1/keys" }, "keys are at an https address"},
		"keys in a file":           {func(_ *Config, i *Issuer) { i.JWKSURL = "file:///keys" }, "keys are at an https address"},
		"for everybody":            {func(_ *Config, i *Issuer) { i.AuthorizedParties = nil }, "every application"},
		"empty audience":           {func(_ *Config, i *Issuer) { i.Audiences = []string{""} }, "is empty"},
		"twice":                    {func(c *Config, i *Issuer) { c.Issuers = append(c.Issuers, *i) }, "twice"},
		"leeway of an hour":        {func(c *Config, _ *Issuer) { c.Leeway = time.Hour }, "/leeway"},
		"negative":                 {func(c *Config, _ *Issuer) { c.KeysMax = -1 }, "negative"},
		"keys die between refresh": {func(c *Config, _ *Issuer) { c.KeysAgeMax = time.Minute }, "refresh_every"},
	} {
		cfg := Config{Issuers: []Issuer{good}}
		row.change(&cfg, &cfg.Issuers[0])
		_, err := New(cfg)
		if (err == nil) != (row.want == "") || err != nil && (!strings.Contains(err.Error(), row.want) || !errors.Is(err, schemas.ErrInvalid)) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	// What a client that is not configured trusts.
	tr := transport().(*http.Transport)
	if tr.TLSClientConfig.InsecureSkipVerify || tr.TLSClientConfig.MinVersion < 0x0303 {
		t.Errorf("TLS is %+v", tr.TLSClientConfig)
	}
}
