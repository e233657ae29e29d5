package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/alerting"
)

// alertLine is an alert as GET /v1/alerts shows it.
type alertLine struct {
	ID        string    `json:"id"`
	Tenant    string    `json:"tenant"`
	Title     string    `json:"title"`
	Limit     string    `json:"limit"`
	Name      string    `json:"name"`
	Period    string    `json:"period"`
	Threshold int       `json:"threshold"`
	Severity  string    `json:"severity"`
	State     string    `json:"state"`
	FiredAt   time.Time `json:"fired_at"`
	Percent   int       `json:"percent"`
}

// newAlerts is `panda alerts`.
func newAlerts(a *app) *cobra.Command {
	return group("alerts", "See which budgets and quotas are nearly used up, check rules, and say who is told", newAlertsList(a), newAlertsShow(a), newAlertsAck(a),
		newAlertsMute(a), newAlertsUnmute(a), newAlertsMutes(a), newAlertsChannels(a), newAlertsTest(a), newAlertsDeliveries(a),
		newAlertsCheck(a), newAlertsMetrics(a), newAlertsRules(a))
}

func newAlertsList(a *app) *cobra.Command {
	var tenant, state, unacked string
	var limit int
	var unread bool
	cmd := &cobra.Command{
		Use: "list", Short: "List alerts, those that fired last first", Args: cobra.NoArgs,
		Long: "An alert fires once when a threshold of a budget or a quota is crossed, and is resolved when usage falls below it\n" +
			"again, by a correction or a higher limit. The thresholds are the server's --alert-thresholds.",
		Example: "  panda alerts list --tenant acme-corp\n  panda alerts list --state firing -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: a count is not negative", limit)
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				if unread {
					unacked = "1"
				}
				body, list, err := allPages(cmd.Context(), c, "/v1/alerts", params("tenant", tenant, "state", state, "unacked", unacked), "alerts", limit, alertPage.read)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return alertGrid(list) }, func() {
					if len(list) == 0 {
						a.print("No alerts.\n")
						return
					}
					a.draw(alertGrid(list))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&state, "state", "", "only alerts in this state: firing, resolved, superseded or expired")
	cmd.Flags().BoolVar(&unread, "unacked", false, "only those that nobody has taken note of")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "how many at most (0: all)")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{string(alerting.Firing), string(alerting.Ended),
		string(alerting.Replaced), string(alerting.Over)}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// alertPage is a page of GET /v1/alerts.
type alertPage struct {
	Alerts     []alertLine `json:"alerts"`
	NextCursor string      `json:"next_cursor"`
}

func (p alertPage) read() ([]alertLine, string) { return p.Alerts, p.NextCursor }

func alertGrid(list []alertLine) grid {
	g := grid{columns: []column{textColumn("severity"), numberColumn("crossed"), textColumn("what"), textColumn("period"), textColumn("tenant"),
		textColumn("fired at"), textColumn("state"), textColumn("alert")}}
	for i := range list {
		l := &list[i]
		crossed := "" // of a rule there is no threshold
		if l.Threshold > 0 {
			crossed = strconv.Itoa(l.Threshold) + "%"
		}
		g.rows = append(g.rows, []string{l.Severity, crossed, l.Title, l.Period, l.Tenant, stamp(l.FiredAt), l.State, l.ID})
	}
	return g
}
