package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// usageLevel is how much of a quota is used.
type usageLevel struct {
	Name string `json:"name"` // agents, tokens, …
	// Current is nil where nobody counts it.
	Current *quantity `json:"current"`
	Max     quantity  `json:"max"`
	Unit    string    `json:"unit"`
}

// quantity is a number of the API, exact: 47.3, "47.3", or "unlimited".
type quantity struct {
	n         schemas.Money
	unlimited bool
}

// UnmarshalJSON reads a number or the word.
func (q *quantity) UnmarshalJSON(text []byte) (err error) {
	word := strings.Trim(string(text), `"`)
	if q.unlimited = word == tenancy.Unlimited.String(); !q.unlimited {
		q.n, err = schemas.ParseMoney(word)
	}
	return err
}

// String is the quantity for people, with no more decimals than it has.
func (q quantity) String() string {
	text := q.plain()
	if q.unlimited {
		return text
	}
	whole, decimals, _ := strings.Cut(text, ".")
	if decimals != "" {
		decimals = "." + decimals
	}
	return schemas.GroupDigits(whole) + decimals
}

// plain is the quantity for machines.
func (q quantity) plain() string {
	if q.unlimited {
		return tenancy.Unlimited.String()
	}
	text := q.n.String()
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

const tenantUsageLong = `Shows how much of its limits a tenant uses, in words; -o json and -o csv are for machines.

--detailed writes every event of the tenant, a line each with its tokens and its cost, to hold against a
bill: to the file of --output, which is there when all of it is, or to standard output. The file is CSV,
or JSON lines if it ends in .json or .jsonl. --month bounds it to a UTC month by the events' own time.`

func newTenantUsage(a *app) *cobra.Command {
	var detailed bool
	var month, output string
	cmd := &cobra.Command{
		Use: "usage TENANT", Short: "Show how much of its limits a tenant uses, or with --detailed every event", Long: tenantUsageLong,
		Args:              cobra.ExactArgs(1),
		Example:           "  panda tenant usage acme-corp\n  panda tenant usage acme-corp --detailed --month 2026-02 --output usage.csv",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			d := detail{app: a, tenant: args[0], month: month}
			if err := d.settle(output); err != nil {
				return err
			}
			if detailed {
				return a.with(cmd.Context(), func(c *apiClient) error { return d.write(cmd.Context(), c) })
			}
			if month != "" || d.file != "" {
				return usagef("--month and a file to write to are for --detailed")
			}
			a.output = output
			return a.with(cmd.Context(), func(c *apiClient) error { return a.showLevels(cmd.Context(), c, args[0]) })
		},
	}
	cmd.Flags().BoolVar(&detailed, "detailed", false, "every event, a line each")
	cmd.Flags().StringVar(&month, "month", "", "with --detailed: only this month, such as 2026-02")
	cmd.Flags().StringVarP(&output, "output", "o", envOr(a.getenv, "PANDA_OUTPUT", outputTable), "table, json or csv; with --detailed also a file")
	return cmd
}

func (a *app) showLevels(ctx context.Context, c *apiClient, tenant string) error {
	answer, raw, err := call[struct {
		Levels []usageLevel `json:"levels"`
	}](ctx, c, get(tenantPath(tenant, "usage-levels"), nil))
	if err != nil {
		return err
	}
	return a.show(raw, func() grid { return levelGrid(answer.Levels) }, func() {
		for i := range answer.Levels {
			a.print("%s\n", visible(answer.Levels[i].line(a.sign("⚠", "!"))))
		}
	})
}

// levelTitles are the names of levels in the product's guide.
var levelTitles = map[string]string{
	"agents": "Agents", "tokens": "Tokens", "storage": "Storage", "sessions": "Concurrent sessions", "calls_per_minute": "API calls/min",
}

// nearLimit is the percentage from which a level is worth a word, as for budgets.
const nearLimit = 80

// line is a level as the product's guide writes it: "Agents: 100/100 ⚠ At limit".
func (l *usageLevel) line(mark string) string {
	title := levelTitles[l.Name]
	if title == "" {
		title = strings.ReplaceAll(l.Name, "_", " ")
	}
	unit := ""
	if l.Unit == "GB" {
		unit = " GB"
	}
	if l.Current == nil {
		return title + ": unknown/" + l.Max.String() + unit
	}
	text := title + ": " + l.Current.String() + "/" + l.Max.String() + unit
	if l.Max.unlimited {
		return text
	}
	switch over := l.Current.n.Cmp(l.Max.n); {
	case over > 0:
		return text + " " + mark + " Over limit"
	case over == 0:
		return text + " " + mark + " At limit"
	}
	percent := percentOf(l.Current.n, l.Max.n).Int64() // below 100
	if percent >= nearLimit {
		return text + " " + mark + " " + strconv.FormatInt(percent, 10) + "%, near the limit"
	}
	return text + " (" + strconv.FormatInt(percent, 10) + "%)"
}

func levelGrid(levels []usageLevel) grid {
	g := grid{columns: []column{textColumn("name"), numberColumn("current"), numberColumn("max"), textColumn("unit")}}
	for i := range levels {
		l := &levels[i]
		current := ""
		if l.Current != nil {
			current = l.Current.plain()
		}
		g.rows = append(g.rows, []string{l.Name, current, l.Max.plain(), l.Unit})
	}
	return g
}

