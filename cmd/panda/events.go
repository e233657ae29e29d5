package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

// storedEvent is an accepted event as GET /v1/events shows it.
type storedEvent struct {
	Seq            int64          `json:"seq"`
	Idx            int64          `json:"idx"`
	ReceivedAt     time.Time      `json:"received_at"`
	Event          cloudEvent     `json:"event"`
	Calls          int64          `json:"calls"`
	Cost           *schemas.Money `json:"cost"`
	UnpricedReason string         `json:"unpriced_reason"`
	PriceRevision  int64          `json:"price_revision"`
	// ReportedModel is the name of the model in the price book.
	ReportedModel string `json:"reported_model"`
	// Lines are the multiplications of the cost; only where one event is asked for.
	Lines []costLine `json:"lines"`
}

// costLine is one multiplication: how many of what, at which price.
type costLine struct {
	Item        string        `json:"item"`
	Quantity    int64         `json:"quantity"`
	UnitPrice   schemas.Money `json:"unit_price"`
	ServiceTier string        `json:"service_tier"`
	ContextOver int64         `json:"context_over"`
	Amount      schemas.Money `json:"amount"`
}

// cloudEvent is an event on the wire.
type cloudEvent struct {
	ID     string    `json:"id"`
	Source string    `json:"source"`
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	Data   struct {
		Provider     string                     `json:"provider"`
		Model        string                     `json:"model"`
		Department   string                     `json:"department"`
		CostCenter   string                     `json:"cost_center"`
		Agent        string                     `json:"agent"`
		User         string                     `json:"user"`
		Session      string                     `json:"session"`
		Run          string                     `json:"run"`
		ParentRun    string                     `json:"parent_run"`
		Status       string                     `json:"status"`
		Error        string                     `json:"error"`
		LatencyMS    int64                      `json:"latency_ms"`
		Completeness string                     `json:"completeness"`
		ServiceTier  string                     `json:"service_tier"`
		Tokens       map[string]int64           `json:"tokens"`
		Units        map[string]int64           `json:"units"`
		Levels       map[string]json.RawMessage `json:"levels"`
		Tags         map[string]string          `json:"tags"`
		Amount       json.RawMessage            `json:"amount"`
		Corrects     *struct {
			Source string `json:"source"`
			ID     string `json:"id"`
		} `json:"corrects"`
	} `json:"data"`
}

type eventPage struct {
	Events     []storedEvent `json:"events"`
	NextCursor string        `json:"next_cursor"`
}

// newEvents is `panda events`.
func newEvents(a *app) *cobra.Command {
	return group("events", "Look at accepted events", newEventsTail(a), newEventsShow(a))
}

