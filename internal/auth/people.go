package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/agentik-os/panda/internal/auth/oidc"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Tokens verifies bearer tokens; *oidc.Verifier does.
type Tokens interface {
	// Verify returns who a token speaks for. Errors: *oidc.Error,
	// schemas.ErrUnavailable.
	Verify(ctx context.Context, token string) (oidc.Identity, error)
}

// Members finds members; *tenancy.Registry does.
type Members interface {
	// MemberOf returns the member that somebody is, by the person's id at the
	// issuer, the organisation that they act for ("" for none), and an e-mail address
	// that the issuer has verified ("" if it has not).
	MemberOf(issuer, subject, orgID, verifiedEmail string) (tenancy.Member, bool)
}

// Person is somebody at an identity provider. Both parts are needed: two providers
// may give out the same subject.
type Person struct {
	Issuer  string
	Subject string
}

// Identify returns who signed in, without asking whether they are a member of
// anything: for somebody who accepts an invitation or signs up. The address of the
// identity is "" unless its issuer has verified it.
//
// Errors: *Error, also for a key, which is not a person; schemas.ErrUnavailable.
func (a *Authenticator) Identify(r *http.Request) (oidc.Identity, error) {
	secret, err := credential(r)
	if err == nil && !a.isToken(secret) {
		err = unauthenticated(oidc.CodeMalformed, "sign in and send the token of your identity provider; an API key is not a person")
	}
	var who oidc.Identity
	if err == nil {
		who, err = a.identify(r.Context(), secret)
	}
	if err != nil {
		return oidc.Identity{}, a.refused(r, err)
	}
	if !who.EmailVerified {
		who.Email = ""
	}
	return who, nil
}

// isToken reports whether a credential is to be read as a token: where people sign
// in, that is everything that does not say it is a key.
func (a *Authenticator) isToken(secret Secret) bool {
	return a.cfg.Tokens != nil && !strings.HasPrefix(secret.Reveal(), keyPrefix)
}

func (a *Authenticator) identify(ctx context.Context, secret Secret) (oidc.Identity, error) {
	who, err := a.cfg.Tokens.Verify(ctx, secret.Reveal())
	var refusal *oidc.Error
	if errors.As(err, &refusal) {
		return oidc.Identity{}, unauthenticated(refusal.Code, refusal.Detail)
	}
	return who, err
}

// scopeOfPerson returns what the person of a token may do at this moment. Nothing of
// it is kept: whoever was removed, or has another role, is so from the next request.
func (a *Authenticator) scopeOfPerson(ctx context.Context, secret Secret) (tenancy.Scope, error) {
	who, err := a.identify(ctx, secret)
	if err != nil {
		return tenancy.Scope{}, err
	}
	if slices.Contains(a.cfg.PlatformAdmins, Person{who.Issuer, who.Subject}) {
		return tenancy.ScopeOf("", userActor+who.Issuer+"|"+who.Subject, tenancy.Permissions()...), nil
	}
	select {
	case <-a.cfg.Registry.Ready():
	default:
		return tenancy.Scope{}, fmt.Errorf("authenticate: %w: members are being loaded", schemas.ErrUnavailable)
	}
	email := ""
	if who.EmailVerified {
		email = who.Email
	}
	m, ok := a.cfg.Members.MemberOf(who.Issuer, who.Subject, who.OrgID, email)
	if !ok || m.TenantID == "" || !m.Role.Known() {
		// Who they are is proven, so a new token would change nothing: 403.
		return tenancy.Scope{}, &Error{Code: CodeNotAMember, kind: ErrForbidden,
			Detail: "you are signed in and not a member here; choose the organisation that you want to act for, or ask one of its admins for an invitation"}
	}
	if t, ok := a.cfg.Registry.ByID(m.TenantID); !ok || !t.Served() {
		return tenancy.Scope{}, &Error{Code: CodeTenantSuspended, kind: ErrForbidden,
			Detail: "your tenant is suspended; ask whoever runs this installation"}
	}
	return tenancy.ScopeOf(m.TenantID, userActor+m.ID, m.Role.Permissions()...), nil
}

// userActor begins the actor of people in the audit log.
const userActor = "user:"

// looksLikeToken reports whether a text is a JWT by its form: a JSON object in
// base64url, and two more parts.
func looksLikeToken(text string) bool {
	return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2
}

// lacks says what is missing, in words that fit a key and a person.
func lacks(scope tenancy.Scope, p tenancy.Permission) string {
	if strings.HasPrefix(scope.Actor(), userActor) {
		return "your role does not include the permission " + string(p) + "; ask an owner or admin of your tenant"
	}
	return "this key lacks the scope " + string(p) + "; use one that has it"
}
