package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// conflict is an event whose id was taken by another, as GET /v1/conflicts shows it.
type conflict struct {
	Seq        int64      `json:"seq"`
	Idx        int64      `json:"idx"`
	ReceivedAt time.Time  `json:"received_at"`
	Source     string     `json:"source"`
	ID         string     `json:"id"`
	FirstSeq   int64      `json:"first_seq"`
	Event      cloudEvent `json:"event"`
}

type conflictPage struct {
	Conflicts  []conflict `json:"conflicts"`
	NextCursor string     `json:"next_cursor"`
}

// newConflicts is `panda conflicts`.
func newConflicts(a *app) *cobra.Command {
	return group("conflicts", "See events whose id came before with other content", newConflictsList(a))
}

func newConflictsList(a *app) *cobra.Command {
	var tenant string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List conflicts, the newest first", Args: cobra.NoArgs,
		Long: "Two events with the same source and id and different content contradict each other. The first one\n" +
			"counts; the other is kept here and counts nowhere. Send it under an id of its own if it is another call.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, list, err := c.conflicts(cmd.Context(), tenant, limit)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return conflictGrid(list) }, func() {
					if len(list) == 0 {
						a.print("No conflicts.\n")
						return
					}
					a.draw(conflictGrid(list))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "how many at most (0: all)")
	return cmd
}

// conflicts lists conflicts, the newest first; limit 0 is all.
func (c *apiClient) conflicts(ctx context.Context, tenant string, limit int) ([]byte, []conflict, error) {
	return allPages(ctx, c, "/v1/conflicts", params("tenant", tenant), "conflicts", limit,
		func(p conflictPage) ([]conflict, string) { return p.Conflicts, p.NextCursor })
}

func conflictGrid(list []conflict) grid {
	g := grid{columns: []column{textColumn("received"), textColumn("source"), textColumn("id"), textColumn("model"),
		numberColumn("tokens"), numberColumn("position"), numberColumn("first at")}}
	for _, c := range list {
		e := storedEvent{Event: c.Event}
		g.rows = append(g.rows, []string{stamp(c.ReceivedAt), c.Source, c.ID, c.Event.Data.Model,
			grouped(e.tokens()), grouped(c.Seq), grouped(c.FirstSeq)})
	}
	return g
}
