package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
)

// invitationView is an invitation as the API shows it. Its token is in the answer that
// made it and nowhere else.
type invitationView struct {
	tenancy.Invitation
	Status string `json:"status"`
	Token  string `json:"token"`
}

func newTenantInvite(a *app) *cobra.Command {
	var tenant, email, role string
	cmd := &cobra.Command{
		Use: "invite", Short: "Invite a person to a tenant; the invitation's token is shown once", Args: cobra.NoArgs,
		Long: "Roles: owner, admin, member, viewer. An invitation stands for 7 days and works once; a second one for\n" +
			"the same address takes the place of the first.",
		Example: "  panda tenant invite --tenant acme-corp --email user@acme.com --role admin",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return usagef("--tenant says where to")
			}
			r, err := post(tenantPath(tenant, "invitations"), nil, map[string]string{"email": email, "role": role})
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				i, raw, err := call[invitationView](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return invitedGrid(&i) }, func() {
					a.print("%s Invited %s to %s as %s.\n\n", a.sign("✅", "*"), visible(i.Email), visible(tenant), i.Role)
					a.fields([][2]string{{"Invitation ID", i.ID}, {"Valid until", stampUTC(i.ExpiresAt)}, {"Token", i.Token}})
					a.print("\nThis is the only time the token is shown. Give it to %s, who accepts with:\n"+
						"panda tenant accept TOKEN --name \"THEIR NAME\"\n", visible(i.Email))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&email, "email", "", "their e-mail address")
	roleFlag(cmd, &role)
	_ = cmd.MarkFlagRequired("email")
	return cmd
}

func invitedGrid(i *invitationView) grid {
	g := invitationGrid([]invitationView{*i}, instant)
	g.columns = append(g.columns, textColumn("token"))
	g.rows[0] = append(g.rows[0], i.Token)
	return g
}

func invitationGrid(list []invitationView, when func(time.Time) string) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("email"), textColumn("role"), textColumn("status"),
		textColumn("invited by"), textColumn("created"), textColumn("valid until")}}
	for i := range list {
		v := &list[i]
		g.rows = append(g.rows, []string{v.ID, v.Email, string(v.Role), v.Status, v.InvitedBy, when(v.CreatedAt), when(v.ExpiresAt)})
	}
	return g
}

func newTenantInvitations(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "invitations TENANT", Short: "List a tenant's invitations", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, list, err := c.invitations(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return invitationGrid(list, instant) }, func() {
					if len(list) == 0 {
						a.print("No invitations. Invite somebody with: panda tenant invite --tenant %s --email ADDRESS --role ROLE\n", visible(args[0]))
						return
					}
					a.draw(invitationGrid(list, stamp))
				})
			})
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "revoke TENANT INVITATION", Short: "Take an invitation back, by its id or its e-mail address", Args: cobra.ExactArgs(2),
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				id, err := c.pendingInvitation(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				i, raw, err := call[invitationView](cmd.Context(), c,
					request{method: http.MethodDelete, path: tenantPath(args[0], "invitations", id), retry: true})
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return invitationGrid([]invitationView{i}, instant) }, func() {
					a.print("The invitation of %s is revoked.\n", visible(i.Email))
				})
			})
		},
	})
	return cmd
}

func (c *apiClient) invitations(ctx context.Context, tenant string) ([]byte, []invitationView, error) {
	return allPages(ctx, c, tenantPath(tenant, "invitations"), nil, "items", 0, listPage[invitationView].read)
}

// pendingInvitation returns the id of an invitation that is named by its id or address.
func (c *apiClient) pendingInvitation(ctx context.Context, tenant, named string) (string, error) {
	if !strings.Contains(named, "@") {
		return named, nil
	}
	_, list, err := c.invitations(ctx, tenant)
	if err != nil {
		return "", err
	}
	for i := range list {
		if list[i].Status == "pending" && strings.EqualFold(list[i].Email, named) {
			return list[i].ID, nil
		}
	}
	return "", &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("tenant %s has no open invitation of %s", tenant, named)}
}

