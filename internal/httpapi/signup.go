package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// signup makes a tenant on trial, its owner, and a key where people do not sign in.
func (t *Tenants) signup(w http.ResponseWriter, r *http.Request) error {
	if !t.OpenSignup {
		scope, err := t.Authenticate(r)
		if err == nil {
			err = auth.Require(scope, tenancy.PermissionAdmin)
		}
		if err == nil {
			err = PlatformOnly(scope)
		}
		if err != nil {
			return err
		}
	}
	var body struct {
		Company string `json:"company"`
		Slug    string `json:"slug"`
		Plan    string `json:"plan"`
		Email   string `json:"email"`
		Name    string `json:"name"`
	}
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	if first := t.Registry.Plans().Plans[0].Name; t.OpenSignup && body.Plan != "" && tenancy.Plan(body.Plan) != first {
		return schemas.Invalid("/plan", schemas.CodeNotAllowed, "who signs up begins with %s; another plan comes with who pays for it", first)
	}
	if body.Slug == "" {
		body.Slug = slugOf(body.Company)
	}
	first := tenancy.NewMember{Email: body.Email, Name: body.Name, Role: tenancy.RoleOwner}
	if err := first.Validate(); err != nil {
		return err
	}
	by := tenancy.Actor{ID: "system:signup"}
	if ip := RemoteIP(r); ip.IsValid() {
		by.IP = ip.String()
	}
	made, replayed, err := t.Registry.CreateTenant(r.Context(), by, tenancy.NewTenant{Name: body.Company, Slug: body.Slug,
		Plan: tenancy.Plan(body.Plan), BillingEmail: strings.ToLower(strings.TrimSpace(body.Email)), RequestKey: signupKey(r)})
	var field *schemas.FieldError
	if errors.As(err, &field) && field.Pointer == "/name" {
		return schemas.Invalid("/company", field.Code, "%s", field.Detail)
	}
	if err != nil {
		return err
	}
	members := t.Registry.MembersOf(made.ID)
	if replayed && len(members) > 0 {
		if t.OpenSignup {
			// Whoever knows what was sent is not for that whom it was sent for.
			return Problem{Status: http.StatusConflict, Code: CodeConflict,
				Detail: "this was signed up before, and its key was shown then; use that, or ask whoever runs this installation"}
		}
		w.Header().Set("Idempotent-Replayed", "true")
	} else {
		var errs []error
		members, errs, err = t.Registry.AddMembers(r.Context(), by, made.ID, []tenancy.NewMember{first})
		if err = errors.Join(err, errs[0]); err != nil {
			return err
		}
	}
	return t.welcome(w, r, &made, &members[0])
}

// signupKey is the Idempotency-Key of a signup, apart from those of the platform: under
// one of theirs nobody becomes the owner of what they made.
func signupKey(r *http.Request) string {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return ""
	}
	return "signup:" + key
}

// slugOf makes a slug of a company's name.
func slugOf(name string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	const slugMax = 63
	s := b.String()
	return strings.Trim(s[:min(len(s), slugMax)], "-")
}
