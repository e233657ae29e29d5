package tenancy

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// add adds one member who must be let in.
func add(t *testing.T, r *Registry, tenantID, email string, role Role) Member {
	t.Helper()
	added, errs, err := r.AddMembers(t.Context(), someone, tenantID, []NewMember{{Email: email, Role: role}})
	if err := errors.Join(err, errs[0]); err != nil {
		t.Fatal(err)
	}
	return added[0]
}

func TestRowsOfMembersStandAlone(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	made := create(t, r, acme(""))
	add(t, r, made.ID, "old@acme.com", RoleOwner)
	added, errs, err := r.AddMembers(t.Context(), someone, made.ID, []NewMember{
		{Email: " Jane@Acme.com ", Name: "Jane Smith", Role: RoleMember},
		{Email: "nobody", Role: RoleMember},
		{Email: "jane@acme.com", Role: RoleViewer},
		{Email: "old@acme.com", Role: RoleViewer},
		{Email: "john@acme.com", Role: "boss"},
		{Email: "john@acme.com", Role: RoleAdmin},
	})
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for i, e := range errs {
		if e != nil {
			refused = append(refused, fmt.Sprintf("%d %v", i, e))
		}
	}
	want := []string{
		"1 /email: this is not an e-mail address such as user@acme.com",
		"2 /email: jane@acme.com is there twice",
		"3 old@acme.com is a member already",
		"4 /role: use owner, admin, member or viewer",
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Error(diff)
	}
	if len(added) != 2 || added[0].Email != "jane@acme.com" || added[1].Email != "john@acme.com" {
		t.Errorf("added %+v", added)
	}
	// Another node, from the log alone.
	if diff := cmp.Diff(r.MembersOf(made.ID), start(t, r.log).MembersOf(made.ID)); diff != "" || len(r.MembersOf(made.ID)) != 3 {
		t.Errorf("another node differs:\n%s", diff)
	}
}

// Two owners who take each other's role away at the same moment, on two nodes.
func TestTheLastOwnerStays(t *testing.T) {
	log := eventlogtest.Open(t)
	here, there := start(t, log), start(t, log)
	made := create(t, here, acme(""))
	one, two := add(t, here, made.ID, "one@acme.com", RoleOwner), add(t, here, made.ID, "two@acme.com", RoleOwner)
	if err := there.WaitFor(t.Context(), here.Position()); err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 2)
	var both sync.WaitGroup
	both.Go(func() { errs[0] = here.RemoveMember(t.Context(), someone, made.ID, one.ID, nil) })
	both.Go(func() { _, errs[1] = there.ChangeRole(t.Context(), someone, made.ID, two.ID, RoleViewer, nil) })
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("one of them has to lose: %v, %v", errs[0], errs[1])
	}
	if lost := errors.Join(errs...); !errors.Is(lost, schemas.ErrConflict) || !strings.Contains(lost.Error(), "at least one owner") {
		t.Errorf("refused with %v", lost)
	}
	owners := 0
	for _, m := range here.MembersOf(made.ID) {
		if m.Role == RoleOwner {
			owners++
		}
	}
	if owners != 1 {
		t.Errorf("%d owners", owners)
	}
}

func TestInvitationWorksOnce(t *testing.T) {
	var days atomic.Int64
	began := time.Date(2026, 2, 14, 9, 0, 0, 0, time.UTC)
	r := startAt(t, eventlogtest.Open(t), func() time.Time { return began.AddDate(0, 0, int(days.Load())) })
	made := create(t, r, acme(""))
	invite := func(email string) Invitation {
		t.Helper()
		i, err := r.Invite(t.Context(), someone, made.ID, NewMember{Email: email, Role: RoleAdmin})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	accept := func(i Invitation) error {
		_, err := r.Accept(t.Context(), someone, made.ID, i.ID, Acceptance{Name: "U", Issuer: "https://id", Subject: "sub-" + i.Email})
		return err
	}
	first := invite("User@acme.com")
	second := invite("user@acme.com")
	for _, row := range []struct {
		name string
		i    Invitation
		want string
	}{
		{"replaced by a newer one", first, "taken back"},
		{"good", second, ""},
		{"used", second, "used already"},
		{"unknown", Invitation{ID: "inv_none"}, "not found"},
	} {
		if err := accept(row.i); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if _, err := r.Invite(t.Context(), someone, made.ID, NewMember{Email: "user@acme.com", Role: RoleAdmin}); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("an invitation for a member: %v", err)
	}
	late := invite("late@acme.com")
	gone := invite("gone@acme.com")
	if _, err := r.RevokeInvitation(t.Context(), someone, made.ID, gone.ID); err != nil {
		t.Fatal(err)
	}
	days.Store(InvitationDays)
	if err := accept(late); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	if err := accept(gone); err == nil || !strings.Contains(err.Error(), "taken back") {
		t.Errorf("revoked: %v", err)
	}
}

func TestWhoSignedIn(t *testing.T) {
	r := start(t, eventlogtest.Open(t))
	n := acme("")
	n.OrgID = "org_acme"
	acmeCorp := create(t, r, n)
	globex := create(t, r, NewTenant{Name: "Globex", Slug: "globex"})
	if _, _, err := r.CreateTenant(t.Context(), someone, NewTenant{Name: "x", Slug: "xx", OrgID: "org_acme"}); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("one organisation, two tenants: %v", err)
	}
	add(t, r, acmeCorp.ID, "plain@acme.com", RoleViewer)
	join := func(tenant Tenant, email, subject string) {
		t.Helper()
		i, err := r.Invite(t.Context(), someone, tenant.ID, NewMember{Email: email, Role: RoleAdmin})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Accept(t.Context(), someone, tenant.ID, i.ID, Acceptance{Issuer: "https://id", Subject: subject}); err != nil {
			t.Fatal(err)
		}
	}
	join(acmeCorp, "both@acme.com", "both")
	join(globex, "both@globex.com", "both")
	join(globex, "one@globex.com", "one")
	for _, row := range []struct{ name, issuer, subject, org, email, want string }{
		{"by the organisation and the sign-in", "https://id", "both", "org_acme", "", "both@acme.com"},
		{"the tenant's id as the organisation", "https://id", "both", globex.ID, "", "both@globex.com"},
		{"one membership needs no organisation", "https://id", "one", "", "", "one@globex.com"},
		{"two memberships need one", "https://id", "both", "", "", ""},
		{"another issuer is somebody else", "https://evil", "both", "org_acme", "", ""},
		{"a verified address, nothing bound", "https://id", "new", "org_acme", "plain@acme.com", "plain@acme.com"},
		{"an address that is bound to another sign-in", "https://id", "new", "org_acme", "both@acme.com", ""},
		{"an address without an organisation", "https://id", "new", "", "plain@acme.com", ""},
		{"another tenant's organisation", "https://id", "one", "org_acme", "", ""},
		{"an unknown organisation", "https://id", "one", "org_none", "", ""},
		{"nobody", "", "", "", "", ""},
	} {
		if m, ok := r.MemberOf(row.issuer, row.subject, row.org, row.email); m.Email != row.want || ok != (row.want != "") {
			t.Errorf("%s: %q, want %q", row.name, m.Email, row.want)
		}
	}
	if found := r.MembershipsOf("both"); len(found) != 2 {
		t.Errorf("both is a member of %+v", found)
	}
	for _, m := range r.MembersOf(globex.ID) {
		if m.Subject == "one" {
			if err := r.RemoveMember(t.Context(), someone, globex.ID, m.ID, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := r.MemberOf("https://id", "one", "", ""); ok {
		t.Error("a member who was removed still signs in")
	}
}
