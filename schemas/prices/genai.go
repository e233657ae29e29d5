package prices

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// The shape of genai-prices' data: providers with models, models with match
// rules and one price or several conditional ones.
type (
	genaiProvider struct {
		ID        string       `json:"id"`
		Name      string       `json:"name"`
		Match     *genaiMatch  `json:"provider_match"`
		Models    *genaiMatch  `json:"model_match"`
		Fallbacks []string     `json:"fallback_model_providers"`
		List      []genaiModel `json:"models"`
	}
	genaiModel struct {
		ID     string          `json:"id"`
		Name   string          `json:"name"`
		Match  *genaiMatch     `json:"match"`
		Prices json.RawMessage `json:"prices"`
	}
	genaiConditional struct {
		Constraint *genaiConstraint           `json:"constraint"`
		Prices     map[string]json.RawMessage `json:"prices"`
	}
	genaiConstraint struct {
		StartDate string `json:"start_date"`
		StartTime string `json:"start_time"`
		EndTime   string `json:"end_time"`
	}
	genaiTiered struct {
		Base  json.Number `json:"base"`
		Tiers []struct {
			Start int64       `json:"start"`
			Price json.Number `json:"price"`
		} `json:"tiers"`
	}
)

// genaiField says what a price field of the source means here: a bucket or a
// unit, and how its number becomes pico-USD: × 10^shift / divisor.
type genaiField struct {
	bucket  schemas.Bucket
	unit    string
	shift   int
	divisor int64
}

func genaiFieldOf(name string) (genaiField, bool) {
	const perMtok, perThousand, perHour = 12 - 6, 12 - 3, 12
	buckets := map[string]schemas.Bucket{
		"input_mtok": schemas.Input, "output_mtok": schemas.Output, "cache_read_mtok": schemas.CacheRead,
		"cache_write_mtok": schemas.CacheWrite5m, "cache_write_5m_mtok": schemas.CacheWrite5m,
		"cache_write_1h_mtok": schemas.CacheWrite1h, "output_reasoning_mtok": schemas.Reasoning,
		"input_audio_mtok": schemas.AudioIn, "output_audio_mtok": schemas.AudioOut, "input_image_mtok": schemas.Image,
	}
	if b, ok := buckets[name]; ok {
		return genaiField{bucket: b, shift: perMtok, divisor: 1}, true
	}
	units := map[string]genaiField{
		"web_searches_kcount":             {unit: schemas.UnitWebSearch, shift: perThousand, divisor: 1},
		"requests_kcount":                 {unit: schemas.UnitRequest, shift: perThousand, divisor: 1},
		"storage_searches_kcount":         {unit: "file_search", shift: perThousand, divisor: 1},
		"input_document_kpages":           {unit: "document_page", shift: perThousand, divisor: 1},
		"input_annotated_document_kpages": {unit: "annotated_page", shift: perThousand, divisor: 1},
		"input_text_messages_kcount":      {unit: "text_message", shift: perThousand, divisor: 1},
		"output_image_mtok":               {unit: "image_out_token", shift: perMtok, divisor: 1},
		"audio_hours":                     {unit: "audio_second", shift: perHour, divisor: 3600},
	}
	f, ok := units[name]
	return f, ok
}

// genaiImport carries the state of one conversion.
type genaiImport struct {
	Import
	extras extras
}

// ParseGenAIPrices reads the data of genai-prices: a JSON array of providers,
// prices in USD per million tokens or per thousand counted things. Service
// tiers, which that format does not have, come from Panda's own list.
//
// A price with a start date ends the one before it. A price for hours of the
// day holds from the start of the price that stands before it in the list.
func ParseGenAIPrices(r io.Reader) (Import, error) {
	text, err := readFile(r)
	if err != nil {
		return Import{}, err
	}
	var providers []genaiProvider
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&providers); err != nil {
		return Import{}, schemas.Invalid("", schemas.CodeMalformed, "read genai-prices data: %v", err)
	}
	own, err := loadExtras()
	if err != nil {
		return Import{}, err
	}
	g := genaiImport{Import: Import{Report: newReport()}, extras: own}
	for i := range providers {
		g.provider(&providers[i])
	}
	g.Providers = g.extras.mergeProviders(g.Providers)
	g.Rows = g.Report.finish(g.Rows)
	return g.Import, nil
}