// detail writes the events of a tenant. It holds a page of them at a time, however many
// there are.
type detail struct {
	*app
	tenant, month string
	from, to      time.Time // of month; zero without
	file, form    string
	lines         atomic.Int64 // that were written; progress reads it
}

// settle reads the flags: --output is one of the forms, or a file whose ending names one.
func (d *detail) settle(output string) error {
	switch output {
	case outputJSON:
		d.form = outputJSON
	case outputCSV, outputTable:
		d.form = outputCSV // a table has to be held whole before it can be drawn
	default:
		d.file, d.form = output, outputCSV
		switch strings.ToLower(filepath.Ext(output)) {
		case ".json", ".jsonl", ".ndjson":
			d.form = outputJSON
		case ".csv", ".txt", "":
		default:
			return usagef("--output %q: a file ends in .csv, .json or .jsonl", output)
		}
	}
	if d.month == "" {
		return nil
	}
	start, err := time.Parse("2006-01", d.month)
	if err != nil {
		return usagef("--month %q: write a month such as 2026-02", d.month)
	}
	d.from, d.to = start, start.AddDate(0, 1, 0)
	return nil
}

// detailPage is how many events are asked for at once; it is the server's limit.
const detailPage = 1000

func (d *detail) write(ctx context.Context, c *apiClient) error {
	err := d.writeWhole(d.file, func(w io.Writer) error {
		put, end, err := d.writer(w)
		if err != nil {
			return err
		}
		stop := ticking(linesEvery, func() { d.say("%s: %s events\n", d.tenant, grouped(d.lines.Load())) }, func() {})
		defer stop()
		if err := d.pages(ctx, c, put); err != nil {
			return err
		}
		return end()
	})
	if err == nil && d.file != "" {
		d.say("%s: %s of tenant %s\n", d.file, plural(d.lines.Load(), "event", "events"), visible(d.tenant))
	}
	return err
}

// pages reads the events, the newest first, and hands them to put.
func (d *detail) pages(ctx context.Context, c *apiClient, put func(*storedEvent, json.RawMessage) error) error {
	q := params("tenant", d.tenant, "limit", strconv.Itoa(detailPage))
	for {
		page, body, err := call[eventPage](ctx, c, get("/v1/events", q))
		if err != nil {
			return err
		}
		var raws struct{ Events []json.RawMessage }
		if err := json.Unmarshal(body, &raws); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for i := range page.Events {
			at := page.Events[i].Event.Time
			if d.month != "" && !at.Before(d.to) {
				continue
			}
			if d.month != "" && at.Before(d.from) {
				return nil // they come in the order of their time
			}
			if err := put(&page.Events[i], raws.Events[i]); err != nil {
				return fmt.Errorf("write %s: %w", d.file, err)
			}
			d.lines.Add(1)
		}
		if page.NextCursor == "" {
			return nil
		}
		q.Set("cursor", page.NextCursor)
	}
}

// writer returns how an event is written, and what is left to do at the end.
func (d *detail) writer(w io.Writer) (put func(*storedEvent, json.RawMessage) error, end func() error, err error) {
	if d.form == outputJSON {
		return func(_ *storedEvent, raw json.RawMessage) error {
			_, err := w.Write(append(raw, '\n'))
			return err
		}, func() error { return nil }, nil
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	header := []string{"time", "type", "source", "id", "provider", "model", "department", "cost_center", "agent", "user", "session", "status", "service_tier"}
	for b := range schemas.Bucket(schemas.BucketCount) {
		header = append(header, b.String()+tokensSuffix)
	}
	header = append(header, "units", "calls", "cost", "unpriced_reason", "price_revision", "received_at", "seq", "idx")
	return func(e *storedEvent, _ json.RawMessage) error { return out.Write(e.csvLine()) }, func() error {
		out.Flush()
		return out.Error()
	}, out.Write(header)
}

func (e *storedEvent) csvLine() []string {
	v := &e.Event.Data
	line := []string{e.Event.Time.UTC().Format(time.RFC3339Nano), e.Event.Type, e.Event.Source, e.Event.ID, v.Provider, v.Model,
		v.Department, v.CostCenter, v.Agent, v.User, v.Session, v.Status, v.ServiceTier}
	for i := range line {
		line[i] = neutralised(line[i])
	}
	for b := range schemas.Bucket(schemas.BucketCount) {
		line = append(line, strconv.FormatInt(v.Tokens[b.String()], 10))
	}
	cost := ""
	if e.Cost != nil {
		cost = e.Cost.String()
	}
	var units []string
	for _, name := range sortedNames(v.Units) {
		units = append(units, name+"="+strconv.FormatInt(v.Units[name], 10))
	}
	return append(line, neutralised(strings.Join(units, " ")), strconv.FormatInt(e.Calls, 10), cost, neutralised(e.UnpricedReason), strconv.FormatInt(e.PriceRevision, 10),
		e.ReceivedAt.UTC().Format(time.RFC3339Nano), strconv.FormatInt(e.Seq, 10), strconv.FormatInt(e.Idx, 10))
}
