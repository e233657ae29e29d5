package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
)

// listPage is a page of anything that the API lists under "items".
type listPage[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

func (p listPage[T]) read() ([]T, string) { return p.Items, p.NextCursor }

func newTenantList(a *app) *cobra.Command {
	var status, plan, search string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List tenants in the order of their slugs", Args: cobra.NoArgs,
		Example: "  panda tenant list --status trial\n  panda tenant list --search acme -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: a count is not negative", limit)
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, tenants, err := allPages(cmd.Context(), c, "/v1/tenants", params("status", status, "plan", plan, "q", search),
					"items", limit, listPage[tenantView].read)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return tenantCSV(tenants) }, func() {
					switch {
					case len(tenants) > 0:
						a.draw(tenantGrid(tenants))
						a.print("%s\n", tenantCounts(tenants))
					case status+plan+search != "":
						a.print("No tenant is like that.\n")
					default:
						a.print("No tenants yet. Create one with: panda tenant create --name NAME --slug SLUG\n")
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only those that are "+statusWords())
	cmd.Flags().StringVar(&plan, "plan", "", "only those with this plan")
	cmd.Flags().StringVar(&search, "search", "", "only those with this in their name or slug, or with this id")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "how many at most (0: all)")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statusNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("plan", a.completePlan)
	return cmd
}

func statusNames() []string {
	var names []string
	for _, s := range tenancy.Statuses() {
		names = append(names, string(s))
	}
	return names
}

func statusWords() string {
	names := statusNames()
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// tenantCounts is the line below the table: "4 tenants. Active: 3  |  Trial: 1".
func tenantCounts(tenants []tenantView) string {
	counts := map[string]int64{}
	for i := range tenants {
		counts[tenants[i].Status]++
	}
	var parts []string
	for _, s := range []tenancy.Status{tenancy.StatusActive, tenancy.StatusTrial, tenancy.StatusSuspended, tenancy.StatusDeleted, tenancy.StatusErased} {
		if n := counts[string(s)]; n > 0 {
			parts = append(parts, strings.ToUpper(string(s[:1]))+string(s[1:])+": "+grouped(n))
		}
	}
	return plural(int64(len(tenants)), "tenant", "tenants") + ". " + strings.Join(parts, "  |  ")
}
