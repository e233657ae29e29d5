package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

type jobList struct {
	Jobs []struct {
		Name       string     `json:"name"`
		Schedule   string     `json:"schedule"`
		LastRun    *time.Time `json:"last_run"`
		NextRun    *time.Time `json:"next_run"`
		DurationMS int64      `json:"duration_ms"`
		Outcome    string     `json:"outcome"`
		Position   any        `json:"position"`
		Detail     string     `json:"detail"`
	} `json:"jobs"`
}

// newJobs is `panda jobs`.
func newJobs(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "jobs", Short: "Show scheduled jobs: last run, next run, outcome", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				list, body, err := call[jobList](cmd.Context(), c, get("/v1/jobs", nil))
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return jobGrid(list) }, func() {
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

func jobGrid(list jobList) grid {
	g := grid{columns: []column{textColumn("job"), textColumn("schedule"), textColumn("last run"), textColumn("next run"),
		numberColumn("took"), textColumn("outcome"), proseColumn("detail")}}
	for _, j := range list.Jobs {
		took, last := "", "never"
		if j.LastRun != nil && !j.LastRun.IsZero() {
			took, last = (time.Duration(j.DurationMS) * time.Millisecond).String(), stamp(*j.LastRun)
		}
		next := ""
		if j.NextRun != nil {
			next = stamp(*j.NextRun)
		}
		g.rows = append(g.rows, []string{j.Name, j.Schedule, last, next, took, j.Outcome, j.Detail})
	}
	return g
}

// summary is the answer of GET /v1/summary.
type summary struct {
	Events      int64         `json:"events"`
	Accepted    int64         `json:"accepted"`
	Duplicates  int64         `json:"duplicates"`
	Conflicts   int64         `json:"conflicts"`
	Quarantined int64         `json:"quarantined"`
	Late        int64         `json:"late"`
	Unpriced    int64         `json:"unpriced"`
	Calls       int64         `json:"calls"`
	TokensTotal int64         `json:"tokens_total"`
	Cost        schemas.Money `json:"cost"`
	Position    struct {
		Log    int64 `json:"log"`
		Ledger int64 `json:"ledger"`
		Rollup int64 `json:"rollup"`
	} `json:"position"`
}
