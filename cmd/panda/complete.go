package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
)

// What a shell offers on TAB. It asks a server that runs and never starts one, and a
// server that does not answer offers nothing: nobody waits for a TAB.

const (
	completeWithin = 2 * time.Second
)

// completeList asks the server for a list and makes "name\tdescription" of its entries.
func completeList[T any](a *app, cmd *cobra.Command, path string, query url.Values, entry func(T) (name, about string), prefix string) []cobra.Completion {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	base := a.url
	if base == "" {
		var running bool
		if base, running = runningServer(ctx, a.cfg.Data); !running {
			return nil
		}
	}
	if a.apiKey == "" {
		a.apiKey = a.getenv("PANDA_API_KEY")
	}
	c := &apiClient{base: base, key: a.key(), http: http.DefaultClient}
	page, _, err := call[listPage[T]](ctx, c, request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return nil
	}
	var found []cobra.Completion
	for _, item := range page.Items {
		if name, about := entry(item); strings.HasPrefix(name, prefix) {
			found = append(found, cobra.CompletionWithDesc(name, visible(about)))
		}
	}
	return found
}

// completeTenant completes the first argument, a tenant.
func (a *app) completeTenant(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeTenants(cmd, nil, prefix)
}

// completeTenants completes the value of --tenant.
func (a *app) completeTenants(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeList(a, cmd, "/v1/tenants", params("q", prefix, "limit", "100"),
		func(t tenantView) (string, string) { return t.Slug, t.Name + ", " + t.Status }, prefix), cobra.ShellCompDirectiveNoFileComp
}

// completeMember completes a tenant, then one of its members.
func (a *app) completeMember(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.completeTenants(cmd, nil, prefix)
	case 1:
		return completeList(a, cmd, tenantPath(args[0], "members"), nil,
			func(m tenancy.Member) (string, string) { return m.Email, m.Name + ", " + string(m.Role) }, prefix), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completePlan completes the name of a plan: those of the server, else those that this
// program comes with.
func (a *app) completePlan(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	entry := func(p tenancy.PlanTerms) (string, string) { return string(p.Name), p.Title }
	found := completeList(a, cmd, "/v1/plans", nil, entry, prefix)
	if catalog, err := tenancy.DefaultCatalog(); err == nil && len(found) == 0 {
		for _, p := range catalog.Plans {
			if strings.HasPrefix(string(p.Name), prefix) {
				found = append(found, cobra.CompletionWithDesc(string(p.Name), p.Title))
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// roleFlag gives a command its --role.
func roleFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "role", "", "owner, admin, member or viewer")
	var names []string
	for _, r := range tenancy.Roles() {
		names = append(names, string(r))
	}
	_ = cmd.MarkFlagRequired("role")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}
