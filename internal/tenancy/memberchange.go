package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/agentik-os/panda/schemas"
)

// changeMembers records a change of a tenant's members and returns when this node
// knows it. make gets the people as they are, and is called again when somebody else
// was faster.
func (r *Registry) changeMembers(ctx context.Context, by Actor, tenantID, action string,
	make func(p *people) (*membersBody, map[string]change, error)) (*membersBody, error) {
	if err := r.known(); err != nil {
		return nil, err
	}
	const triesMax = 5
	for range triesMax {
		body, changes, seq, err := r.planMembers(tenantID, make)
		if err != nil || body == nil {
			return body, err
		}
		e := r.newEvent(typeMembersChanged, by, tenantID, clockOf(r.cfg.Now()))
		e.Members, e.Changes, e.Action = body, changes, action
		err = r.append(ctx, membersSubject(tenantID), seq, &e)
		if err == nil {
			return body, nil
		}
		if !errors.Is(err, schemas.ErrConflict) {
			return nil, fmt.Errorf("change members: %w", err)
		}
		if err := r.catchUp(ctx, membersSubject(tenantID)); err != nil {
			return nil, fmt.Errorf("change members: %w", err)
		}
	}
	return nil, &conflict{"others change the members of this tenant at the same time; try again"}
}

func (r *Registry) planMembers(tenantID string, make func(p *people) (*membersBody, map[string]change, error)) (
	*membersBody, map[string]change, uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	t := r.fold.tenants[tenantID]
	if t == nil || t.Status == StatusErased {
		return nil, nil, 0, ErrNotFound
	}
	p := r.fold.people[tenantID]
	if p == nil {
		p = newPeople()
	}
	body, changes, err := make(p)
	if err != nil || body == nil {
		return nil, nil, 0, err
	}
	if err := p.check(body); err != nil {
		return nil, nil, 0, &conflict{err.Error()}
	}
	return body, changes, p.seq, nil
}

// AddMembers adds people. The answer has a member for each that was added; errs has an
// error at the place of each that was not, and the others are added all the same.
// Somebody who is a member already is schemas.ErrConflict.
//
// err is what concerns all of them: ErrNotFound, schemas.ErrUnavailable (some may have
// been added; to ask again is harmless).
func (r *Registry) AddMembers(ctx context.Context, by Actor, tenantID string, people []NewMember) (added []Member, errs []error, err error) {
	errs = make([]error, len(people))
	for start := 0; start < len(people); start += membersPerEvent {
		part := people[start:min(start+membersPerEvent, len(people))]
		body, err := r.addSome(ctx, by, tenantID, part, errs[start:])
		if err != nil {
			return added, errs, err
		}
		if body != nil {
			added = append(added, body.Set...)
		}
	}
	return added, errs, nil
}

func (r *Registry) addSome(ctx context.Context, by Actor, tenantID string, list []NewMember, errs []error) (*membersBody, error) {
	return r.changeMembers(ctx, by, tenantID, "member.added", func(p *people) (*membersBody, map[string]change, error) {
		body, changes, seen := &membersBody{}, map[string]change{}, map[string]bool{}
		now := clockOf(r.cfg.Now())
		for i := range list {
			n := list[i]
			n.clean()
			errs[i] = n.Validate()
			switch {
			case errs[i] != nil:
			case seen[n.Email]:
				errs[i] = schemas.Invalid("/email", schemas.CodeRepeated, "%s is there twice", n.Email)
			case p.byEmail[n.Email] != "":
				errs[i] = &conflict{n.Email + " is a member already"}
			case len(p.members)+len(body.Set) >= MembersMax:
				errs[i] = &conflict{fmt.Sprintf("a tenant has at most %d members", MembersMax)}
			default:
				seen[n.Email] = true
				body.Set = append(body.Set, Member{ID: memberIDPrefix + NewID(memberIDChars), TenantID: tenantID,
					Email: n.Email, Name: n.Name, Role: n.Role, AddedAt: now})
				changes[n.Email] = change{To: n.Role}
			}
		}
		if len(body.Set) == 0 {
			return nil, nil, nil
		}
		return body, changes, nil
	})
}

