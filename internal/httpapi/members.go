package httpapi

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// A Person is who signed in at the identity provider.
type Person struct {
	Issuer, Subject string
	// Email is one that the provider has verified, else "".
	Email string
}

func (t *Tenants) registerMembers(s *Server) {
	s.Handle("GET /v1/tenants/{tenant}/members", tenancy.PermissionRead, t.listMembers)
	s.Handle("POST /v1/tenants/{tenant}/members", tenancy.PermissionAdmin, t.addMember)
	s.Handle("POST /v1/tenants/{tenant}/members/import", tenancy.PermissionAdmin, t.importMembers)
	s.Handle("PATCH /v1/tenants/{tenant}/members/{member}", tenancy.PermissionAdmin, t.changeRole)
	s.Handle("DELETE /v1/tenants/{tenant}/members/{member}", tenancy.PermissionAdmin, t.removeMember)
	s.Handle("GET /v1/tenants/{tenant}/invitations", tenancy.PermissionAdmin, t.listInvitations)
	s.Handle("POST /v1/tenants/{tenant}/invitations", tenancy.PermissionAdmin, t.invite)
	s.Handle("DELETE /v1/tenants/{tenant}/invitations/{invitation}", tenancy.PermissionAdmin, t.revokeInvitation)
	s.HandlePublic("POST /v1/invitations/accept", s.answering(t.accept))
	if t.OpenSignup {
		// Callers without a credential cannot be told apart, so nobody is answered with
		// what somebody else got; the registry recognises a repeat by itself.
		s.HandlePublic("POST /v1/signup", s.answeringOnce(t.signup))
	} else {
		s.HandlePublic("POST /v1/signup", s.answering(t.signup))
	}
}

// answering makes a public route of a function: its error becomes a problem, and a
// POST takes an Idempotency-Key.
func (s *Server) answering(h func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	keyed := s.keyed(func(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error { return h(w, r) })
	return s.answeringOnce(func(w http.ResponseWriter, r *http.Request) error { return keyed(w, r, tenancy.Scope{}) })
}

// answeringOnce is answering for a route that serves every request by itself.
func (s *Server) answeringOnce(h func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.note(r, tenancy.Scope{}, err)
			s.fail(w, r, err)
		}
	})
}

type memberRequest struct {
	Email string `json:"email"`
	Name  string `json:"name"`
	Role  string `json:"role"`
}

func (m *memberRequest) member() tenancy.NewMember {
	return tenancy.NewMember{Email: m.Email, Name: m.Name, Role: tenancy.Role(m.Role)}
}

// mayGive refuses a role that may do what the caller may not: owners are named by
// owners, and by the platform.
func mayGive(scope tenancy.Scope, role tenancy.Role) error {
	if err := mayTouch(scope, role); err != nil {
		return err
	}
	return mayGrant(scope, role.Permissions())
}

// mayGrant refuses to give permissions that the caller has not: otherwise who has admin
// alone would make a key that reads everything, and use that.
func mayGrant(scope tenancy.Scope, permissions []tenancy.Permission) error {
	for _, p := range permissions {
		if !p.Known() {
			continue // what it is checked for later
		}
		if err := auth.Require(scope, p); err != nil {
			return err
		}
	}
	return nil
}

// mayTouch refuses a change of an owner, or of what acts for one, by who is none.
func mayTouch(scope tenancy.Scope, role tenancy.Role) error {
	if role == tenancy.RoleOwner && !scope.Allows(tenancy.PermissionOwner) {
		return Problem{Status: http.StatusForbidden, Code: "owner_only", Detail: "only an owner of the tenant can name another owner"}
	}
	return nil
}

func (t *Tenants) listMembers(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return listed(t, w, r, scope, "members", t.Registry.MembersOf, func(m tenancy.Member) string { return m.Email },
		func(m tenancy.Member) tenancy.Member { return m })
}

// listed answers with a page of what belongs to a tenant.
func listed[T, V any](t *Tenants, w http.ResponseWriter, r *http.Request, scope tenancy.Scope, list string,
	all func(tenantID string) []T, key func(T) string, view func(T) V) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	limit, err := PageSize(r)
	if err != nil {
		return err
	}
	list += "\x00" + owner.ID
	after, err := t.Cursors.Decode(scope, list, r.URL.Query().Get("cursor"))
	if err != nil {
		return err
	}
	items := all(owner.ID)
	if after != "" {
		// What the cursor names may be gone by now; it has an end then.
		items = items[slices.IndexFunc(items, func(i T) bool { return key(i) == after })+1:]
	}
	answer := page[V]{Items: []V{}}
	if len(items) > limit {
		items = items[:limit]
		answer.NextCursor = t.Cursors.Encode(scope, list, key(items[limit-1]))
	}
	for _, item := range items {
		answer.Items = append(answer.Items, view(item))
	}
	WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (t *Tenants) addMember(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body memberRequest
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	n := body.member()
	if err := mayGive(scope, n.Role); err != nil {
		return err
	}
	added, errs, err := t.Registry.AddMembers(r.Context(), actorOf(scope, r), owner.ID, []tenancy.NewMember{n})
	if err = errors.Join(err, errs[0]); err != nil {
		return err
	}
	WriteJSON(w, http.StatusCreated, added[0])
	return nil
}

