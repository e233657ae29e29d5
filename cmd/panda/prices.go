package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

// priceList is the answer of GET /v1/prices.
type priceList struct {
	Revision struct {
		Number  int64     `json:"number"`
		Created time.Time `json:"created"`
		Actor   string    `json:"actor"`
		Note    string    `json:"note"`
		Source  string    `json:"source"`
	} `json:"revision"`
	Rows []schemas.PriceRow `json:"rows"`
}

// newPrices is `panda prices`.
func newPrices(a *app) *cobra.Command {
	return group("prices", "See and import model prices", newPricesList(a), newPricesShow(a), newPricesImport(a))
}

func newPricesList(a *app) *cobra.Command {
	var query, provider, at string
	cmd := &cobra.Command{
		Use: "list", Short: "List prices in USD per million tokens", Args: cobra.NoArgs,
		Example: "  panda prices list -q sonnet\n  panda prices list --provider openai -o csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				list, body, err := call[priceList](cmd.Context(), c, get("/v1/prices",
					params("q", query, "provider", provider, "at", at)))
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return priceGrid(list.Rows, true) }, func() { a.drawPrices(list) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&query, "query", "q", "", "text in provider, model or name")
	f.StringVar(&provider, "provider", "", "provider")
	f.StringVar(&at, "at", "", "prices that hold at this time, RFC 3339 (empty: now)")
	return cmd
}

func (a *app) drawPrices(list priceList) {
	if len(list.Rows) == 0 {
		a.print("No price matches.\n")
		return
	}
	a.print("USD per million tokens.\n\n")
	a.draw(priceGrid(list.Rows, false))
	a.print("\n%s", plural(int64(len(list.Rows)), "price", "prices"))
	a.drawRevision(list)
}

func (a *app) drawRevision(list priceList) {
	if list.Revision.Number > 0 {
		a.print(", revision %d of %s UTC", list.Revision.Number, stamp(list.Revision.Created))
	}
	a.print(".\n")
	if list.Revision.Source != "" {
		a.print("Source: %s\n", visible(list.Revision.Source))
	}
}