// ChangeRole gives a member another role, if may does not refuse: it is asked about the
// member as they are when the change is made. Nil allows everything.
//
// Errors: ErrNotFound, schemas.ErrInvalid, schemas.ErrConflict (the last owner),
// schemas.ErrUnavailable.
func (r *Registry) ChangeRole(ctx context.Context, by Actor, tenantID, memberID string, role Role, may func(Member) error) (Member, error) {
	if !role.Known() {
		return Member{}, schemas.Invalid("/role", schemas.CodeUnknown, "use owner, admin, member or viewer")
	}
	_, err := r.changeMembers(ctx, by, tenantID, "member.role_changed", func(p *people) (*membersBody, map[string]change, error) {
		m, ok := p.members[memberID]
		if !ok {
			return nil, nil, ErrNotFound
		}
		if may != nil {
			if err := may(m); err != nil {
				return nil, nil, err
			}
		}
		was := m.Role
		if was == role {
			return nil, nil, nil
		}
		m.Role = role
		return &membersBody{Set: []Member{m}}, map[string]change{m.Email: {From: was, To: role}}, nil
	})
	if err != nil {
		return Member{}, err
	}
	m, ok := r.MemberByID(tenantID, memberID)
	if !ok {
		return Member{}, ErrNotFound
	}
	return m, nil
}

// RemoveMember ends a membership; it takes effect with the person's next request.
// Errors are those of ChangeRole.
func (r *Registry) RemoveMember(ctx context.Context, by Actor, tenantID, memberID string, may func(Member) error) error {
	_, err := r.changeMembers(ctx, by, tenantID, "member.removed", func(p *people) (*membersBody, map[string]change, error) {
		m, ok := p.members[memberID]
		if !ok {
			return nil, nil, ErrNotFound
		}
		if may != nil {
			if err := may(m); err != nil {
				return nil, nil, err
			}
		}
		return &membersBody{Removed: []string{memberID}}, map[string]change{m.Email: {From: m.Role, To: nil}}, nil
	})
	return err
}

// Invite records an invitation. Whoever asks hands on its token.
//
// Errors: ErrNotFound, schemas.ErrInvalid, schemas.ErrConflict (a member already, or
// too many open invitations), schemas.ErrUnavailable.
func (r *Registry) Invite(ctx context.Context, by Actor, tenantID string, n NewMember) (Invitation, error) {
	n.clean()
	if err := n.Validate(); err != nil {
		return Invitation{}, err
	}
	now := clockOf(r.cfg.Now())
	i := Invitation{ID: invitationIDPrefix + NewID(memberIDChars), TenantID: tenantID, Email: n.Email, Role: n.Role,
		InvitedBy: by.ID, CreatedAt: now, ExpiresAt: now.AddDate(0, 0, InvitationDays)}
	_, err := r.changeMembers(ctx, by, tenantID, "invitation.created", func(p *people) (*membersBody, map[string]change, error) {
		if p.byEmail[n.Email] != "" {
			return nil, nil, &conflict{n.Email + " is a member already"}
		}
		body, open := &membersBody{Invitations: []Invitation{i}}, 0
		for _, old := range p.invitations {
			if old.Status(now) != "pending" {
				continue
			}
			open++
			if old.Email == n.Email { // the newest one counts
				old.RevokedAt = now
				body.Invitations = append(body.Invitations, old)
			}
		}
		if open >= MembersMax {
			return nil, nil, &conflict{fmt.Sprintf("a tenant has at most %d open invitations", MembersMax)}
		}
		return body, map[string]change{n.Email: {To: n.Role}}, nil
	})
	return i, err
}

// RevokeInvitation ends an invitation that is open.
func (r *Registry) RevokeInvitation(ctx context.Context, by Actor, tenantID, id string) (Invitation, error) {
	now := clockOf(r.cfg.Now())
	_, err := r.changeMembers(ctx, by, tenantID, "invitation.revoked", func(p *people) (*membersBody, map[string]change, error) {
		i, ok := p.invitations[id]
		switch {
		case !ok:
			return nil, nil, ErrNotFound
		case !i.RevokedAt.IsZero():
			return nil, nil, nil
		case !i.AcceptedAt.IsZero():
			return nil, nil, &conflict{"the invitation was accepted; remove the member instead"}
		}
		i.RevokedAt = now
		return &membersBody{Invitations: []Invitation{i}}, map[string]change{i.Email: {From: i.Role, To: nil}}, nil
	})
	if err != nil {
		return Invitation{}, err
	}
	i, _ := r.InvitationByID(tenantID, id)
	return i, nil
}

// Acceptance is who accepts an invitation. Issuer and Subject are "" where people have
// no identity provider.
type Acceptance struct {
	Name, Issuer, Subject string
}

