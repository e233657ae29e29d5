package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// The words for whether somebody would be let in.
const (
	admittedYes     = "yes"
	admittedDepends = "depends"
	admittedNo      = "no"
)

// membershipView is what somebody is in one tenant, and whether a sign-in for it
// would be let in at this moment.
type membershipView struct {
	Tenant tenantRef `json:"tenant"`
	// Organisation is what the token of a sign-in has to name.
	Organisation string               `json:"org_id"`
	Status       tenancy.Status       `json:"status"`
	MemberID     string               `json:"member_id"`
	Email        string               `json:"email"`
	Name         string               `json:"name,omitempty"`
	Role         tenancy.Role         `json:"role"`
	Permissions  []tenancy.Permission `json:"permissions"`
	AddedAt      time.Time            `json:"added_at"`
	// Issuer and Subject are the sign-in that is bound to the member, "" if none is.
	Issuer   string `json:"issuer,omitempty"`
	Subject  string `json:"subject,omitempty"`
	Admitted string `json:"admitted"`
	Why      string `json:"why"`
}

type invitationView struct {
	Tenant    tenantRef    `json:"tenant"`
	ID        string       `json:"id"`
	Role      tenancy.Role `json:"role"`
	Status    string       `json:"status"`
	ExpiresAt time.Time    `json:"expires_at"`
}

// userSessions is GET /v1/debug/user-sessions/{user}: every membership of somebody,
// by member id, e-mail address or subject, and what a sign-in would be let into.
func (a *API) userSessions(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	user := r.PathValue("user")
	answer := struct {
		User        string           `json:"user"`
		Memberships []membershipView `json:"memberships"`
		Invitations []invitationView `json:"invitations"`
		// WithoutOrganisation says what a token that names no organisation gets.
		WithoutOrganisation string `json:"without_org_id"`
	}{User: user, Memberships: []membershipView{}, Invitations: []invitationView{}}
	bound := map[[2]string][]string{}
	members := a.Registry.MembershipsOf(user)
	for i := range members {
		m := &members[i]
		t, _ := a.Registry.ByID(m.TenantID)
		answer.Memberships = append(answer.Memberships, membershipOf(m, &t))
		if m.Subject != "" {
			sign := [2]string{m.Issuer, m.Subject}
			bound[sign] = append(bound[sign], t.Slug)
		}
	}
	answer.Invitations = a.invitationsOf(user, members)
	if len(answer.Memberships)+len(answer.Invitations) == 0 {
		return httpapi.NotFound()
	}
	answer.WithoutOrganisation = withoutOrganisation(bound)
	return writeJSON(w, answer)
}

// membershipOf says what the rules of signing in make of a membership.
func membershipOf(m *tenancy.Member, t *tenancy.Tenant) membershipView {
	v := membershipView{Tenant: refOf(t), Organisation: t.OrgID, Status: t.Status, MemberID: m.ID, Email: m.Email, Name: m.Name, Role: m.Role,
		Permissions: m.Role.Permissions(), AddedAt: m.AddedAt, Issuer: m.Issuer, Subject: m.Subject}
	if v.Organisation == "" {
		v.Organisation = t.ID
	}
	switch {
	case !t.Served():
		v.Admitted, v.Why = admittedNo, fmt.Sprintf("the tenant is %s", t.Status)
		if t.SuspendedReason != "" {
			v.Why += ": " + t.SuspendedReason
		}
		v.Permissions = []tenancy.Permission{}
	case m.Subject == "":
		v.Admitted, v.Why = admittedDepends, fmt.Sprintf("no sign-in is bound to the member; one whose token names the organisation %s and the address %s, verified by the provider, is let in",
			v.Organisation, m.Email)
	default:
		v.Admitted, v.Why = admittedYes, fmt.Sprintf("a token of %s for %s that names the organisation %s is let in", m.Issuer, m.Subject, v.Organisation)
	}
	return v
}

// withoutOrganisation says what a token without an organisation gets, by the tenants
// that each sign-in is bound to.
func withoutOrganisation(bound map[[2]string][]string) string {
	switch len(bound) {
	case 0:
		return "refused: no sign-in is bound to this user; the token has to name the organisation"
	case 1:
		for _, slugs := range bound {
			if len(slugs) == 1 {
				return "acts for " + slugs[0] + ", the only membership of the sign-in"
			}
			return fmt.Sprintf("refused: the sign-in is bound to %d members; the token has to name the organisation", len(slugs))
		}
	}
	return fmt.Sprintf("depends on which of %d sign-ins it is", len(bound))
}

// invitationsOf returns the invitations to the address of somebody.
func (a *API) invitationsOf(user string, members []tenancy.Member) []invitationView {
	emails := map[string]bool{strings.ToLower(strings.TrimSpace(user)): true}
	for i := range members {
		emails[members[i].Email] = true
	}
	views := []invitationView{}
	now := a.Now()
	for _, t := range a.Registry.List() {
		for _, i := range a.Registry.InvitationsOf(t.ID) {
			if emails[i.Email] {
				views = append(views, invitationView{refOf(&t), i.ID, i.Role, i.Status(now), i.ExpiresAt})
			}
		}
	}
	return views
}