func (t *Tenants) changeRole(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body struct {
		Role string `json:"role"`
	}
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	if err := mayGive(scope, tenancy.Role(body.Role)); err != nil {
		return err
	}
	m, err := t.Registry.ChangeRole(r.Context(), actorOf(scope, r), owner.ID, r.PathValue("member"), tenancy.Role(body.Role), touching(scope))
	if err != nil {
		return err
	}
	WriteJSON(w, http.StatusOK, m)
	return nil
}

// touching is mayTouch for a member as the registry knows it.
func touching(scope tenancy.Scope) func(tenancy.Member) error {
	return func(m tenancy.Member) error { return mayTouch(scope, m.Role) }
}

func (t *Tenants) removeMember(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	if err := t.Registry.RemoveMember(r.Context(), actorOf(scope, r), owner.ID, r.PathValue("member"), touching(scope)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type invitationView struct {
	tenancy.Invitation
	Status string `json:"status"`
	// Token is for who is invited, in the answer to the invitation and never again.
	Token string `json:"token,omitempty"`
}

func (t *Tenants) listInvitations(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	now := t.Now()
	return listed(t, w, r, scope, "invitations", t.Registry.InvitationsOf, func(i tenancy.Invitation) string { return i.ID },
		func(i tenancy.Invitation) invitationView { return invitationView{Invitation: i, Status: i.Status(now)} })
}

func (t *Tenants) invite(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body memberRequest
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	n := body.member()
	if err := mayGive(scope, n.Role); err != nil {
		return err
	}
	i, err := t.Registry.Invite(r.Context(), actorOf(scope, r), owner.ID, n)
	if err != nil {
		return err
	}
	WriteJSON(w, http.StatusCreated, invitationView{Invitation: i, Status: i.Status(t.Now()), Token: t.NewToken(owner.ID, i.ID, i.ExpiresAt)})
	return nil
}

func (t *Tenants) revokeInvitation(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	i, err := t.Registry.RevokeInvitation(r.Context(), actorOf(scope, r), owner.ID, r.PathValue("invitation"))
	if err != nil {
		return err
	}
	WriteJSON(w, http.StatusOK, invitationView{Invitation: i, Status: i.Status(t.Now())})
	return nil
}

// joined is the answer to who became a member.
type joined struct {
	Member tenancy.Member `json:"member"`
	Tenant tenantView     `json:"tenant"`
	// Key is an API key for who does not sign in elsewhere, shown once.
	Key *keyView `json:"key,omitempty"`
}

// accept makes a member of who holds the token of an invitation. Where people sign in,
// they have to have done so with the address that was invited.
func (t *Tenants) accept(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Token string `json:"token"`
		Name  string `json:"name"`
	}
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	tenantID, id, err := t.ReadToken(body.Token)
	if err != nil {
		return err
	}
	i, ok := t.Registry.InvitationByID(tenantID, id)
	owner, there := t.Registry.ByID(tenantID)
	if !ok || !there || !owner.Served() {
		return tenancy.ErrNotFound
	}
	who := tenancy.Acceptance{Name: body.Name}
	by := tenancy.Actor{ID: "invitation:" + id}
	if ip := RemoteIP(r); ip.IsValid() {
		by.IP = ip.String()
	}
	if t.Identify != nil {
		person, err := t.Identify(r)
		if err != nil {
			return err
		}
		if !strings.EqualFold(person.Email, i.Email) {
			return Problem{Status: http.StatusForbidden, Code: "other_address",
				Detail: "this invitation is for another address than the one you signed in with; sign in with that one, or ask for another invitation"}
		}
		who.Issuer, who.Subject = person.Issuer, person.Subject
	}
	m, err := t.Registry.Accept(r.Context(), by, tenantID, id, who)
	if err != nil {
		return err
	}
	return t.welcome(w, r, &owner, &m)
}

// welcome answers a new member, with a key if that is how they come in.
func (t *Tenants) welcome(w http.ResponseWriter, r *http.Request, owner *tenancy.Tenant, m *tenancy.Member) error {
	answer := joined{Member: *m, Tenant: t.viewOf(owner)}
	if m.Subject == "" {
		by := tenancy.Actor{ID: "user:" + m.ID}
		if ip := RemoteIP(r); ip.IsValid() {
			by.IP = ip.String()
		}
		scopes := slices.DeleteFunc(m.Role.Permissions(), func(p tenancy.Permission) bool { return p == tenancy.PermissionOwner })
		secret, key, err := auth.IssueKey(r.Context(), t.Registry, by,
			tenancy.NewKey{TenantID: owner.ID, Name: m.Email, Scopes: scopes, MemberID: m.ID})
		if err != nil {
			return err
		}
		v := viewOfKey(&key)
		v.Key = secret.Reveal()
		answer.Key = &v
	}
	w.Header().Set("Location", "/v1/tenants/"+owner.ID)
	WriteJSON(w, http.StatusCreated, answer)
	return nil
}

// rowReport says what became of a row of a list of people.
type rowReport struct {
	Line   int    `json:"line"`
	Email  string `json:"email"`
	Status string `json:"status"` // added or refused
	Detail string `json:"detail,omitempty"`
}

// importMembers adds people from CSV, each row for itself.
func (t *Tenants) importMembers(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); media != "text/csv" {
		return Problem{Status: http.StatusUnsupportedMediaType, Code: CodeMediaType, Detail: "send CSV, as text/csv"}
	}
	people, report, err := readPeople(http.MaxBytesReader(w, r.Body, BodyBytesMax))
	if err != nil {
		return err
	}
	var list []tenancy.NewMember
	var place []int
	for i := range people {
		if report[i].Detail == "" {
			if err := mayGive(scope, people[i].Role); err != nil {
				report[i].Detail = ProblemOf(err).Detail
				continue
			}
			list, place = append(list, people[i]), append(place, i)
		}
	}
	_, errs, err := t.Registry.AddMembers(r.Context(), actorOf(scope, r), owner.ID, list)
	if err != nil {
		return err
	}
	for k, e := range errs {
		if e != nil {
			report[place[k]].Detail = rowDetail(e)
		}
	}
	added := 0
	for i := range report {
		report[i].Status = "refused"
		if report[i].Detail == "" {
			report[i].Status = "added"
			added++
		}
	}
	WriteJSON(w, http.StatusOK, struct {
		Added   int         `json:"added"`
		Refused int         `json:"refused"`
		Rows    []rowReport `json:"rows"`
	}{added, len(report) - added, report})
	return nil
}