// Accept makes a member of somebody who was invited. An invitation works once.
//
// Errors: ErrNotFound, schemas.ErrConflict (used, revoked or expired; a member
// already), schemas.ErrUnavailable.
func (r *Registry) Accept(ctx context.Context, by Actor, tenantID, id string, who Acceptance) (Member, error) {
	if n := (NewMember{Email: "a@b.example", Name: who.Name, Role: RoleViewer}); n.Validate() != nil {
		return Member{}, n.Validate()
	}
	now := clockOf(r.cfg.Now())
	var m Member
	_, err := r.changeMembers(ctx, by, tenantID, "invitation.accepted", func(p *people) (*membersBody, map[string]change, error) {
		i, ok := p.invitations[id]
		if !ok {
			return nil, nil, ErrNotFound
		}
		switch i.Status(now) {
		case "accepted":
			return nil, nil, &conflict{"this invitation was used already; ask for another"}
		case "revoked":
			return nil, nil, &conflict{"this invitation was taken back; ask for another"}
		case "expired":
			return nil, nil, &conflict{"this invitation has expired; ask for another"}
		}
		if p.byEmail[i.Email] != "" {
			return nil, nil, &conflict{i.Email + " is a member already"}
		}
		i.AcceptedAt = now
		m = Member{ID: memberIDPrefix + NewID(memberIDChars), TenantID: tenantID, Email: i.Email, Name: who.Name, Role: i.Role,
			Issuer: who.Issuer, Subject: who.Subject, AddedAt: now}
		return &membersBody{Set: []Member{m}, Invitations: []Invitation{i}}, map[string]change{i.Email: {To: i.Role}}, nil
	})
	return m, err
}

// MembersOf returns a tenant's members in the order of their addresses.
func (r *Registry) MembersOf(tenantID string) []Member {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.fold.people[tenantID]; p != nil {
		return p.sortedMembers()
	}
	return nil
}

// InvitationsOf returns a tenant's invitations, the newest first.
func (r *Registry) InvitationsOf(tenantID string) []Invitation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.fold.people[tenantID]; p != nil {
		return p.sortedInvitations()
	}
	return nil
}

// MemberByID returns a member of a tenant.
func (r *Registry) MemberByID(tenantID, id string) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.fold.people[tenantID]; p != nil {
		m, ok := p.members[id]
		return m, ok
	}
	return Member{}, false
}

// InvitationByID returns an invitation of a tenant.
func (r *Registry) InvitationByID(tenantID, id string) (Invitation, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.fold.people[tenantID]; p != nil {
		i, ok := p.invitations[id]
		return i, ok
	}
	return Invitation{}, false
}

// MemberOf finds who signed in: the member of the tenant that the organisation is, by
// the person's id at the provider, or by an address that the provider has verified as
// long as no sign-in is bound to it. Without an organisation it is the person's only
// membership; with several, somebody has to choose one.
func (r *Registry) MemberOf(issuer, subject, orgID, verifiedEmail string) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	bound := r.fold.signIns[signIn{issuer, subject}]
	if orgID == "" {
		if subject == "" || len(bound) != 1 {
			return Member{}, false
		}
		return r.fold.people[bound[0].tenantID].members[bound[0].memberID], true
	}
	tenantID := r.fold.orgs[orgID]
	if tenantID == "" && r.fold.tenants[orgID] != nil {
		tenantID = orgID // the guide's own way: the organisation is named by the tenant's id
	}
	p := r.fold.people[tenantID]
	if p == nil {
		return Member{}, false
	}
	at := slices.IndexFunc(bound, func(m membership) bool { return m.tenantID == tenantID })
	if subject != "" && at >= 0 {
		return p.members[bound[at].memberID], true
	}
	id := p.byEmail[cleanEmail(verifiedEmail)]
	if m := p.members[id]; verifiedEmail != "" && id != "" && m.Subject == "" {
		return m, true
	}
	return Member{}, false
}

// MembershipsOf returns every membership of somebody, by member id, address, or id at
// the identity provider.
func (r *Registry) MembershipsOf(who string) (found []Member) {
	email := cleanEmail(who)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, slug := range r.fold.order {
		p := r.fold.people[r.fold.slugs[slug]]
		if p == nil {
			continue
		}
		if m, ok := p.members[who]; ok {
			found = append(found, m)
			continue
		}
		if id := p.byEmail[email]; id != "" {
			found = append(found, p.members[id])
			continue
		}
		for _, m := range p.members {
			if m.Subject != "" && m.Subject == who {
				found = append(found, m)
			}
		}
	}
	return found
}
