package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// queryAudit is the answer of GET /v1/audit/queries.
type queryAudit struct {
	Since               time.Time      `json:"since"`
	Statements          int64          `json:"statements"`
	Ran                 int64          `json:"ran"`
	Runs                int64          `json:"runs"`
	Missing             int64          `json:"missing"`
	Unnamed             int64          `json:"unnamed_runs"`
	TablesWithoutTenant []string       `json:"tables_without_tenant"`
	Items               []auditedQuery `json:"items"`
}

type auditedQuery struct {
	Name      string   `json:"name"`
	Source    string   `json:"source"`
	Tables    []string `json:"tables"`
	Verdict   string   `json:"verdict"`
	Filter    string   `json:"filter"`
	Reason    string   `json:"reason"`
	Problems  []string `json:"problems"`
	Runs      int64    `json:"runs"`
	RunsOfAll int64    `json:"runs_of_all_tenants"`
	SlowestUS int64    `json:"slowest_us"`
}

const auditQueriesLong = `Shows what keeps every statement to one tenant: its condition on the tenant, or the reason that it
declares for reading all of them. The texts of the statements are read and held against the tables of
the migrations; what else this server ran since its start is read in the same way.

--missing-tenant-filter shows only statements with neither. There are none as a rule; the exit code is
1 if there is one.`

func newAuditQueries(a *app) *cobra.Command {
	var missing bool
	cmd := &cobra.Command{
		Use: "queries", Short: "Show what keeps every statement to one tenant", Long: auditQueriesLong, Args: cobra.NoArgs,
		Example: "  panda audit queries --missing-tenant-filter",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				query := params()
				if missing {
					query.Set("missing_tenant_filter", "true")
				}
				audit, body, err := call[queryAudit](cmd.Context(), c, get("/v1/audit/queries", query))
				if err != nil {
					return err
				}
				err = a.show(body, func() grid { return auditedGrid(audit.Items, true) }, func() { a.drawQueryAudit(&audit) })
				if err == nil && audit.Missing > 0 {
					err = errFoundWrong
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&missing, "missing-tenant-filter", false, "only statements without a filter and without a declared reason")
	return cmd
}

// drawQueryAudit writes the audit for people.
func (a *app) drawQueryAudit(audit *queryAudit) {
	if len(audit.Items) > 0 {
		a.draw(auditedGrid(audit.Items, false))
		a.print("\n")
	}
	a.print("%s, %s of them run since %s UTC (%s), %s without a tenant filter or a declared reason.\n",
		plural(audit.Statements, "statement", "statements"), grouped(audit.Ran), stamp(audit.Since),
		plural(audit.Runs, "run", "runs"), grouped(audit.Missing))
	a.print("%s of statements that are in no file were read in the same way. Tables that name no tenant: %s.\n",
		plural(audit.Unnamed, "run", "runs"), visible(strings.Join(audit.TablesWithoutTenant, ", ")))
	if audit.Missing == 0 {
		a.print("%s No statement reads another tenant's rows by mistake.\n", a.sign("✅", "*"))
	}
}

// auditedGrid lists statements; a machine gets every column whole.
func auditedGrid(items []auditedQuery, whole bool) grid {
	prose := proseColumn
	if whole {
		prose = textColumn
	}
	g := grid{columns: []column{textColumn("statement"), textColumn("tables"), textColumn("verdict"), prose("because"),
		numberColumn("runs"), numberColumn("of all tenants"), numberColumn("slowest ms")}}
	for i := range items {
		q := &items[i]
		because := q.Filter
		switch {
		case len(q.Problems) > 0:
			because = strings.Join(q.Problems, "; ")
		case q.Reason != "":
			because = q.Reason
		}
		g.rows = append(g.rows, []string{q.Name, strings.Join(q.Tables, " "), strings.ReplaceAll(q.Verdict, "_", " "), because,
			strconv.FormatInt(q.Runs, 10), strconv.FormatInt(q.RunsOfAll, 10), milliseconds(q.SlowestUS)})
	}
	return g
}
