package main

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

// alertDetail is an alert as GET /v1/alerts/{alert} shows it.
type alertDetail struct {
	alertLine
	AckedBy   string            `json:"acked_by"`
	Cause     string            `json:"cause"`
	Used      alertAmount       `json:"used"`
	Max       alertAmount       `json:"max"`
	Forecast  alertAmount       `json:"forecast"`
	Condition string            `json:"condition"`
	Values    map[string]string `json:"values"`
	Next      string            `json:"next"`
	Models    []alertShare      `json:"models"`
	Agents    []alertShare      `json:"agents"`
	History   []struct {
		Kind  string      `json:"kind"`
		At    time.Time   `json:"at"`
		Cause string      `json:"cause"`
		Actor string      `json:"actor"`
		Used  alertAmount `json:"used"`
		Max   alertAmount `json:"max"`
	} `json:"history"`
	ExhaustedAt time.Time `json:"exhausted_at"`
}

type alertAmount struct {
	Unit  string        `json:"unit"`
	Money schemas.Money `json:"money"`
	Count int64         `json:"count"`
}

// String is the amount for people, "" if it is not known.
func (m alertAmount) String() string {
	switch m.Unit {
	case "":
		return ""
	case "USD":
		return m.Money.Display()
	}
	return grouped(m.Count) + " " + m.Unit
}

type alertShare struct {
	Name    string        `json:"name"`
	Cost    schemas.Money `json:"cost"`
	Percent int           `json:"percent"`
}

// newAlertsShow is `panda alerts show`.
func newAlertsShow(a *app) *cobra.Command {
	return newAlertCommand(a, &cobra.Command{
		Use: "show ALERT", Short: "Show what crossed, what led there, and what became of it",
		Example: "  panda alerts show alr_45aa1f54b5052bbe3f1967cb",
	}, func(id string) (request, error) {
		return request{method: http.MethodGet, path: "/v1/alerts/" + url.PathEscape(id)}, nil
	}, nil)
}

// newAlertsAck is `panda alerts ack`.
func newAlertsAck(a *app) *cobra.Command {
	return newAlertCommand(a, &cobra.Command{
		Use: "ack ALERT", Short: "Take note of an alert, so that others know that somebody has",
		Long: "The first one who does stands. An alert that fires again has to be acked again.",
	}, func(id string) (request, error) {
		return request{method: http.MethodPost, path: "/v1/alerts/" + url.PathEscape(id) + "/ack", retry: true}, nil
	}, func(d *alertDetail) {
		a.print("%s %s is acked by %s\n", a.sign("✓", "ok"), d.ID, visible(d.AckedBy))
	})
}

// newAlertCommand completes a command about one alert. say writes the answer for people;
// nil writes all of it.
func newAlertCommand(a *app, cmd *cobra.Command, of func(id string) (request, error), say func(*alertDetail)) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.with(cmd.Context(), func(c *apiClient) error {
			r, err := of(args[0])
			if err != nil {
				return err
			}
			d, body, err := call[alertDetail](cmd.Context(), c, r)
			if err != nil {
				return err
			}
			return a.show(body, func() grid { return alertGrid([]alertLine{d.alertLine}) }, func() {
				if say != nil {
					say(&d)
					return
				}
				a.drawAlert(&d)
			})
		})
	}
	return cmd
}

func (a *app) drawAlert(d *alertDetail) {
	a.print("%s\n\n", a.paint(visible(d.Title), severityColours(d.Severity)...))
	rows := [][2]string{{"Alert", d.ID}, {"Tenant", d.Tenant}, {"State", strings.TrimSpace(d.State + " " + causeText(d.Cause))}, {"Severity", d.Severity},
		{"Fired at", stamp(d.FiredAt)}, {"Period", d.Period}}
	if d.Used.Unit != "" {
		rows = append(rows, [2]string{"Used", d.Used.String() + " of " + d.Max.String()})
	}
	if d.Forecast.Unit != "" {
		rows = append(rows, [2]string{"Forecast", d.Forecast.String() + " by the end of the period"})
	}
	if !d.ExhaustedAt.IsZero() {
		rows = append(rows, [2]string{"Reached at", stamp(d.ExhaustedAt) + " at this rate"})
	}
	rows = append(rows, [2]string{"Condition", d.Condition}, [2]string{"Models", sharesText(d.Models)}, [2]string{"Agents", sharesText(d.Agents)},
		[2]string{"Next", d.Next}, [2]string{"Acked by", d.AckedBy})
	shown := rows[:0]
	for _, r := range rows {
		if r[1] != "" {
			shown = append(shown, r)
		}
	}
	a.fields(shown)
	a.print("\n")
	g := grid{columns: []column{textColumn("at"), textColumn("what"), textColumn("why"), textColumn("used"), textColumn("by")}}
	for i := range d.History {
		h := &d.History[i]
		used := ""
		if h.Used.Unit != "" {
			used = h.Used.String() + " of " + h.Max.String()
		}
		g.rows = append(g.rows, []string{stamp(h.At), h.Kind, causeText(h.Cause), used, h.Actor})
	}
	a.draw(g)
}

func sharesText(shares []alertShare) string {
	texts := make([]string, len(shares))
	for i, s := range shares {
		texts[i] = s.Name + " " + strconv.Itoa(s.Percent) + "%" + " (" + s.Cost.Display() + ")"
	}
	return strings.Join(texts, ", ")
}

// severityColours are those of a severity's title.
func severityColours(severity string) []text.Color {
	switch severity {
	case "critical":
		return []text.Color{text.FgRed, text.Bold}
	case "warning":
		return []text.Color{text.FgYellow}
	}
	return []text.Color{text.Bold}
}

// causeText says for people why an alert is over.
func causeText(cause string) string {
	return map[string]string{"correction": "usage was corrected", "limit_changed": "the limit was changed", "period_over": "the period is over",
		"condition_over": "the condition does not hold any more", "rule_removed": "the rule is gone"}[cause]
}
