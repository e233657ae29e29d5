package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
)

// newPlans is `panda plans`, and `panda plan list` for who looks for it there.
func newPlans(a *app) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd.Context(), func(c *apiClient) error {
			page, raw, err := call[listPage[tenancy.PlanTerms]](cmd.Context(), c, get("/v1/plans", nil))
			if err != nil {
				return err
			}
			return a.show(raw, func() grid { return planGrid(page.Items, tenancy.Limit.String) }, func() {
				a.draw(planGrid(page.Items, limitText))
			})
		})
	}
	cmd := &cobra.Command{
		Use: "plans", Aliases: []string{"plan"}, Short: "Show the plans and what each allows", Args: cobra.NoArgs, RunE: list,
	}
	cmd.AddCommand(&cobra.Command{Use: "list", Short: "Show the plans and what each allows", Args: cobra.NoArgs, RunE: list},
		&cobra.Command{
			Use: "show PLAN", Short: "Show what one plan allows", Args: cobra.ExactArgs(1),
			ValidArgsFunction: a.completePlan,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.with(cmd.Context(), func(c *apiClient) error {
					p, raw, err := call[tenancy.PlanTerms](cmd.Context(), c, get("/v1/plans/"+url.PathEscape(args[0]), nil))
					if err != nil {
						return err
					}
					one := []tenancy.PlanTerms{p}
					return a.show(raw, func() grid { return planGrid(one, tenancy.Limit.String) }, func() { a.draw(planGrid(one, limitText)) })
				})
			},
		})
	return cmd
}

func planGrid(plans []tenancy.PlanTerms, limit func(tenancy.Limit) string) grid {
	g := grid{columns: []column{textColumn("plan")}}
	for _, name := range tenancy.QuotaNames() {
		g.columns = append(g.columns, numberColumn(quotaTitles[name]))
	}
	g.columns = append(g.columns, textColumn("isolation"))
	for _, p := range plans {
		row := []string{string(p.Name)}
		for _, name := range tenancy.QuotaNames() {
			row = append(row, limit(p.Quotas.Of(name)))
		}
		g.rows = append(g.rows, append(row, string(p.Isolation)))
	}
	return g
}