func newEventsTail(a *app) *cobra.Command {
	var tenant string
	var follow bool
	var count int
	cmd := &cobra.Command{
		Use: "tail", Short: "Show the newest events, and with -f those that come", Args: cobra.NoArgs,
		Long: "Shows the newest events by their time, the newest last; -f goes on with those that arrive, whatever\n" +
			"their time. With -o json one event a line, as the API gives it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if count < 0 {
				return usagef("-n %d: a count is not negative", count)
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				t := eventTail{app: a, client: c, tenant: tenant}
				if follow {
					// Where to go on from is settled first, so that nothing falls between.
					if err := t.begin(cmd.Context()); err != nil {
						return err
					}
				}
				if err := t.newest(cmd.Context(), count); err != nil || !follow {
					return err
				}
				return t.follow(cmd.Context())
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().IntVarP(&count, "lines", "n", 20, "how many")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with events as they come, until interrupted")
	return cmd
}

// eventTail writes events as they are read.
type eventTail struct {
	app    *app
	client *apiClient
	tenant string
	after  string          // place that following goes on from
	seen   map[string]bool // places of the newest that were shown before following
	titled bool
}

// begin notes the end of the log.
func (t *eventTail) begin(ctx context.Context) error {
	s, _, err := call[summary](ctx, t.client, get("/v1/summary", params("tenant", t.tenant)))
	if err != nil {
		return err
	}
	t.after = fmt.Sprintf("%d-%d", s.Position.Ledger, math.MaxUint16)
	return nil
}

// newest writes the newest n events, oldest first.
func (t *eventTail) newest(ctx context.Context, n int) error {
	t.seen = map[string]bool{}
	if n == 0 {
		return nil
	}
	body, events, err := allPages(ctx, t.client, "/v1/events", params("tenant", t.tenant), "events", n,
		func(p eventPage) ([]storedEvent, string) { return p.Events, p.NextCursor })
	if err != nil {
		return err
	}
	if len(events) == 0 && t.app.output == outputTable {
		t.app.say("No events yet.\n")
	}
	var raws struct{ Events []json.RawMessage }
	if err := json.Unmarshal(body, &raws); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	slices.Reverse(events)
	slices.Reverse(raws.Events)
	for i := range events {
		t.seen[events[i].place()] = true
	}
	return t.write(events, raws.Events)
}

// follow writes events as they come. The server holds each request until there
// is one, or some seconds have passed.
func (t *eventTail) follow(ctx context.Context) error {
	for {
		page, body, err := call[eventPage](ctx, t.client, get("/v1/events",
			params("tenant", t.tenant, "after", t.after, "wait", "10s", "limit", strconv.Itoa(pageMax))))
		if err != nil {
			return err
		}
		var raws struct{ Events []json.RawMessage }
		if err := json.Unmarshal(body, &raws); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for i := range page.Events {
			t.after = page.Events[i].place()
			if t.seen[t.after] {
				continue
			}
			if err := t.write(page.Events[i:i+1], raws.Events[i:i+1]); err != nil {
				return err
			}
		}
	}
}

// place is where the event is on the log.
func (e *storedEvent) place() string { return fmt.Sprintf("%d-%d", e.Seq, e.Idx) }

// tailLine lays out a line of the tail. The widths are fixed because lines are
// written before the next are known; what does not fit pushes its line only.
const tailLine = "%-19s  %-15s  %-24s  %-14s  %-18s  %12s  %16s  %s\n"

func (t *eventTail) write(events []storedEvent, raws []json.RawMessage) error {
	switch t.app.output {
	case outputJSON:
		for _, raw := range raws {
			t.app.print("%s\n", raw)
		}
		return nil
	case outputCSV:
		return t.writeCSV(events)
	}
	if !t.titled {
		t.app.print(tailLine, "TIME (UTC)", "TYPE", "MODEL", "DEPARTMENT", "AGENT", "TOKENS", "COST", "ID")
		t.titled = true
	}
	for i := range events {
		e := &events[i]
		d := &e.Event.Data
		t.app.print(tailLine, stamp(e.Event.Time), visible(e.Event.Type), orDash(d.Model), orDash(d.Department),
			orDash(d.Agent), grouped(e.tokens()), e.costText(), visible(e.Event.ID))
	}
	return nil
}

func (t *eventTail) writeCSV(events []storedEvent) error {
	g := grid{columns: []column{textColumn("time"), textColumn("type"), textColumn("source"), textColumn("id"),
		textColumn("provider"), textColumn("model"), textColumn("department"), textColumn("agent"),
		numberColumn("tokens"), numberColumn("cost")}}
	for i := range events {
		e := &events[i]
		d := &e.Event.Data
		cost := ""
		if e.Cost != nil {
			cost = e.Cost.String()
		}
		g.rows = append(g.rows, []string{e.Event.Time.UTC().Format(time.RFC3339Nano), e.Event.Type, e.Event.Source, e.Event.ID,
			d.Provider, d.Model, d.Department, d.Agent, strconv.FormatInt(e.tokens(), 10), cost})
	}
	if t.titled {
		return t.app.writeCSVRows(g)
	}
	t.titled = true
	return t.app.writeCSV(g)
}

func (e *storedEvent) tokens() int64 {
	var sum int64
	for _, n := range e.Event.Data.Tokens {
		sum += n
	}
	return sum
}

func (e *storedEvent) costText() string {
	if e.Cost == nil {
		return "no price"
	}
	return dollars(*e.Cost, 0)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return visible(s)
}

func newEventsShow(a *app) *cobra.Command {
	var tenant, source string
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show an event and how its cost comes about", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				page, body, err := call[eventPage](cmd.Context(), c, get("/v1/events",
					params("tenant", tenant, "id", args[0], "source", source)))
				if err != nil {
					return err
				}
				if len(page.Events) == 0 {
					return &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no accepted event %q", args[0])}
				}
				if a.output == outputCSV {
					return (&eventTail{app: a}).writeCSV(page.Events)
				}
				return a.show(body, nil, func() {
					for i := range page.Events {
						if i > 0 {
							a.print("\n")
						}
						a.drawEvent(&page.Events[i])
					}
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&source, "source", "", "source of the event, if several use the id")
	return cmd
}

