package main

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

// newBilling is `panda billing`.
func newBilling(a *app) *cobra.Command {
	return group("billing", "See what tenants owe, and close months",
		newBillingStatement(a, "statement", "Show what a tenant owes for a month: sealed if it is closed, else a draft"),
		newBillingStatement(a, "preview", "Show what a month comes to so far, or came to at a ledger position"),
		newBillingClose(a))
}

func newBillingStatement(a *app, use, short string) *cobra.Command {
	var month string
	var asOf uint64
	var forecast bool
	cmd := &cobra.Command{
		Use: use + " TENANT", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeTenant,
		Example: "  panda billing " + use + " acme-corp --month 2026-02",
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if asOf != 0 {
				query.Set("as_of", strconv.FormatUint(asOf, 10))
			}
			if forecast {
				query.Set("forecast", "1")
			}
			return a.showStatement(cmd, get(tenantPath(args[0], "statements", month), query))
		},
	}
	monthFlag(cmd, &month)
	cmd.Flags().Uint64Var(&asOf, "as-of", 0, "as it was at this ledger position (0: now)")
	if use == "preview" {
		cmd.Flags().BoolVar(&forecast, "forecast", false, "what the month comes to if usage goes on as it was so far")
	}
	return cmd
}

func newBillingClose(a *app) *cobra.Command {
	var month string
	cmd := &cobra.Command{
		Use: "close TENANT", Short: "Close a month: its statement is sealed, and what comes later is on the next one", Args: cobra.ExactArgs(1),
		Long:              "Months are closed by themselves 72 hours after their end, in order. Closing one that is closed shows what stands.",
		Example:           "  panda billing close acme-corp --month 2026-02",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showStatement(cmd, request{method: http.MethodPost, retry: true,
				path: tenantPath(args[0], "statements", month, "close")})
		},
	}
	monthFlag(cmd, &month)
	return cmd
}

func monthFlag(cmd *cobra.Command, month *string) {
	cmd.Flags().StringVar(month, "month", "", "the UTC month, such as 2026-02")
	_ = cmd.MarkFlagRequired("month")
}

func (a *app) showStatement(cmd *cobra.Command, r request) error {
	return a.with(cmd.Context(), func(c *apiClient) error {
		s, raw, err := call[bill.Statement](cmd.Context(), c, r)
		if err != nil {
			return err
		}
		return a.show(raw, func() grid { return statementGrid(&s) }, func() {
			state := "draft"
			if s.Sealed {
				state = "sealed " + stamp(s.SealedAt)
			}
			a.print("Statement of %s for %s, %s, as of %d\n", s.Tenant, s.Month, state, s.AsOf)
			a.draw(statementGrid(&s))
			a.print("Total %d minor units of %s (exactly %s USD)\n", s.Total, s.Currency, s.Exact)
			if s.Unpriced > 0 {
				a.print("The cost of %s calls is not known yet.\n", schemas.GroupDigits(strconv.FormatInt(s.Unpriced, 10)))
			}
		})
	})
}

func statementGrid(s *bill.Statement) grid {
	g := grid{columns: []column{textColumn("kind"), textColumn("what"), numberColumn("quantity"), textColumn("unit"), numberColumn("amount"),
		numberColumn("exact"), textColumn("cause"), textColumn("line")}}
	for i := range s.Lines {
		l := &s.Lines[i]
		g.rows = append(g.rows, []string{l.Kind, l.Description, l.Quantity, l.Unit, strconv.FormatInt(l.Amount, 10), l.Exact.String(), l.Cause, l.ID})
	}
	return g
}