// slowQuery is one run of a statement.
type slowQuery struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	// TenantID and Tenant are whom it was for, "" for none or all.
	TenantID   string    `json:"tenant_id"`
	Tenant     string    `json:"tenant"`
	At         time.Time `json:"at"`
	DurationUS int64     `json:"duration_us"`
	Rows       uint64    `json:"rows"`
	ReadRows   uint64    `json:"read_rows"`
	ReadBytes  uint64    `json:"read_bytes"`
	Failed     bool      `json:"failed"`
}

const (
	slowDefault = 20
	// Large is the guide's measure of a tenant that a database of its own is for.
	largeAgents = 500
	largeCalls  = 1_000_000
)

// slowQueries is GET /v1/debug/slow-queries: the longest statements of a tenant, or of
// all, since a moment or a duration ago.
func (a *API) slowQueries(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	var tenant tenancy.Tenant
	var err error
	if named := r.URL.Query().Get("tenant"); named != "" {
		if tenant, err = a.Registry.Find(scope, named); err != nil {
			return err
		}
	}
	since, err := a.sinceQuery(r)
	if err != nil {
		return err
	}
	limit, err := intQuery(r, "limit", slowDefault, 1, pageMax)
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	runs, kept := stages.Runs.Slowest(tenant.ID, since, int(limit))
	answer := struct {
		Tenant *tenantRef `json:"tenant,omitempty"`
		// Since is when this process began to remember; KeptSince from when on usual
		// runs are all there, absent while all since then are.
		Since     time.Time   `json:"since"`
		KeptSince *time.Time  `json:"kept_since,omitempty"`
		Items     []slowQuery `json:"items"`
		Advice    []string    `json:"advice"`
	}{Since: stages.Runs.Since().UTC(), KeptSince: timeOrNull(kept), Items: []slowQuery{}, Advice: []string{}}
	if tenant.ID != "" {
		ref := refOf(&tenant)
		answer.Tenant = &ref
		answer.Advice = a.isolationAdvice(stages, &tenant, runs)
	}
	for i := range runs {
		answer.Items = append(answer.Items, a.slowQueryOf(stages, &runs[i]))
	}
	return writeJSON(w, answer)
}

func (a *API) slowQueryOf(stages *Stages, run *warehouse.Run) slowQuery {
	v := slowQuery{Name: run.Name, TenantID: run.Tenant, At: run.At.UTC(), DurationUS: run.Duration.Microseconds(),
		Rows: run.Rows, ReadRows: run.RowsRead, ReadBytes: run.BytesRead, Failed: run.Failed}
	if s, ok := stages.Statements.Find(run.Name); ok {
		v.Source = s.Source
	}
	if t, ok := a.Registry.ByID(run.Tenant); ok {
		v.Tenant = t.Slug
	}
	return v
}

// sinceQuery reads a moment, or a duration before now; the beginning without one.
func (a *API) sinceQuery(r *http.Request) (time.Time, error) {
	text := r.URL.Query().Get("since")
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return time.Time{}, schemas.Invalid("/since", schemas.CodeMalformed, "%q is neither a duration such as 1h30m nor a time such as 2026-02-14T10:00:00Z", text)
	}
	return time.Now().Add(-ago), nil
}

// isolationAdvice says whether a database of its own would help a tenant, by the
// measure of the guide: 500 agents, or millions of messages.
func (a *API) isolationAdvice(stages *Stages, t *tenancy.Tenant, runs []warehouse.Run) []string {
	advice := []string{}
	if len(runs) == 0 {
		return advice
	}
	var agents int64
	levels, _, _ := stages.of(t.ID).Live.Levels(t.ID)
	for _, l := range levels {
		if l.Name == schemas.LevelAgents {
			agents = l.Value
		}
	}
	totals, _, _ := stages.of(t.ID).Live.Totals(t.ID, schemas.WindowOf(schemas.GrainMonth, a.Now()))
	size := plural(agents, "agent", "agents") + " and " + plural(totals.Calls, "call", "calls") + " this month"
	switch large := agents >= largeAgents || totals.Calls >= largeCalls; {
	case t.Isolation == tenancy.IsolatedDatabase:
		return append(advice, fmt.Sprintf("%s has a database of its own already (%s).", t.Slug, size))
	case large:
		return append(advice, fmt.Sprintf("%s has %s: move it to a database of its own: panda tenant migrate %s --to isolated-database", t.Slug, size, t.Slug))
	}
	return append(advice, fmt.Sprintf("%s has %s: too small for a database of its own to change much.", t.Slug, size))
}