// rowDetail is the sentence of a refused row.
func rowDetail(err error) string {
	p := ProblemOf(err)
	if len(p.Errors) == 0 {
		return p.Detail
	}
	var parts []string
	for _, f := range p.Errors {
		parts = append(parts, strings.TrimPrefix(f.Pointer, "/")+": "+f.Detail)
	}
	return strings.Join(parts, "; ")
}

// readPeople reads name, e-mail address and role of people, a line each. A first line
// with these words says in which order they come. Of name and address, the one with an
// @ in it is the address. A line that is broken is reported and the others are read.
func readPeople(body io.Reader) (people []tenancy.NewMember, report []rowReport, err error) {
	rows := csv.NewReader(body)
	rows.FieldsPerRecord, rows.TrimLeadingSpace, rows.Comment, rows.LazyQuotes = -1, true, '#', true
	const rowsMax = tenancy.MembersMax
	var order map[string]int
	for first := true; ; first = false {
		fields, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return people, report, nil
		}
		var broken *csv.ParseError
		if errors.As(err, &broken) {
			people, report = append(people, tenancy.NewMember{}), append(report, rowReport{Line: broken.Line, Detail: broken.Err.Error()})
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the list of people: %w", err)
		}
		if first {
			fields[0] = strings.TrimPrefix(fields[0], "\ufeff")
			if order = headerOf(fields); order != nil {
				continue
			}
		}
		line, _ := rows.FieldPos(0)
		if len(people) == rowsMax {
			return nil, nil, schemas.Invalid("", schemas.CodeTooMany, "more than %d rows; send several lists", rowsMax)
		}
		n, detail := personOf(fields, order)
		people, report = append(people, n), append(report, rowReport{Line: line, Email: n.Email, Detail: detail})
	}
}

// headerOf returns where each column is, nil for a line that is no header: one that has
// an address in it, or not the three words.
func headerOf(fields []string) map[string]int {
	order := map[string]int{}
	for i, f := range fields {
		order[strings.ToLower(strings.TrimSpace(f))] = i
	}
	for _, name := range []string{"name", "email", "role"} {
		if _, ok := order[name]; !ok || len(order) != 3 || len(fields) != 3 {
			return nil
		}
	}
	return order
}

func personOf(fields []string, order map[string]int) (n tenancy.NewMember, detail string) {
	if len(fields) != 3 {
		return n, fmt.Sprintf("%d fields; a row is name,email,role", len(fields))
	}
	if order == nil {
		order = map[string]int{"name": 0, "email": 1, "role": 2}
	}
	field := func(name string) string {
		if at, ok := order[name]; ok {
			return strings.TrimSpace(fields[at])
		}
		return ""
	}
	// The guide itself heads a list with name,email and goes on with the address.
	if !strings.Contains(field("email"), "@") && strings.Contains(field("name"), "@") {
		order = map[string]int{"name": order["email"], "email": order["name"], "role": order["role"]}
	}
	return tenancy.NewMember{Email: strings.ToLower(field("email")), Name: field("name"), Role: tenancy.Role(strings.ToLower(field("role")))}, ""
}