// readFile reads a price file up to FileBytesMax.
func readFile(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, FileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read price file: %w", err)
	}
	if len(text) > FileBytesMax {
		return nil, schemas.Invalid("", schemas.CodeTooLong, "the price file has more than %d bytes", FileBytesMax)
	}
	return text, nil
}

func (g *genaiImport) provider(p *genaiProvider) {
	info := schemas.PriceProvider{ID: p.ID, Name: p.Name, Fallbacks: p.Fallbacks}
	var bad []string
	info.Match, bad = p.Match.rules()
	g.skipRules(p.ID, "", "provider_match", bad)
	info.Models, bad = p.Models.rules()
	g.skipRules(p.ID, "", "model_match", bad)
	g.Providers = append(g.Providers, info)

	ids := map[string]bool{} // lower case
	for i := range p.List {
		ids[strings.ToLower(p.List[i].ID)] = true
	}
	names := map[string]string{} // exact name -> model that has it
	seen := map[string]bool{}
	for i := range p.List {
		m := &p.List[i]
		g.Report.Models++
		if low := strings.ToLower(m.ID); seen[low] {
			g.Report.skip(p.ID, m.ID, "", "the provider lists this id twice")
			continue
		} else {
			seen[low] = true
		}
		match := g.match(p.ID, m, ids, names)
		rows := g.rows(p.ID, m)
		for j := range rows {
			rows[j].Name, rows[j].Match = displayName(m.Name), match
			rows[j].Services = g.extras.serviceTiers(&rows[j])
		}
		g.Rows = append(g.Rows, rows...)
	}
}

func (g *genaiImport) skipRules(provider, model, field string, bad []string) {
	for _, rule := range bad {
		g.Report.skip(provider, model, field, "a condition on names that Panda has no rule for: "+rule)
	}
}

// match converts a model's names, and leaves out those that another model has:
// its own id, or a name that stands earlier in the list.
func (g *genaiImport) match(
	provider string, m *genaiModel, ids map[string]bool, names map[string]string,
) []schemas.MatchRule {
	rules, bad := m.Match.rules()
	g.skipRules(provider, m.ID, "match", bad)
	kept := rules[:0]
	for _, r := range rules {
		low := strings.ToLower(r.Exact)
		if r != (schemas.MatchRule{Exact: r.Exact}) {
			kept = append(kept, r)
			continue
		}
		switch owner, taken := names[low]; {
		case low == strings.ToLower(m.ID):
		case ids[low]:
			g.Report.skip(provider, m.ID, "match", fmt.Sprintf("%q is the id of another model", r.Exact))
		case taken && owner != m.ID:
			g.Report.skip(provider, m.ID, "match", fmt.Sprintf("%q is a name of %s, which stands before it", r.Exact, owner))
		case !taken:
			names[low] = m.ID
			kept = append(kept, r)
		}
	}
	return kept
}

// displayName writes "gpt 4o" as its maker does.
func displayName(name string) string {
	if rest, ok := strings.CutPrefix(name, "gpt "); ok {
		return "GPT-" + rest
	}
	return name
}

// rows converts a model's prices, each for its span of time.
func (g *genaiImport) rows(provider string, m *genaiModel) []schemas.PriceRow {
	list, err := m.conditionals()
	if err != nil {
		g.Report.skip(provider, m.ID, "prices", err.Error())
		return nil
	}
	var rows []schemas.PriceRow
	dated := -1 // the row whose end is not known yet
	for _, c := range list {
		row := schemas.PriceRow{Provider: provider, Model: m.ID}
		if dated >= 0 {
			row.ValidFrom = rows[dated].ValidFrom
		}
		daily := false
		if c.Constraint != nil {
			if daily, err = c.Constraint.apply(&row); err != nil {
				g.Report.skip(provider, m.ID, "constraint", err.Error())
				continue
			}
		}
		g.prices(&row, c.Prices)
		if row.Tokens.IsZero() && len(row.Units) == 0 {
			g.Report.skip(provider, m.ID, "prices", "no price that Panda can express")
			continue
		}
		if !daily {
			if dated >= 0 {
				rows[dated].ValidTo = row.ValidFrom
			}
			dated = len(rows)
		}
		rows = append(rows, row)
	}
	return rows
}

