package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newDebug is `panda debug`.
func newDebug(a *app) *cobra.Command {
	return group("debug", "Look into what somebody reports: sign-ins and slow queries", newDebugUserSession(a), newDebugSlowQueries(a))
}

// userSessions is the answer of GET /v1/debug/user-sessions/{user}.
type userSessions struct {
	User        string `json:"user"`
	Memberships []struct {
		Tenant struct {
			ID   string `json:"id"`
			Slug string `json:"slug"`
			Name string `json:"name"`
		} `json:"tenant"`
		OrgID       string   `json:"org_id"`
		Status      string   `json:"status"`
		MemberID    string   `json:"member_id"`
		Email       string   `json:"email"`
		Role        string   `json:"role"`
		Permissions []string `json:"permissions"`
		Issuer      string   `json:"issuer"`
		Subject     string   `json:"subject"`
		Admitted    string   `json:"admitted"`
		Why         string   `json:"why"`
	} `json:"memberships"`
	Invitations []struct {
		Tenant struct {
			Slug string `json:"slug"`
		} `json:"tenant"`
		Role      string    `json:"role"`
		Status    string    `json:"status"`
		ExpiresAt time.Time `json:"expires_at"`
	} `json:"invitations"`
	WithoutOrgID string `json:"without_org_id"`
}

const debugUserLong = `Shows every membership of somebody: the organisation that a sign-in has to name, the role and what it
allows, the state of the tenant, and whether the sign-in would be let in at this moment, and why not.

USER is the id at the identity provider, a member's id, or an e-mail address.`

func newDebugUserSession(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "user-session USER", Short: "Show which tenants somebody would be let into, and why", Long: debugUserLong, Args: cobra.ExactArgs(1),
		Example: "  panda debug user-session user_xyz789\n  panda debug user-session jane@acme.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				found, body, err := call[userSessions](cmd.Context(), c, get("/v1/debug/user-sessions/"+url.PathEscape(args[0]), nil))
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return sessionGrid(&found) }, func() { a.drawSessions(&found) })
			})
		},
	}
}

func (a *app) drawSessions(s *userSessions) {
	for i := range s.Memberships {
		m := &s.Memberships[i]
		signIn := "none is bound"
		if m.Subject != "" {
			signIn = m.Subject + " of " + m.Issuer
		}
		a.fields([][2]string{
			{"Tenant", m.Tenant.Slug + " (" + m.Tenant.ID + ")"}, {"Tenant status", m.Status}, {"Organisation", m.OrgID},
			{"Member", m.MemberID + ", " + m.Email}, {"Role", m.Role}, {"Permissions", orNone(strings.Join(m.Permissions, ", "))},
			{"Sign-in", signIn}, {"Admitted", m.Admitted + ": " + m.Why},
		})
		a.print("\n")
	}
	for _, i := range s.Invitations {
		a.print("Invitation to %s as %s: %s, expires %s UTC\n", visible(i.Tenant.Slug), visible(i.Role), visible(i.Status), stamp(i.ExpiresAt))
	}
	if s.WithoutOrgID != "" {
		a.print("A token that names no organisation: %s\n", visible(s.WithoutOrgID))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func sessionGrid(s *userSessions) grid {
	g := grid{columns: []column{textColumn("tenant"), textColumn("status"), textColumn("org id"), textColumn("member"), textColumn("email"),
		textColumn("role"), textColumn("permissions"), textColumn("issuer"), textColumn("subject"), textColumn("admitted"), textColumn("why")}}
	for i := range s.Memberships {
		m := &s.Memberships[i]
		g.rows = append(g.rows, []string{m.Tenant.Slug, m.Status, m.OrgID, m.MemberID, m.Email, m.Role, strings.Join(m.Permissions, " "),
			m.Issuer, m.Subject, m.Admitted, m.Why})
	}
	return g
}

// slowQueries is the answer of GET /v1/debug/slow-queries.
type slowQueries struct {
	Since     time.Time  `json:"since"`
	KeptSince *time.Time `json:"kept_since"`
	Items     []struct {
		Name       string    `json:"name"`
		Source     string    `json:"source"`
		Tenant     string    `json:"tenant"`
		At         time.Time `json:"at"`
		DurationUS int64     `json:"duration_us"`
		Rows       int64     `json:"rows"`
		ReadRows   int64     `json:"read_rows"`
		ReadBytes  int64     `json:"read_bytes"`
		Failed     bool      `json:"failed"`
	} `json:"items"`
	Advice []string `json:"advice"`
}

const debugSlowLong = `Shows the statements that took longest, of one tenant or of all, as this server remembers them since
its start: slow ones longer than usual ones. Statements have names; neither texts nor values are kept.
What a statement read is what the engine said of it.`

func newDebugSlowQueries(a *app) *cobra.Command {
	var tenant, since string
	var limit int
	cmd := &cobra.Command{
		Use: "slow-queries", Short: "Show the statements that took longest", Long: debugSlowLong, Args: cobra.NoArgs,
		Example: "  panda debug slow-queries --tenant acme-corp\n  panda debug slow-queries --since 1h --limit 50",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit %d: use 1 or more", limit)
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				found, body, err := call[slowQueries](cmd.Context(), c, get("/v1/debug/slow-queries",
					params("tenant", tenant, "since", since, "limit", strconv.Itoa(limit))))
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return slowGrid(&found) }, func() { a.drawSlow(&found) })
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", a.getenv("PANDA_TENANT"), "slug or id of a tenant (empty: all)")
	cmd.Flags().StringVar(&since, "since", "", "a duration such as 1h, or a time such as 2026-02-14T10:00:00Z")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many")
	return cmd
}

func (a *app) drawSlow(s *slowQueries) {
	if len(s.Items) == 0 {
		a.print("No statement is remembered since %s UTC.\n", stamp(s.Since))
		return
	}
	a.draw(slowGrid(s))
	a.print("\nRemembered since %s UTC", stamp(s.Since))
	if s.KeptSince != nil {
		a.print("; usual statements since %s UTC", stamp(*s.KeptSince))
	}
	a.print(".\n")
	for _, line := range s.Advice {
		a.print("%s\n", visible(line))
	}
}

func slowGrid(s *slowQueries) grid {
	g := grid{columns: []column{textColumn("at"), textColumn("statement"), textColumn("tenant"), numberColumn("took ms"), numberColumn("rows"),
		numberColumn("rows read"), numberColumn("bytes read"), textColumn("outcome")}}
	for i := range s.Items {
		q := &s.Items[i]
		name, outcome := q.Name, "ok"
		if name == "" {
			name = "(in no file)"
		}
		if q.Failed {
			outcome = "failed"
		}
		g.rows = append(g.rows, []string{stamp(q.At), name, q.Tenant, milliseconds(q.DurationUS), strconv.FormatInt(q.Rows, 10),
			strconv.FormatInt(q.ReadRows, 10), strconv.FormatInt(q.ReadBytes, 10), outcome})
	}
	return g
}

// milliseconds writes microseconds as milliseconds, exactly.
func milliseconds(us int64) string { return fmt.Sprintf("%d.%03d", us/1000, us%1000) }