// drawEvent writes an event whole.
func (a *app) drawEvent(e *storedEvent) {
	d := &e.Event.Data
	latency := ""
	if d.LatencyMS > 0 {
		latency = grouped(d.LatencyMS) + " ms"
	}
	pairs := [][2]string{
		{"ID", e.Event.ID}, {"Source", e.Event.Source}, {"Type", e.Event.Type},
		{"Time", e.Event.Time.UTC().Format(time.RFC3339Nano)},
		{"Received", fmt.Sprintf("%s at log position %d, index %d", e.ReceivedAt.UTC().Format(time.RFC3339Nano), e.Seq, e.Idx)},
		{"Provider", d.Provider}, {"Model", d.Model}, {"Priced as", pricedAs(e)}, {"Service tier", d.ServiceTier}, {"Department", d.Department},
		{"Cost center", d.CostCenter}, {"Agent", d.Agent}, {"User", d.User}, {"Session", d.Session}, {"Run", d.Run},
		{"Parent run", d.ParentRun}, {"Status", d.Status}, {"Error", d.Error}, {"Latency", latency},
		{"Completeness", d.Completeness}, {"Amount", strings.Trim(string(d.Amount), `"`)},
	}
	if d.Corrects != nil {
		pairs = append(pairs, [2]string{"Corrects", d.Corrects.Source + " " + d.Corrects.ID})
	}
	for _, k := range sortedNames(d.Tags) {
		pairs = append(pairs, [2]string{"Tag " + visible(k), d.Tags[k]})
	}
	for _, k := range sortedNames(d.Levels) {
		pairs = append(pairs, [2]string{"Level " + visible(k), strings.Trim(string(d.Levels[k]), `"`)})
	}
	a.fields(pairs)
	a.drawCostOf(e)
}

// drawCostOf writes the event's counts, and price by price how they make the
// cost, as the server explains it from the revision that was in force.
func (a *app) drawCostOf(e *storedEvent) {
	g := grid{columns: []column{textColumn("what"), numberColumn("count")}}
	switch {
	case len(e.Lines) > 0:
		g.columns = append(g.columns, numberColumn("price"), numberColumn("amount"), textColumn("tier"))
		for _, l := range e.Lines {
			g.rows = append(g.rows, []string{strings.ReplaceAll(l.Item, "_", " "), grouped(l.Quantity), l.priceText(),
				dollars(l.Amount, e.decimals()), l.tierText()})
		}
		g.footer = []string{"Cost", "", "", dollars(*e.Cost, e.decimals()), ""}
	default:
		for b := range schemas.Bucket(schemas.BucketCount) {
			if n := e.Event.Data.Tokens[b.String()]; n != 0 {
				g.rows = append(g.rows, []string{b.String() + " tokens", grouped(n)})
			}
		}
		for _, name := range sortedNames(e.Event.Data.Units) {
			g.rows = append(g.rows, []string{name, grouped(e.Event.Data.Units[name])})
		}
	}
	if len(g.rows) > 0 {
		a.print("\n")
		a.draw(g)
	}
	switch {
	case e.Cost == nil:
		a.print("\nNo price: %s. Bring prices in with: panda prices import FILE\n", orDash(e.UnpricedReason))
	case len(e.Lines) > 0:
		a.print("\nPrices revision %d.\n", e.PriceRevision)
	default:
		a.print("\nCost %s.\n", e.costText())
	}
}

// decimals is how many the amounts of the event need.
func (e *storedEvent) decimals() int {
	amounts := []schemas.Money{*e.Cost}
	for _, l := range e.Lines {
		amounts = append(amounts, l.Amount)
	}
	return decimalsOf(amounts)
}

// priceText is a price as price lists write it: per million tokens, per piece
// of anything else.
func (l *costLine) priceText() string {
	const perMillion = 1_000_000
	pico, small := l.UnitPrice.Int64()
	if _, tokens := schemas.ParseBucket(strings.TrimSuffix(l.Item, tokensSuffix)); tokens && small {
		return "$" + trimmedPrice(schemas.Mul(pico, perMillion)) + " / M"
	}
	return "$" + trimmedPrice(l.UnitPrice) + " each"
}

func (l *costLine) tierText() string {
	var parts []string
	if l.ServiceTier != "" {
		parts = append(parts, l.ServiceTier)
	}
	if l.ContextOver > 0 {
		parts = append(parts, "prompt over "+grouped(l.ContextOver))
	}
	return strings.Join(parts, ", ")
}

// pricedAs is the model's name in the price book where it differs.
func pricedAs(e *storedEvent) string {
	if e.ReportedModel == e.Event.Data.Model {
		return ""
	}
	return e.ReportedModel
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