func (m *genaiModel) conditionals() ([]genaiConditional, error) {
	dec := json.NewDecoder(bytes.NewReader(m.Prices))
	dec.UseNumber()
	if bytes.HasPrefix(bytes.TrimSpace(m.Prices), []byte("[")) {
		var list []genaiConditional
		if err := dec.Decode(&list); err != nil {
			return nil, fmt.Errorf("read conditional prices: %w", err)
		}
		return list, nil
	}
	var one map[string]json.RawMessage
	if err := dec.Decode(&one); err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	return []genaiConditional{{Prices: one}}, nil
}

// apply puts a condition on a row and says whether it is one on hours.
func (c *genaiConstraint) apply(row *schemas.PriceRow) (daily bool, err error) {
	if c.StartDate != "" {
		from, err := time.Parse(time.DateOnly, c.StartDate)
		if err != nil {
			return false, fmt.Errorf("read start_date: %w", err)
		}
		row.ValidFrom = from
		return false, nil
	}
	from, okFrom := strings.CutSuffix(c.StartTime, "Z")
	to, okTo := strings.CutSuffix(c.EndTime, "Z")
	if !okFrom || !okTo {
		return false, fmt.Errorf("hours %q to %q are not in UTC", c.StartTime, c.EndTime)
	}
	if err := row.Daily.UnmarshalText([]byte(from + "-" + to)); err != nil {
		return false, err
	}
	return true, nil
}

// prices converts the fields of one price.
func (g *genaiImport) prices(row *schemas.PriceRow, fields map[string]json.RawMessage) {
	tiers := map[int64]*schemas.TokenPrices{}
	for _, name := range sortedKeys(fields) {
		f, known := genaiFieldOf(name)
		if !known {
			if name == "input_audio_hours" && fields["audio_hours"] != nil {
				continue // the same price under its older name
			}
			g.Report.skip(row.Provider, row.Model, name, "Panda counts no such tokens apart")
			continue
		}
		base, steps, err := decodeGenaiPrice(fields[name])
		if err != nil {
			g.Report.skip(row.Provider, row.Model, name, err.Error())
			continue
		}
		pico, ok := g.pico(row, name, base, f)
		if !ok {
			continue
		}
		if f.unit != "" {
			if row.Units == nil {
				row.Units = schemas.UnitPrices{}
			}
			row.Units[f.unit] = pico
			continue
		}
		row.Tokens.Set(f.bucket, pico)
		for _, step := range steps.Tiers {
			if pico, ok := g.pico(row, name, step.Price.String(), f); ok {
				if tiers[step.Start] == nil {
					tiers[step.Start] = &schemas.TokenPrices{}
				}
				tiers[step.Start].Set(f.bucket, pico)
			}
		}
	}
	for over, tokens := range tiers {
		row.Contexts = append(row.Contexts, schemas.ContextTier{Over: over, Tokens: *tokens})
	}
	sort.Slice(row.Contexts, func(i, j int) bool { return row.Contexts[i].Over < row.Contexts[j].Over })
}

func decodeGenaiPrice(raw json.RawMessage) (base string, tiered genaiTiered, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		if err := dec.Decode(&tiered); err != nil {
			return "", genaiTiered{}, fmt.Errorf("read tiered price: %w", err)
		}
		return tiered.Base.String(), tiered, nil
	}
	var n json.Number
	if err := dec.Decode(&n); err != nil {
		return "", genaiTiered{}, fmt.Errorf("read price: %w", err)
	}
	return n.String(), genaiTiered{}, nil
}

func (g *genaiImport) pico(row *schemas.PriceRow, field, text string, f genaiField) (int64, bool) {
	pico, rounded, err := scale(text, f.shift, f.divisor)
	if err != nil || pico < 0 {
		g.Report.skip(row.Provider, row.Model, field, fmt.Sprintf("%.40q is not a price", text))
		return 0, false
	}
	if rounded {
		g.Report.round(row.Provider, row.Model, field,
			fmt.Sprintf("%s is rounded to %s USD per token or unit", text, schemas.Pico(pico)))
	}
	return pico, true
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
