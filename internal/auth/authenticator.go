package auth

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Registry is what authentication needs to know; *tenancy.Registry has it.
type Registry interface {
	Ready() <-chan struct{}
	KeyByID(id string) (tenancy.Key, bool)
	ByID(id string) (tenancy.Tenant, bool)
	MemberByID(tenantID, id string) (tenancy.Member, bool)
}

// Config bounds an Authenticator. The zero value of a limit takes the default.
type Config struct {
	Registry Registry
	// RemoteIP says where a request comes from. Default: the peer's address,
	// which is the proxy's behind one.
	RemoteIP func(*http.Request) netip.Addr
	// Tokens verifies the tokens of people; *oidc.Verifier does. Nil takes keys
	// alone.
	Tokens Tokens
	// Members finds the member that a person is; *tenancy.Registry does. Needed with
	// Tokens.
	Members Members
	// PlatformAdmins are the people who may do everything in every tenant, like an
	// admin key of the platform. They are not looked for among the members.
	PlatformAdmins []Person
	// FailuresMax is how many failures an address may have at once before it is
	// answered 429. Default 20: a fleet of agents that restarts with an old key
	// sees clear 401s first.
	FailuresMax int
	// FailureLife is how long it takes until one failure is forgotten. Default 3
	// seconds: 20 a minute.
	FailureLife time.Duration
	// AddressesMax bounds the addresses remembered; the one that failed longest
	// ago goes first. Default 10,000, about 1 MB.
	AddressesMax int
	// Now is the clock of the limit. Default time.Now.
	Now    func() time.Time
	Logger zerolog.Logger
}

// Authenticator tells who a caller is. It is safe for concurrent use.
type Authenticator struct {
	cfg      Config
	failures *failures
}

// New returns an Authenticator over a registry.
func New(cfg Config) *Authenticator {
	if cfg.RemoteIP == nil {
		cfg.RemoteIP = peerOf
	}
	if cfg.FailuresMax == 0 {
		cfg.FailuresMax = 20
	}
	if cfg.FailureLife == 0 {
		cfg.FailureLife = 3 * time.Second
	}
	if cfg.AddressesMax == 0 {
		cfg.AddressesMax = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tokens != nil && cfg.Members == nil {
		panic("auth: people can sign in, and nobody knows the members; set Members")
	}
	return &Authenticator{cfg: cfg, failures: newFailures(cfg.FailuresMax, cfg.AddressesMax, cfg.FailureLife, cfg.Now)}
}

func peerOf(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr().Unmap()
}

// Authenticate returns the scope of the key or token that a request carries.
//
// Errors: *Error, or schemas.ErrUnavailable while the registry is loading or the
// keys of a token's issuer are not known.
func (a *Authenticator) Authenticate(r *http.Request) (tenancy.Scope, error) {
	scope, err := a.scopeFor(r)
	if err != nil {
		return tenancy.Scope{}, a.refused(r, err)
	}
	return scope, nil
}

func (a *Authenticator) scopeFor(r *http.Request) (tenancy.Scope, error) {
	secret, err := credential(r)
	if err != nil {
		return tenancy.Scope{}, err
	}
	if a.isToken(secret) {
		return a.scopeOfPerson(r.Context(), secret)
	}
	key, err := a.verify(secret)
	if err != nil {
		return tenancy.Scope{}, err
	}
	return scopeOf(&key), nil
}

// refused counts a refusal if it is a failed attempt at authentication.
func (a *Authenticator) refused(r *http.Request, err error) error {
	var refusal *Error
	if !errors.As(err, &refusal) || !errors.Is(err, ErrUnauthenticated) || refusal.Code == CodeKeyMissing {
		return err
	}
	return a.failed(r, refusal)
}

// failed counts a failure and turns it into a 429 when there were too many. Log
// lines are bounded by the same limit.
func (a *Authenticator) failed(r *http.Request, refusal *Error) error {
	ip := a.cfg.RemoteIP(r)
	wait, first := a.failures.add(ip)
	if wait > 0 {
		if first {
			a.cfg.Logger.Warn().Stringer("ip", ip).Int("failures_max", a.cfg.FailuresMax).
				Msg("too many failed authentications from one address")
		}
		return &Error{Code: CodeTooManyFailures, RetryAfter: wait, kind: ErrTooManyFailures,
			Detail: "too many requests with keys or tokens that do not work came from your address; check yours, then wait"}
	}
	if refusal.Code == CodeKeyInURL {
		a.cfg.Logger.Warn().Stringer("ip", ip).Str("key_id", keyIDInQuery(r)).Str("route", r.Pattern).
			Msg("key or token in a query string refused, it should be revoked")
		return refusal
	}
	a.cfg.Logger.Debug().Stringer("ip", ip).Str("code", refusal.Code).Msg("authentication refused")
	return refusal
}

// credential is what a request carries in the one place for it.
func credential(r *http.Request) (Secret, error) {
	if keyInQuery(r) {
		return "", unauthenticated(CodeKeyInURL,
			"send the key as \"Authorization: Bearer <key>\", never in the URL, where it is logged on the way; revoke this key")
	}
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) == 0 && r.Header.Get("X-Api-Key") != "":
		return "", unauthenticated(CodeKeyMissing,
			"send the key as \"Authorization: Bearer <key>\"; X-API-Key is not read")
	case len(headers) == 0:
		return "", unauthenticated(CodeKeyMissing, "a key is needed: \"Authorization: Bearer <key>\"")
	case len(headers) > 1:
		return "", unauthenticated(CodeKeyMalformed, "there is more than one Authorization header; send one")
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", unauthenticated(CodeKeyMalformed,
			"only the scheme Bearer is read: \"Authorization: Bearer <key>\"")
	}
	return Secret(strings.Trim(text, " ")), nil
}