func newTenantAccept(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "accept TOKEN", Short: "Accept an invitation", Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Accepts an invitation with the token that came with it; - reads the token from standard input. Where\n" +
			"people sign in, --api-key is the token that you signed in with; where they do not, you get an API key.",
		RunE: func(cmd *cobra.Command, args []string) error {
			token := args[0]
			if token == "-" {
				text, err := io.ReadAll(io.LimitReader(a.stdin, answerLineMax))
				if err != nil {
					return fmt.Errorf("read the token: %w", err)
				}
				token = strings.TrimSpace(string(text))
			}
			r, err := post("/v1/invitations/accept", nil, map[string]string{"token": token, "name": name})
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				joined, raw, err := call[struct {
					Member tenancy.Member `json:"member"`
					Tenant tenantView     `json:"tenant"`
					Key    *keyView       `json:"key"`
				}](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return memberGrid([]tenancy.Member{joined.Member}, instant) }, func() {
					a.print("%s You are a member of %s, as %s.\n", a.sign("✅", "*"), visible(joined.Tenant.Name), joined.Member.Role)
					if joined.Key != nil {
						a.print("\nYour API key, shown this once:\n\n%s\n", visible(joined.Key.Key))
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "your name")
	return cmd
}

func memberGrid(list []tenancy.Member, when func(time.Time) string) grid {
	g := grid{columns: []column{textColumn("email"), textColumn("name"), textColumn("role"), textColumn("id"), textColumn("added")}}
	for i := range list {
		m := &list[i]
		g.rows = append(g.rows, []string{m.Email, m.Name, string(m.Role), m.ID, when(m.AddedAt)})
	}
	return g
}

func newTenantMembers(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "members TENANT", Short: "List a tenant's members; add, change and remove them", Args: cobra.ExactArgs(1),
		Example: "  panda tenant members acme-corp\n  panda tenant members set-role acme-corp jane@acme.com --role admin\n" +
			"  panda tenant members remove acme-corp jane@acme.com",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, list, err := c.members(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return memberGrid(list, instant) }, func() {
					if len(list) == 0 {
						a.print("No members. Invite somebody with: panda tenant invite --tenant %s --email ADDRESS --role owner\n", visible(args[0]))
						return
					}
					a.draw(memberGrid(list, stamp))
				})
			})
		},
	}
	cmd.AddCommand(newMembersAdd(a), newMembersSetRole(a), newMembersRemove(a))
	return cmd
}

func (c *apiClient) members(ctx context.Context, tenant string) ([]byte, []tenancy.Member, error) {
	return allPages(ctx, c, tenantPath(tenant, "members"), nil, "items", 0, listPage[tenancy.Member].read)
}

// member returns the path of a member who is named by id or e-mail address.
func (c *apiClient) member(ctx context.Context, tenant, named string) (string, error) {
	if strings.Contains(named, "@") {
		_, list, err := c.members(ctx, tenant)
		if err != nil {
			return "", err
		}
		id := ""
		for i := range list {
			if strings.EqualFold(list[i].Email, named) {
				id = list[i].ID
			}
		}
		if id == "" {
			return "", &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("%s is no member of tenant %s; panda tenant members %s shows who is", named, tenant, tenant)}
		}
		named = id
	}
	return tenantPath(tenant, "members", named), nil
}

func newMembersAdd(a *app) *cobra.Command {
	var email, name, role string
	cmd := &cobra.Command{
		Use: "add TENANT", Short: "Add a member at once, without an invitation", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := post(tenantPath(args[0], "members"), nil, map[string]string{"email": email, "name": name, "role": role})
			if err != nil {
				return err
			}
			return a.showMember(cmd.Context(), func(*apiClient) (request, error) { return r, nil }, "is a member")
		},
	}
	cmd.Flags().StringVar(&email, "email", "", "their e-mail address")
	cmd.Flags().StringVar(&name, "name", "", "their name")
	roleFlag(cmd, &role)
	_ = cmd.MarkFlagRequired("email")
	return cmd
}

