package main

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// newStatus is `panda status`: whether the server is ready, and how much it
// holds.
func newStatus(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "status", Short: "Show whether the server is ready and what it holds", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				// Asked once: a server that is not ready is an answer here.
				_, notReady := c.raw(cmd.Context(), request{method: http.MethodGet, path: "/readyz"})
				var api *apiError
				if notReady != nil && !errors.As(notReady, &api) {
					return notReady
				}
				s, body, err := call[summary](cmd.Context(), c, request{
					method: http.MethodGet, path: "/v1/summary", query: params("tenant", tenant)})
				if err != nil && exitCode(err) == exitUnavailable && notReady != nil {
					return notReady // it knows why
				}
				if err != nil {
					return errors.Join(notReady, err)
				}
				if err := a.show(body, func() grid { return summaryGrid(s) }, func() { a.drawStatus(c, s, notReady) }); err != nil {
					return err
				}
				return notReady
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

func (a *app) drawStatus(c *apiClient, s summary, notReady error) {
	if notReady == nil {
		a.print("%s %s is ready\n\n", a.paint(a.sign("✓", "ok"), text.FgGreen), c.base)
	} else {
		a.print("%s %s is not ready\n\n", a.paint(a.sign("✗", "not ok"), text.FgRed), c.base)
	}
	a.draw(grid{
		columns: []column{textColumn("events"), numberColumn("count")},
		rows: [][]string{
			{"accepted", grouped(s.Accepted)}, {"duplicates", grouped(s.Duplicates)}, {"conflicts", grouped(s.Conflicts)},
			{"quarantined", grouped(s.Quarantined)}, {"late", grouped(s.Late)},
		},
		footer: []string{"all", grouped(s.Events)},
	})
	a.print("\n%s, %s, %s", plural(s.Calls, "call", "calls"), plural(s.TokensTotal, "token", "tokens"), dollars(s.Cost, 0))
	if s.Unpriced > 0 {
		a.print(" and %s without a price", plural(s.Unpriced, "call", "calls"))
	}
	a.print("\nPosition: log %s, ledger %s", grouped(s.Position.Log), grouped(s.Position.Ledger))
	if behind := s.Position.Log - s.Position.Ledger; behind > 0 {
		a.print(" (%s behind)", grouped(behind))
	}
	a.print(", rollup %s\n", grouped(s.Position.Rollup))
}

func summaryGrid(s summary) grid {
	g := grid{columns: []column{textColumn("name"), numberColumn("value")}}
	for _, r := range []struct {
		name  string
		count int64
	}{
		{"events", s.Events}, {"accepted", s.Accepted}, {"duplicates", s.Duplicates}, {"conflicts", s.Conflicts},
		{"quarantined", s.Quarantined}, {"late", s.Late}, {"unpriced", s.Unpriced}, {"calls", s.Calls},
		{"tokens_total", s.TokensTotal}, {"position_log", s.Position.Log}, {"position_ledger", s.Position.Ledger},
		{"position_rollup", s.Position.Rollup},
	} {
		g.rows = append(g.rows, []string{r.name, strconv.FormatInt(r.count, 10)})
	}
	g.rows = append(g.rows, []string{"cost", s.Cost.String()})
	return g
}
