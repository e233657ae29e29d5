package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
)

// move is a command that brings a tenant into another state: a POST to its route.
func (a *app) move(route, short string, say func(t *tenantView) string) *cobra.Command {
	return &cobra.Command{
		Use: route + " TENANT", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.moved(cmd.Context(), args[0], route, nil, say)
		},
	}
}

func (a *app) moved(ctx context.Context, tenant, route string, body any, say func(t *tenantView) string) error {
	r := request{method: http.MethodPost, path: tenantPath(tenant, route), retry: true} // twice is the same as once
	if body != nil {
		var err error
		if r, err = post(r.path, nil, body); err != nil {
			return err
		}
		r.retry = true
	}
	return a.with(ctx, func(c *apiClient) error {
		t, raw, err := call[tenantView](ctx, c, r)
		if err != nil {
			return err
		}
		return a.showTenant(&t, raw, func() { a.print("%s\n", visible(say(&t))) })
	})
}

func newTenantSuspend(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "suspend TENANT", Short: "End a tenant's access until it is resumed; its data stays", Args: cobra.ExactArgs(1),
		Example:           "  panda tenant suspend acme-corp --reason \"invoice 2026-014 is not paid\"",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.moved(cmd.Context(), args[0], "suspend", map[string]string{"reason": reason}, func(t *tenantView) string {
				return fmt.Sprintf("Tenant %s is suspended: its keys and members have no access. To end that: panda tenant resume %s", t.Slug, t.Slug)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people; it is in the audit log and in panda tenant show")
	return cmd
}

func newTenantResume(a *app) *cobra.Command {
	return a.move("resume", "End a suspension", func(t *tenantView) string {
		return fmt.Sprintf("Tenant %s has access again. Status: %s", t.Slug, tenantStatus(t, time.Now()))
	})
}

func newTenantActivate(a *app) *cobra.Command {
	return a.move("activate", "End a trial: the tenant is a customer", func(t *tenantView) string {
		return fmt.Sprintf("Tenant %s is active.", t.Slug)
	})
}

func newTenantRestore(a *app) *cobra.Command {
	return a.move("restore", "Take the deletion of a tenant back", func(t *tenantView) string {
		return fmt.Sprintf("Tenant %s is back, with its data. Status: %s", t.Slug, tenantStatus(t, time.Now()))
	})
}

const deleteLong = `Without --permanent the tenant loses its access at once and its data is kept for 30 days, in which
` + "`panda tenant restore`" + ` brings everything back. After that it is erased.

With --permanent everything of the tenant is erased now, for ever: events, costs, members, keys. On a
terminal you are asked to type the slug. In a script give --permanent --confirm --yes. The certificate
that is printed says what was erased and when, and names nobody.`

func newTenantDelete(a *app) *cobra.Command {
	var permanent, confirmed, yes bool
	cmd := &cobra.Command{
		Use: "delete TENANT", Short: "Delete a tenant: it can be restored for 30 days, unless --permanent", Long: deleteLong,
		Example:           "  panda tenant delete acme-corp\n  panda tenant delete acme-corp --permanent --confirm",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !permanent {
				if confirmed {
					return usagef("--confirm confirms --permanent, which is not there; without it nothing is erased")
				}
				return a.deleteSoftly(cmd.Context(), args[0])
			}
			if !a.asks() && (!confirmed || !yes) {
				return usagef("this erases everything of tenant %s and cannot be undone, and there is no terminal to ask at; give --confirm and --yes to do it", args[0])
			}
			return a.deleteForEver(cmd.Context(), args[0], confirmed && yes)
		},
	}
	cmd.Flags().BoolVar(&permanent, "permanent", false, "erase everything now; it cannot be undone")
	cmd.Flags().BoolVar(&confirmed, "confirm", false, "say that --permanent is meant")
	yesFlag(cmd, &yes)
	return cmd
}

func (a *app) deleteSoftly(ctx context.Context, tenant string) error {
	return a.with(ctx, func(c *apiClient) error {
		t, raw, err := call[tenantView](ctx, c, request{method: http.MethodDelete, path: tenantPath(tenant), retry: true})
		if err != nil {
			return err
		}
		return a.showTenant(&t, raw, func() {
			a.print("Tenant %s is deleted: its keys and members have no access from now on.\n", visible(t.Slug))
			a.print("Its data is kept until %s. Until then: panda tenant restore %s\n", stampUTC(t.EraseAt), visible(t.Slug))
		})
	})
}

// deleteForEver erases a tenant. It is named by its id from here on: a slug goes with
// the tenant, and could be somebody else's when a request is made again.
func (a *app) deleteForEver(ctx context.Context, tenant string, confirmed bool) error {
	return a.with(ctx, func(c *apiClient) error {
		t, _, err := call[tenantView](ctx, c, get(tenantPath(tenant), nil))
		if err != nil {
			return err
		}
		if t.Status == string(tenancy.StatusErased) {
			return &apiError{Status: http.StatusConflict, Detail: fmt.Sprintf("tenant %s is erased already, since %s", t.ID, stampUTC(t.ErasedAt))}
		}
		if !confirmed {
			if err := a.confirmByName(ctx, fmt.Sprintf("This erases everything of %s (%s): events, costs, members, keys.", t.Name, t.Slug), t.Slug); err != nil {
				return err
			}
		}
		r := request{method: http.MethodDelete, path: tenantPath(t.ID), query: params("permanent", "true", "confirm", t.Slug)}
		raw, err := a.finished(ctx, c, r, "erasing "+t.Slug)
		if err != nil {
			return err
		}
		var erased struct {
			tenantView
			Certificate json.RawMessage `json:"certificate"`
		}
		if err := json.Unmarshal(raw, &erased); err != nil {
			return fmt.Errorf("read the answer of the erasure: %w", err)
		}
		if len(erased.Certificate) == 0 {
			return errors.New("the server deleted the tenant and gave no certificate of its erasure; see panda tenant show " + t.ID)
		}
		if a.output == outputCSV {
			return a.writeCSV(tenantCSV([]tenantView{erased.tenantView}))
		}
		if a.output == outputTable {
			a.print("Tenant %s (%s) is erased. Keep the certificate:\n\n", visible(t.Slug), t.ID)
		}
		return a.writeJSON(erased.Certificate)
	})
}