// showMember makes a request whose answer is a member and shows it.
func (a *app) showMember(ctx context.Context, make func(c *apiClient) (request, error), what string) error {
	return a.with(ctx, func(c *apiClient) error {
		r, err := make(c)
		if err != nil {
			return err
		}
		m, raw, err := call[tenancy.Member](ctx, c, r)
		if err != nil {
			return err
		}
		return a.show(raw, func() grid { return memberGrid([]tenancy.Member{m}, instant) }, func() {
			a.print("%s %s, as %s.\n", visible(m.Email), what, m.Role)
		})
	})
}

func newMembersSetRole(a *app) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use: "set-role TENANT MEMBER", Short: "Change what a member may do; MEMBER is an e-mail address or an id", Args: cobra.ExactArgs(2),
		ValidArgsFunction: a.completeMember,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showMember(cmd.Context(), func(c *apiClient) (request, error) {
				path, err := c.member(cmd.Context(), args[0], args[1])
				if err != nil {
					return request{}, err
				}
				r, err := post(path, nil, map[string]string{"role": role})
				r.method, r.retry = http.MethodPatch, true
				return r, err
			}, "is a member")
		},
	}
	roleFlag(cmd, &role)
	return cmd
}

func newMembersRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove TENANT MEMBER", Short: "End a membership; MEMBER is an e-mail address or an id", Args: cobra.ExactArgs(2),
		ValidArgsFunction: a.completeMember,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				path, err := c.member(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				if _, err := c.raw(cmd.Context(), request{method: http.MethodDelete, path: path}); err != nil {
					return err
				}
				a.print("%s is no member of %s any more.\n", visible(args[1]), visible(args[0]))
				return nil
			})
		},
	}
}

// importReport says what became of the rows of a list of people.
type importReport struct {
	Added   int64 `json:"added"`
	Refused int64 `json:"refused"`
	Rows    []struct {
		Line   int64  `json:"line"`
		Email  string `json:"email"`
		Status string `json:"status"`
		Detail string `json:"detail"`
	} `json:"rows"`
}

func newTenantImportUsers(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "import-users TENANT", Short: "Add people from a CSV file", Args: cobra.ExactArgs(1),
		Long: "Adds people from CSV with name, email and role, one a row. A first row with these words says in which\n" +
			"order they come; without one, the address is what has an @ in it. A row that is refused does not keep\n" +
			"the others out; the exit code is 1 then.",
		Example:           "  panda tenant import-users acme-corp --csv ./users.csv",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := a.readInput(file)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				report, raw, err := call[importReport](cmd.Context(), c, request{method: http.MethodPost,
					path: tenantPath(args[0], "members", "import"), body: body, media: "text/csv"})
				if err != nil {
					return err
				}
				err = a.show(raw, func() grid { return importGrid(&report) }, func() {
					if len(report.Rows) > 0 {
						a.draw(importGrid(&report))
					}
					a.print("%s added, %s refused.\n", plural(report.Added, "person", "people"), grouped(report.Refused))
				})
				if err == nil && report.Refused > 0 {
					err = errFoundWrong
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&file, "csv", "", "the file, or - for standard input")
	_ = cmd.MarkFlagRequired("csv")
	return cmd
}

func importGrid(report *importReport) grid {
	g := grid{columns: []column{numberColumn("line"), textColumn("email"), textColumn("status"), proseColumn("detail")}}
	for _, r := range report.Rows {
		g.rows = append(g.rows, []string{grouped(r.Line), r.Email, r.Status, r.Detail})
	}
	return g
}

// inputBytesMax bounds what is read of a list of people: the server takes less of it at
// once, and says how much.
const inputBytesMax = 8 << 20

// readInput reads a small file, or standard input.
func (a *app) readInput(name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil, usagef("%s: no such file", name)
		}
		if err != nil {
			return nil, usageError{err}
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, inputBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(body) > inputBytesMax {
		return nil, usagef("%s is larger than %d bytes; send it in parts", name, inputBytesMax)
	}
	return body, nil
}
