package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas/apiclient"
)

// newJobs is `panda jobs`.
func newJobs(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "jobs", Short: "Show scheduled jobs: last run, next run, outcome", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				api, err := c.generated()
				if err != nil {
					return err
				}
				res, err := api.ListJobsWithResponse(cmd.Context())
				if err != nil {
					return err
				}
				list, err := apiclient.Answered(res.JSON200, res.ApplicationProblemJSONDefault, res.HTTPResponse)
				if err != nil {
					return err
				}
				return a.show(res.Body, func() grid { return jobGrid(list) }, func() {
					if len(list.Jobs) == 0 {
						a.print("This server runs no jobs.\n")
						return
					}
					a.draw(jobGrid(list))
				})
			})
		},
	}
}

func jobGrid(list *apiclient.Jobs) grid {
	g := grid{columns: []column{textColumn("job"), textColumn("schedule"), textColumn("last run"), textColumn("next run"),
		numberColumn("took"), textColumn("outcome"), proseColumn("detail")}}
	for _, j := range list.Jobs {
		took, last := "", "never"
		if at, err := j.LastRun.Get(); err == nil && !at.IsZero() {
			took, last = (time.Duration(j.DurationMs) * time.Millisecond).String(), stamp(at)
		}
		next := ""
		if at, err := j.NextRun.Get(); err == nil {
			next = stamp(at)
		}
		g.rows = append(g.rows, []string{j.Name, j.Schedule, last, next, took, string(j.Outcome), j.Detail})
	}
	return g
}

// summary is the answer of GET /v1/summary.
type summary = apiclient.Summary
