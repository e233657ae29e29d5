package tenancy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Member is a person in a tenant. Somebody in two tenants is two members.
type Member struct {
	// ID is "mem_" and 12 characters of a-z and 2-7.
	ID       string `json:"id"`
	TenantID string `json:"tenant_id"`
	// Email is in lower case and unique within the tenant.
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
	Role  Role   `json:"role"`
	// Issuer and Subject identify the person at the identity provider, "" until they
	// have accepted an invitation signed in.
	Issuer  string    `json:"issuer,omitempty"`
	Subject string    `json:"subject,omitempty"`
	AddedAt time.Time `json:"added_at"`
}

// Invitation is an offer to become a member.
type Invitation struct {
	// ID is "inv_" and 12 characters of a-z and 2-7.
	ID         string    `json:"id"`
	TenantID   string    `json:"tenant_id"`
	Email      string    `json:"email"`
	Role       Role      `json:"role"`
	InvitedBy  string    `json:"invited_by"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}

// InvitationDays is how long an invitation stands.
const InvitationDays = 7

// Status is pending, accepted, revoked or expired.
func (i *Invitation) Status(now time.Time) string {
	switch {
	case !i.AcceptedAt.IsZero():
		return "accepted"
	case !i.RevokedAt.IsZero():
		return "revoked"
	case !now.Before(i.ExpiresAt):
		return "expired"
	}
	return "pending"
}

// Limits of members.
const (
	// MembersMax bounds the members of a tenant, and its open invitations.
	MembersMax = 10_000
	// membersPerEvent bounds what one record holds: 500 are about 150 kB.
	membersPerEvent = 500

	memberIDPrefix     = "mem_"
	invitationIDPrefix = "inv_"
	memberIDChars      = 12
)

// membersBody is what a change makes of members and invitations: each as it is
// after it, and the ids of members that are gone.
type membersBody struct {
	Set         []Member     `json:"set,omitempty"`
	Removed     []string     `json:"removed,omitempty"`
	Invitations []Invitation `json:"invitations,omitempty"`
}

// people are the members and invitations of one tenant.
type people struct {
	seq         uint64 // newest position on the subject
	members     map[string]Member
	byEmail     map[string]string // email -> member id
	invitations map[string]Invitation
}

func newPeople() *people {
	return &people{members: map[string]Member{}, byEmail: map[string]string{}, invitations: map[string]Invitation{}}
}

// owners counts the owners.
func (p *people) owners() (n int) {
	for _, m := range p.members {
		if m.Role == RoleOwner {
			n++
		}
	}
	return n
}

// check says why a change may not stand.
func (p *people) check(body *membersBody) error {
	emails := map[string]string{}
	owners, members := p.owners(), len(p.members)
	for _, id := range body.Removed {
		m, ok := p.members[id]
		if !ok {
			return fmt.Errorf("member %s does not exist", id)
		}
		if m.Role == RoleOwner {
			owners--
		}
		members--
	}
	for _, m := range body.Set {
		was, known := p.members[m.ID]
		if holder := p.byEmail[m.Email]; holder != "" && holder != m.ID && !slices.Contains(body.Removed, holder) || emails[m.Email] != "" {
			return fmt.Errorf("%s is a member already", m.Email)
		}
		emails[m.Email] = m.ID
		if known && was.Role == RoleOwner {
			owners--
		}
		if m.Role == RoleOwner {
			owners++
		}
		if !known {
			members++
		}
	}
	switch {
	case members > MembersMax:
		return fmt.Errorf("%d members; at most %d", members, MembersMax)
	case p.owners() > 0 && owners == 0:
		return errLastOwner
	}
	return nil
}

var errLastOwner = errors.New("a tenant with members keeps at least one owner; name another owner first")

func (p *people) apply(body *membersBody) {
	for _, id := range body.Removed {
		delete(p.byEmail, p.members[id].Email)
		delete(p.members, id)
	}
	for _, m := range body.Set {
		if was, ok := p.members[m.ID]; ok {
			delete(p.byEmail, was.Email)
		}
		p.members[m.ID], p.byEmail[m.Email] = m, m.ID
	}
	for _, i := range body.Invitations {
		p.invitations[i.ID] = i
	}
}

// sortedMembers returns members in the order of their e-mail addresses.
func (p *people) sortedMembers() []Member {
	out := make([]Member, 0, len(p.members))
	for _, m := range p.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.Email, b.Email) })
	return out
}

// sortedInvitations returns invitations, the newest first.
func (p *people) sortedInvitations() []Invitation {
	out := make([]Invitation, 0, len(p.invitations))
	for _, i := range p.invitations {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Invitation) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// NewMember is who is added or invited.
type NewMember struct {
	Email string
	Name  string
	Role  Role
}

// clean brings an address into the form that is compared.
func (n *NewMember) clean() { n.Email = cleanEmail(n.Email) }

func cleanEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// Validate returns every field that is wrong, joined. Errors match
// schemas.ErrInvalid.
func (n *NewMember) Validate() error {
	var errs []error
	switch {
	case n.Email == "":
		errs = append(errs, schemas.Invalid("/email", schemas.CodeMissing, "an e-mail address is needed"))
	case !validEmail(n.Email):
		errs = append(errs, schemas.Invalid("/email", schemas.CodeMalformed, "this is not an e-mail address such as user@acme.com"))
	}
	if len(n.Name) > nameBytesMax || !printable(n.Name) {
		errs = append(errs, schemas.Invalid("/name", schemas.CodeMalformed, "at most %d bytes of printable text", nameBytesMax))
	}
	if !n.Role.Known() {
		errs = append(errs, schemas.Invalid("/role", schemas.CodeUnknown, "use owner, admin, member or viewer"))
	}
	return errors.Join(errs...)
}