// verify returns the key of a secret if it works and its tenant is served.
func (a *Authenticator) verify(secret Secret) (tenancy.Key, error) {
	id, err := ParseKey(secret.Reveal())
	if err != nil {
		return tenancy.Key{}, unauthenticated(CodeKeyMalformed, "this is "+err.Error())
	}
	select {
	case <-a.cfg.Registry.Ready():
	default:
		return tenancy.Key{}, fmt.Errorf("authenticate: %w: keys are being loaded", schemas.ErrUnavailable)
	}
	key, known := a.cfg.Registry.KeyByID(id)
	hash := HashOf(secret)
	// An unknown id is compared with the zero hash, so both ways take as long.
	if subtle.ConstantTimeCompare(hash[:], key.Hash[:]) != 1 || !known {
		return tenancy.Key{}, unauthenticated(CodeKeyUnknown, "this key is not known here")
	}
	if key.Revoked() {
		return tenancy.Key{}, unauthenticated(CodeKeyRevoked, "this key was revoked")
	}
	if !key.Works(a.cfg.Now()) {
		return tenancy.Key{}, unauthenticated(CodeKeyRevoked, "this key was rotated and has expired; use its successor")
	}
	if key.IsPlatform() {
		return key, nil
	}
	if t, ok := a.cfg.Registry.ByID(key.TenantID); !ok || !t.Served() {
		return tenancy.Key{}, &Error{Code: CodeTenantSuspended, kind: ErrForbidden,
			Detail: "the tenant of this key is suspended; ask whoever runs this installation"}
	}
	if key.MemberID == "" {
		return key, nil
	}
	// A member's own key may do what the member may at this moment.
	m, ok := a.cfg.Registry.MemberByID(key.TenantID, key.MemberID)
	if !ok {
		return tenancy.Key{}, unauthenticated(CodeKeyRevoked, "whose key this was is no member any more")
	}
	allowed := m.Role.Permissions()
	key.Scopes = slices.DeleteFunc(slices.Clone(key.Scopes), func(p tenancy.Permission) bool { return !slices.Contains(allowed, p) })
	return key, nil
}

// CheckPassword says whose usage a NATS connection may publish: the password is
// an API key of a tenant with the scope ingest. The user name is a label of the
// client's own and is not looked at. A connection outlives this check, so whoever
// accepts it ends it when the key is revoked.
func (a *Authenticator) CheckPassword(_, password string) (tenantID string, ok bool) {
	key, err := a.verify(Secret(password))
	if err != nil || key.IsPlatform() || !scopeOf(&key).Allows(tenancy.PermissionIngest) {
		return "", false
	}
	return key.TenantID, true
}

func scopeOf(key *tenancy.Key) tenancy.Scope {
	return tenancy.ScopeOf(key.TenantID, "key:"+key.ID, key.Scopes...)
}

// ForProcess returns a scope over every tenant for a job of this process, such as
// a rollup, which no request stands behind. It is called where the process is
// wired (cmd) and nowhere else, which a test of package tenancy checks.
func ForProcess(name string, granted ...tenancy.Permission) tenancy.Scope {
	return tenancy.ScopeOf("", "system:"+name, granted...)
}

// queryNames are parameters that hold nothing but credentials.
var queryNames = [...]string{"api_key", "apikey", "api-key", "access_token", "id_token"}

// keyInQuery reports whether the query string carries a key or a token, by name or
// by form.
func keyInQuery(r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return false
	}
	query := r.URL.Query()
	for _, name := range queryNames {
		if query.Has(name) {
			return true
		}
	}
	for _, values := range query {
		if slices.ContainsFunc(values, looksLikeToken) {
			return true
		}
	}
	return keyIDInQuery(r) != ""
}

// keyIDInQuery returns the id of a key that stands in the query string.
func keyIDInQuery(r *http.Request) string {
	for _, values := range r.URL.Query() {
		for _, v := range values {
			if id, err := ParseKey(v); err == nil {
				return id
			}
		}
	}
	return ""
}
