package oidc

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Identity is who somebody is, as an issuer says it.
type Identity struct {
	// Issuer and Subject together name a person, for good (OpenID Connect Core, 2).
	Issuer  string
	Subject string
	// Email is "" if the token has none. It may be given to another person later,
	// and unless EmailVerified anybody may have claimed it.
	Email         string
	EmailVerified bool
	// OrgID is the issuer's id of the organisation that the person acts for, ""
	// if none.
	OrgID string
	// OrgRole is the person's role there in the issuer's words, such as "admin",
	// without the prefix "org:". It says nothing about roles here.
	OrgRole string
	// ExpiresAt is when the token ends.
	ExpiresAt time.Time
}

// claims are what is read of a token; names are compared with case.
type claims struct {
	jwt.Claims
	Party         string   `json:"azp"`
	Email         string   `json:"email"`
	EmailVerified flag     `json:"email_verified"`
	Organisation  *orgV2   `json:"o"`
	OrgID         *string  `json:"org_id"`
	OrgRole       string   `json:"org_role"`
	Session       string   `json:"sts"`
	Actor         *present `json:"act"`
}

// orgV2 is the organisation in Clerk's session tokens of version 2.
type orgV2 struct {
	ID   string `json:"id"`
	Role string `json:"rol"`
}

// flag is a boolean, which some providers send as text.
type flag bool

func (f *flag) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case `true`, `"true"`:
		*f = true
	case `false`, `"false"`, `null`:
		*f = false
	default:
		return fmt.Errorf("not a boolean")
	}
	return nil
}

// present takes any value.
type present struct{}

func (*present) UnmarshalJSON([]byte) error { return nil }

// The limits of texts in claims.
const (
	subjectBytesMax = 255 // OpenID Connect Core, 2
	orgBytesMax     = 255
	emailBytesMax   = 254 // RFC 5321 path without brackets
)

// identity decides whether the claims, whose signature was found good, say who
// somebody is, to us and at this moment.
func (c *Config) identity(issuer *Issuer, payload []byte) (Identity, error) {
	var said claims
	if json.Unmarshal(payload, &said) != nil {
		return Identity{}, malformed("a claim of the token has the wrong type, or is there twice")
	}
	if said.Issuer != issuer.URL { // it has chosen the keys; now it is signed
		return Identity{}, errIssuer()
	}
	expires, err := c.checkTimes(&said)
	if err != nil {
		return Identity{}, err
	}
	if err := issuer.checkAudience(&said); err != nil {
		return Identity{}, err
	}
	if said.Session == "pending" {
		return Identity{}, &Error{CodeSession, "this session is not complete yet; finish signing in"}
	}
	if said.Actor != nil {
		// The audit log would name the wrong person.
		return Identity{}, &Error{CodeSession, "this token was made for somebody who acts as another person; sign in as yourself"}
	}
	org, role, err := organisationOf(&said)
	if err != nil {
		return Identity{}, err
	}
	if said.Subject == "" || !plain(said.Subject, subjectBytesMax) || !plain(said.Email, emailBytesMax) ||
		!plain(org, orgBytesMax) || !plain(role, orgBytesMax) {
		return Identity{}, malformed("the token's subject, e-mail address or organisation is missing, too long or not printable")
	}
	return Identity{Issuer: issuer.URL, Subject: said.Subject,
		Email: said.Email, EmailVerified: bool(said.EmailVerified) && said.Email != "",
		OrgID: org, OrgRole: role, ExpiresAt: expires}, nil
}

func (c *Config) checkTimes(said *claims) (expires time.Time, err error) {
	if said.Expiry == nil || said.IssuedAt == nil {
		return time.Time{}, malformed("the token does not say when it was issued and when it ends (iat, exp)")
	}
	now := c.Now()
	issued, expires := said.IssuedAt.Time(), said.Expiry.Time()
	switch {
	case !now.Before(expires.Add(c.Leeway)):
		return time.Time{}, &Error{CodeExpired, "the token has expired; get a new one"}
	case now.Add(c.Leeway).Before(issued),
		said.NotBefore != nil && now.Add(c.Leeway).Before(said.NotBefore.Time()):
		return time.Time{}, &Error{CodeNotYetValid, "the token is not valid yet; compare the clocks of issuer and server"}
	// Issued lies near now or before it, so this difference cannot overflow into
	// something small.
	case expires.Sub(issued) > c.LifetimeMax:
		return time.Time{}, &Error{CodeLifetime,
			"the token lives longer than is allowed here, " + c.LifetimeMax.String() + "; shorten it at the issuer"}
	}
	return expires, nil
}

func (i *Issuer) checkAudience(said *claims) error {
	ours := slices.ContainsFunc(i.Audiences, said.Audience.Contains)
	if len(i.Audiences) == 0 {
		ours = len(said.Audience) == 0
	}
	if !ours {
		return &Error{CodeAudience, "the token was made for another application (aud); get one for this API"}
	}
	if len(i.AuthorizedParties) > 0 && !slices.Contains(i.AuthorizedParties, said.Party) {
		return &Error{CodeParty, "the token was given to an application that is not allowed here (azp)"}
	}
	return nil
}

// organisationOf reads the organisation from the one place that names it. Where
// both do, they must agree: otherwise who can influence one of them would choose
// which tenant the token opens.
func organisationOf(said *claims) (id, role string, err error) {
	v1, v2 := said.OrgID, said.Organisation
	switch {
	case v1 != nil && v2 != nil && (*v1 != v2.ID || said.OrgRole != "" && bare(said.OrgRole) != bare(v2.Role)):
		return "", "", &Error{CodeOrganisation, "the token names two organisations or roles (o and org_id); its issuer is configured wrongly"}
	case v2 != nil && v2.ID == "":
		return "", "", malformed("the token has an organisation without an id (o.id)")
	case v2 != nil:
		return v2.ID, bare(v2.Role), nil
	case v1 != nil && *v1 != "":
		return *v1, bare(said.OrgRole), nil
	}
	return "", "", nil
}

// bare is a role without the prefix that version 1 has and version 2 does not.
func bare(role string) string { return strings.TrimPrefix(role, "org:") }

// plain reports whether a text may be a name of something: short, printable, and
// without the character that stands for something that could not be read, because
// two different names would be one.
func plain(s string, bytesMax int) bool {
	return len(s) <= bytesMax && !strings.ContainsFunc(s, func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsPrint(r)
	})
}

func errIssuer() *Error {
	return &Error{CodeIssuer, "the token's issuer is not accepted here; sign in where this installation says"}
}
