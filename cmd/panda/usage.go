package main

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

// usageFlags are the flags of usage and cost.
type usageFlags struct {
	tenant, month, day string
	by                 []string
}

const usageLong = `%s

The answer counts everything that was acknowledged before the command started.
Amounts are exact; calls whose model has no price are not part of any amount and
are named below the table.

Dimensions for --by: provider, model, department, cost_center, agent.
Months and days are UTC.`

// newUsage is `panda usage`: calls and tokens.
func newUsage(a *app) *cobra.Command {
	return newUsageCommand(a, "usage", "Show calls and tokens of a month or a day", drawUsage,
		"  panda usage --tenant acme-corp --month 2026-02\n  panda usage --tenant acme-corp --day 2026-02-14 --by model,agent -o csv")
}

// newCost is `panda cost`: money and shares.
func newCost(a *app) *cobra.Command {
	return newUsageCommand(a, "cost", "Show what a month or a day costs, and who spends it", drawCost,
		"  panda cost --tenant acme-corp --month 2026-02\n  panda cost --tenant acme-corp --by department,model -o json")
}

func newUsageCommand(a *app, use, short string, draw func(*app, usageReport, []schemas.Money), example string) *cobra.Command {
	var f usageFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Long: fmt.Sprintf(usageLong, short+"."), Example: example,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.month != "" && f.day != "" {
				return usagef("give --month or --day, not both")
			}
			if f.month == "" && f.day == "" {
				f.month = schemas.WindowOf(schemas.GrainMonth, time.Now()).String()
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				report, body, err := c.usage(cmd.Context(), f)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return usageCSV(report) }, func() {
					var budget *schemas.Money
					if use == "cost" {
						budget = c.budget(cmd.Context(), report)
					}
					a.drawReport(report, budget, draw)
				})
			})
		},
	}
	a.tenantFlag(cmd, &f.tenant)
	cmd.Flags().StringVar(&f.month, "month", "", "month, such as 2026-02 (empty: this month)")
	cmd.Flags().StringVar(&f.day, "day", "", "day, such as 2026-02-14, instead of a month")
	cmd.Flags().StringSliceVar(&f.by, "by", []string{"model"}, "dimensions, separated by commas; the order is that of the columns")
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(
		[]string{"provider", "model", "department", "cost_center", "agent"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// drawReport writes a report for people: what it is about, the table, and what
// to know about its numbers.
func (a *app) drawReport(r usageReport, budget *schemas.Money, draw func(*app, usageReport, []schemas.Money)) {
	a.print("%s, %s\n", visible(r.tenantName()), windowTitle(r))
	if len(r.Rows) == 0 {
		a.print("\nNo usage in %s.\n", r.window())
		a.print("Send events to POST /v1/events, or bring history in with: panda import FILE\n")
		return
	}
	costs := make([]schemas.Money, len(r.Rows))
	for i := range r.Rows {
		costs[i] = r.Rows[i].Cost
	}
	if budget != nil {
		a.drawBudget(r.Total.Cost, *budget)
	}
	a.print("\n")
	draw(a, r, costs)
	a.print("\n")
	a.drawUnpriced(r)
	a.print("As of %s UTC, log position %s", stamp(r.AsOf.Time), grouped(r.AsOf.Seq))
	if r.AsOf.PriceRevision > 0 {
		a.print(", prices revision %d", r.AsOf.PriceRevision)
	}
	a.print(".\n")
}

// drawBudget writes the month's cost against the budget and a bar of it.
func (a *app) drawBudget(cost, budget schemas.Money) {
	if budget.Sign() <= 0 {
		return
	}
	const barCells = 20
	percent := percentOf(cost, budget)
	cells := new(big.Int).Div(new(big.Int).Mul(percent, big.NewInt(barCells)), big.NewInt(100))
	full := barCells
	if cells.IsInt64() {
		full = int(min(max(cells.Int64(), 0), barCells))
	}
	a.print("Total cost: %s / %s (%s%%)\n", cost.Display(), budget.Display(), percent)
	a.print("%s%s %s%%\n", strings.Repeat(a.sign("█", "#"), full), strings.Repeat(a.sign("░", "."), barCells-full), percent)
}

// drawUnpriced names the calls that no price is known for.
func (a *app) drawUnpriced(r usageReport) {
	if r.Total.Unpriced == 0 {
		return
	}
	var models []string
	if i := slices.Index(r.By, "model"); i >= 0 {
		for _, row := range r.Rows {
			if row.Unpriced > 0 && !slices.Contains(models, row.dimension(i, r.By)) {
				models = append(models, row.dimension(i, r.By))
			}
		}
	}
	verb := "have"
	if r.Total.Unpriced == 1 {
		verb = "has"
	}
	a.print("%s %s %s no price and %s not in the cost", a.sign("⚠", "!"), plural(r.Total.Unpriced, "call", "calls"), verb,
		map[string]string{"have": "are", "has": "is"}[verb])
	const namedMax = 5
	if n := len(models); n > 0 {
		a.print(": %s", visible(strings.Join(models[:min(n, namedMax)], ", ")))
		if n > namedMax {
			a.print(" and %d more", n-namedMax)
		}
	}
	a.print(".\n  Bring prices in with: panda prices import FILE; what is known: panda prices list\n")
}

// drawUsage is the table of `panda usage`.
func drawUsage(a *app, r usageReport, costs []schemas.Money) {
	g := grid{columns: dimensionColumns(r.By)}
	for _, title := range []string{"calls", "errors", "input", "cache read", "output", "tokens", "cost"} {
		g.columns = append(g.columns, numberColumn(title))
	}
	decimals := decimalsOf(append(costs, r.Total.Cost))
	line := func(names []string, n *usageNumbers) []string {
		return append(names, grouped(n.Calls), grouped(n.Errors), grouped(n.InputTotal), grouped(n.Tokens["cache_read"]),
			grouped(n.OutputTotal), grouped(n.TokensTotal), costCell(n, decimals))
	}
	for i := range r.Rows {
		g.rows = append(g.rows, line(r.Rows[i].names(r.By), &r.Rows[i].usageNumbers))
	}
	g.footer = line(totalNames(len(r.By)), &r.Total)
	a.draw(g)
}

// drawCost is the table of `panda cost`.
func drawCost(a *app, r usageReport, costs []schemas.Money) {
	g := grid{columns: append(dimensionColumns(r.By), numberColumn("calls"), numberColumn("input"),
		numberColumn("output"), numberColumn("cost"), numberColumn("share"))}
	decimals := decimalsOf(append(costs, r.Total.Cost))
	parts := shares(costs)
	line := func(names []string, n *usageNumbers, share string) []string {
		return append(names, grouped(n.Calls), grouped(n.InputTotal), grouped(n.OutputTotal),
			costCell(n, decimals), share)
	}
	for i := range r.Rows {
		n := &r.Rows[i].usageNumbers
		g.rows = append(g.rows, line(r.Rows[i].names(r.By), n, shareCell(parts, i, n)))
	}
	whole := ""
	if parts != nil {
		whole = "100%"
	}
	g.footer = line(totalNames(len(r.By)), &r.Total, whole)
	a.draw(g)
}

// costCell is an exact cost, where one is known: a model without a price does
// not cost nothing.
func costCell(n *usageNumbers, decimals int) string {
	if n.costUnknown() {
		return "no price"
	}
	return dollars(n.Cost, decimals)
}

func shareCell(parts []int, i int, n *usageNumbers) string {
	switch {
	case parts == nil || n.costUnknown():
		return ""
	case parts[i] == 0 && n.Cost.Sign() > 0:
		return "<1%"
	}
	return strconv.Itoa(parts[i]) + "%"
}

func dimensionColumns(by []string) []column {
	cols := make([]column, 0, len(by)+7)
	for _, d := range by {
		cols = append(cols, textColumn(strings.ReplaceAll(d, "_", " ")))
	}
	return cols
}

// totalNames labels the row of totals.
func totalNames(dimensions int) []string {
	names := make([]string, dimensions, dimensions+7)
	if dimensions > 0 {
		names[0] = "Total"
	}
	return names
}

// usageCSV is the whole report, one line per row, every bucket a column.
func usageCSV(r usageReport) grid {
	g := grid{}
	for _, d := range r.By {
		g.columns = append(g.columns, textColumn(d))
	}
	titles := []string{"calls", "errors", "unpriced", "latency_ms"}
	for b := range schemas.Bucket(schemas.BucketCount) {
		titles = append(titles, b.Column())
	}
	titles = append(titles, "input_tokens_total", "output_tokens_total", "tokens_total", "cost", "share_percent")
	for _, t := range titles {
		g.columns = append(g.columns, numberColumn(t))
	}
	costs := make([]schemas.Money, len(r.Rows))
	for i := range r.Rows {
		costs[i] = r.Rows[i].Cost
	}
	parts := shares(costs)
	for i := range r.Rows {
		row := &r.Rows[i]
		cells := make([]string, 0, len(g.columns))
		for d := range r.By {
			cells = append(cells, row.dimension(d, r.By))
		}
		for _, n := range []int64{row.Calls, row.Errors, row.Unpriced, row.LatencyMS} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		for b := range schemas.Bucket(schemas.BucketCount) {
			cells = append(cells, strconv.FormatInt(row.Tokens[b.String()], 10))
		}
		for _, n := range []int64{row.InputTotal, row.OutputTotal, row.TokensTotal} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		cost, share := row.Cost.String(), ""
		switch {
		case row.costUnknown():
			cost = ""
		case parts != nil:
			share = strconv.Itoa(parts[i])
		}
		g.rows = append(g.rows, append(cells, cost, share))
	}
	return g
}

// windowTitle is the window in words: "February 2026", "14 February 2026".
func windowTitle(r usageReport) string {
	if t, err := time.Parse("2006-01", r.Month); err == nil {
		return t.Format("January 2006")
	}
	if t, err := time.Parse("2006-01-02", r.Day); err == nil {
		return t.Format("2 January 2006")
	}
	return r.window()
}