// pricePath is the address of a model's prices. A model may have slashes; a
// provider of "-" is the model's own.
func pricePath(provider, model string) string {
	parts := strings.Split(model, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return "/v1/prices/" + url.PathEscape(cmp.Or(provider, "-")) + "/" + strings.Join(parts, "/")
}

// priceGrid is the list prices; wide has every bucket.
func priceGrid(rows []schemas.PriceRow, wide bool) grid {
	buckets := []schemas.Bucket{schemas.Input, schemas.CacheRead, schemas.CacheWrite5m, schemas.Output}
	if wide {
		buckets = buckets[:0]
		for b := range schemas.Bucket(schemas.BucketCount) {
			buckets = append(buckets, b)
		}
	}
	g := grid{columns: []column{textColumn("provider"), textColumn("model")}}
	for _, b := range buckets {
		g.columns = append(g.columns, numberColumn(strings.ReplaceAll(b.String(), "_", " ")))
	}
	g.columns = append(g.columns, textColumn("tiers"), textColumn("from"), textColumn("to"))
	for i := range rows {
		r := &rows[i]
		cells := []string{r.Provider, r.Model}
		for _, b := range buckets {
			cells = append(cells, priceCell(&r.Tokens, b))
		}
		g.rows = append(g.rows, append(cells, tiersCell(r), dayCell(r.ValidFrom), dayCell(r.ValidTo)))
	}
	return g
}

// priceCell is a bucket's price in USD per million tokens.
func priceCell(p *schemas.TokenPrices, b schemas.Bucket) string {
	pico, ok := p.Get(b)
	if !ok {
		return ""
	}
	const perMillion = 1_000_000
	return trimmedPrice(schemas.Mul(pico, perMillion))
}

// trimmedPrice writes a price with at least two decimals: 3.00, 0.075.
func trimmedPrice(m schemas.Money) string {
	whole, frac, _ := strings.Cut(m.String(), ".")
	frac = strings.TrimRight(frac, "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return whole + "." + frac
}

func tiersCell(r *schemas.PriceRow) string {
	var tiers []string
	for _, t := range r.Contexts {
		tiers = append(tiers, ">"+strconv.FormatInt(t.Over/1000, 10)+"k")
	}
	for _, t := range r.Services {
		tiers = append(tiers, t.Name)
	}
	return strings.Join(tiers, " ")
}

func dayCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02")
}

func newPricesShow(a *app) *cobra.Command {
	var provider string
	cmd := &cobra.Command{
		Use: "show MODEL", Short: "Show all prices of a model, by date and tier", Args: cobra.ExactArgs(1),
		Example: "  panda prices show claude-sonnet-4-5 --provider anthropic",
		RunE: func(cmd *cobra.Command, args []string) error {
			r := get(pricePath(provider, args[0]), nil)
			return a.with(cmd.Context(), func(c *apiClient) error {
				list, body, err := call[priceList](cmd.Context(), c, r)
				var api *apiError
				if errors.As(err, &api) && api.Status == http.StatusNotFound {
					api.Detail = fmt.Sprintf("no price for a model %q; look for its name with: panda prices list -q TEXT", args[0])
				}
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return priceGrid(list.Rows, true) }, func() {
					for i := range list.Rows {
						if i > 0 {
							a.print("\n")
						}
						a.drawPriceRow(&list.Rows[i])
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "provider (empty: the model's own)")
	return cmd
}

// drawPriceRow writes all prices of a row: a column per tier.
func (a *app) drawPriceRow(r *schemas.PriceRow) {
	span := "always"
	if !r.ValidFrom.IsZero() || !r.ValidTo.IsZero() {
		span = cmp.Or(dayCell(r.ValidFrom), "ever") + " to " + cmp.Or(dayCell(r.ValidTo), "further notice")
	}
	a.fields([][2]string{{"Provider", r.Provider}, {"Model", r.Model}, {"Name", r.Name}, {"Valid", span}, {"Source", r.Source}})
	g := grid{columns: []column{textColumn("USD per M tokens"), numberColumn("list")}}
	tables := []*schemas.TokenPrices{&r.Tokens}
	add := func(title string, p *schemas.TokenPrices) {
		g.columns = append(g.columns, numberColumn(title))
		tables = append(tables, p)
	}
	for i := range r.Contexts {
		add("prompt over "+grouped(r.Contexts[i].Over), &r.Contexts[i].Tokens)
	}
	for i := range r.Services {
		if s := &r.Services[i]; !s.Tokens.IsZero() {
			add(s.Name, &s.Tokens)
		}
	}
	for b := range schemas.Bucket(schemas.BucketCount) {
		cells, any := []string{strings.ReplaceAll(b.String(), "_", " ")}, false
		for _, p := range tables {
			cell := priceCell(p, b)
			any = any || cell != ""
			cells = append(cells, cell)
		}
		if any {
			g.rows = append(g.rows, cells)
		}
	}
	a.print("\n")
	a.draw(g)
	for _, s := range r.Services {
		for _, name := range sortedNames(s.Multiply) {
			ratio := s.Multiply[name]
			a.print("Tier %s: %s × %d/%d\n", visible(s.Name), visible(name), ratio.Num, ratio.Den)
		}
	}
	for _, name := range sortedNames(r.Units) {
		a.print("Each %s: $%s\n", visible(name), trimmedPrice(schemas.Pico(r.Units[name])))
	}
}

// priceChange is the answer of POST /v1/prices/import.
type priceChange struct {
	Revision  *int64 `json:"revision"`
	Added     int64  `json:"added"`
	Changed   int64  `json:"changed"`
	Unchanged int64  `json:"unchanged"`
	Removed   int64  `json:"removed"`
	Rounded   []any  `json:"rounded"`
	Skipped   []struct {
		Provider string `json:"provider"`
		Model    string `json:"model"`
		Reason   string `json:"reason"`
	} `json:"skipped"`
}

// priceFileBytesMax is what the API takes.
const priceFileBytesMax = 32 << 20

func newPricesImport(a *app) *cobra.Command {
	var format, from, note string
	var all, dryRun bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Make a new revision of the price book from a file", Args: cobra.ExactArgs(1),
		Long: "Reads LiteLLM's model_prices_and_context_window.json, the data of genai-prices, or panda's own form.\n" +
			"Events keep the price they were accepted with. FILE may be - for standard input.",
		Example: "  panda prices import model_prices_and_context_window.json --dry-run\n" +
			"  panda prices import model_prices_and_context_window.json --from 2026-03-01",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"auto", "litellm", "genai-prices", "panda"}, format) {
				return usagef("--format %q: use auto, litellm, genai-prices or panda", format)
			}
			body, err := a.readSmall(args[0])
			if err != nil {
				return err
			}
			if format == "auto" {
				format = detectPriceFormat(body)
			}
			q := params("from", from, "note", note, "format", format)
			if all {
				q.Set("all", "1")
			}
			if dryRun {
				q.Set("dry_run", "1")
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				change, raw, err := call[priceChange](cmd.Context(), c, request{method: http.MethodPost,
					path: "/v1/prices/import", query: q, body: body, media: "application/json"})
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return priceChangeGrid(change) }, func() { a.drawPriceChange(change, dryRun) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "auto", "auto, litellm, genai-prices or panda")
	f.StringVar(&from, "from", "", "day from which changed prices hold (empty: at once)")
	f.StringVar(&note, "note", "", "why, for the record")
	f.BoolVar(&all, "all", false, "the file is the whole book: take models out that it does not have")
	f.BoolVar(&dryRun, "dry-run", false, "say what would change and change nothing")
	return cmd
}

// readWhole reads a file that goes into one request.
func readWhole(name string, r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, priceFileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(body) > priceFileBytesMax {
		return nil, usagef("%s is larger than %d bytes", name, priceFileBytesMax)
	}
	return body, nil
}

// detectPriceFormat tells the three forms apart: genai-prices is an array of
// providers, a revision of ours has rows, LiteLLM's file is an object by model.
func detectPriceFormat(body []byte) string {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte(byteOrderMark)))
	if len(body) > 0 && body[0] == '[' {
		return "genai-prices"
	}
	var own struct {
		Rows json.RawMessage `json:"rows"`
	}
	if json.Unmarshal(body, &own) == nil && len(own.Rows) > 0 && own.Rows[0] == '[' {
		return "panda"
	}
	return "litellm"
}

func priceChangeGrid(c priceChange) grid {
	return grid{
		columns: []column{numberColumn("added"), numberColumn("changed"), numberColumn("unchanged"), numberColumn("removed"),
			numberColumn("rounded"), numberColumn("skipped")},
		rows: [][]string{{strconv.FormatInt(c.Added, 10), strconv.FormatInt(c.Changed, 10), strconv.FormatInt(c.Unchanged, 10),
			strconv.FormatInt(c.Removed, 10), strconv.Itoa(len(c.Rounded)), strconv.Itoa(len(c.Skipped))}},
	}
}

func (a *app) drawPriceChange(c priceChange, dryRun bool) {
	a.print("%s added, %s changed, %s unchanged, %s removed", grouped(c.Added), grouped(c.Changed), grouped(c.Unchanged), grouped(c.Removed))
	switch {
	case dryRun:
		a.print("; a dry run, nothing was changed.\n")
	case c.Revision != nil:
		a.print("; now at revision %d.\n", *c.Revision)
	default:
		a.print("; there is nothing to change.\n")
	}
	if n := len(c.Rounded); n > 0 {
		a.print("%s had more than twelve decimals per token and was rounded (see -o json).\n", plural(int64(n), "price", "prices"))
	}
	if len(c.Skipped) == 0 {
		return
	}
	reasons := map[string]int64{}
	for _, s := range c.Skipped {
		reasons[s.Reason]++
	}
	a.print("%s skipped (which ones: -o json):\n", plural(int64(len(c.Skipped)), "model was", "models were"))
	for _, reason := range sortedNames(reasons) {
		a.print("  %6s  %s\n", grouped(reasons[reason]), visible(reason))
	}
}
