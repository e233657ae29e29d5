package prices

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// ParseLiteLLM reads LiteLLM's model_prices_and_context_window.json: an object
// of models, prices in USD per token. That format has no dates and no rules for
// names, and lists one model under several names; each becomes a model of its
// own here.
func ParseLiteLLM(r io.Reader) (Import, error) {
	text, err := readFile(r)
	if err != nil {
		return Import{}, err
	}
	var models map[string]json.RawMessage
	if err := json.Unmarshal(text, &models); err != nil {
		return Import{}, schemas.Invalid("", schemas.CodeMalformed, "read LiteLLM prices: %v", err)
	}
	l := litellmImport{Import: Import{Report: newReport()}, rows: map[modelID]litellmOrigin{}}
	for _, name := range sortedKeys(models) {
		if name == "sample_spec" {
			continue // the format's own documentation
		}
		l.Report.Models++
		l.model(name, models[name])
	}
	l.Rows = l.Report.finish(l.Rows)
	return l.Import, nil
}

type litellmImport struct {
	Import
	rows map[modelID]litellmOrigin
}

// litellmOrigin remembers the name under which a row was listed.
type litellmOrigin struct {
	name string
	row  int
}

// litellmModel collects the prices of one model while its fields are read.
type litellmModel struct {
	row      schemas.PriceRow
	list     litellmTier
	services map[string]*litellmTier
	ratios   map[string]schemas.Ratio
}

// litellmTier is a price table: prices by threshold, 0 for none.
type litellmTier map[int64]*schemas.TokenPrices

func (t litellmTier) set(over int64, b schemas.Bucket, pico int64) {
	if t[over] == nil {
		t[over] = &schemas.TokenPrices{}
	}
	t[over].Set(b, pico)
}

// split returns the plain prices and the context tiers.
func (t litellmTier) split() (schemas.TokenPrices, []schemas.ContextTier) {
	var plain schemas.TokenPrices
	var tiers []schemas.ContextTier
	for over, p := range t {
		if over == 0 {
			plain = *p
			continue
		}
		tiers = append(tiers, schemas.ContextTier{Over: over, Tokens: *p})
	}
	sort.Slice(tiers, func(i, j int) bool { return tiers[i].Over < tiers[j].Over })
	return plain, tiers
}

func (l *litellmImport) model(name string, raw json.RawMessage) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		l.Report.skip("", name, "", "is not an object")
		return
	}
	var provider string
	if err := json.Unmarshal(fields["litellm_provider"], &provider); err != nil || provider == "" {
		l.Report.skip("", name, "litellm_provider", "the model names no provider")
		return
	}
	m := litellmModel{list: litellmTier{}, services: map[string]*litellmTier{}}
	m.row.Provider = litellmProvider(provider)
	m.row.Model = litellmID(name, provider, m.row.Provider)
	for _, field := range sortedKeys(fields) {
		l.field(&m, field, fields[field])
	}
	m.finish()
	if m.row.Tokens.IsZero() && len(m.row.Units) == 0 {
		l.Report.skip(m.row.Provider, m.row.Model, "", "no price that Panda can express")
		return
	}
	id := idOf(&m.row)
	id.model = strings.ToLower(id.model)
	if first, taken := l.rows[id]; taken {
		detail := fmt.Sprintf("%q is the same model as %q, which stands", name, first.name)
		if !samePrices(&l.Rows[first.row], &m.row) {
			detail += "; their prices differ"
		}
		l.Report.skip(m.row.Provider, m.row.Model, "", detail)
		return
	}
	l.rows[id] = litellmOrigin{name, len(l.Rows)}
	l.Rows = append(l.Rows, m.row)
}

func samePrices(a, b *schemas.PriceRow) bool {
	pricesOf := func(r *schemas.PriceRow) schemas.PriceRow {
		return schemas.PriceRow{Tokens: r.Tokens, Units: r.Units, Contexts: r.Contexts, Services: r.Services}
	}
	left, errLeft := json.Marshal(pricesOf(a))
	right, errRight := json.Marshal(pricesOf(b))
	return errLeft == nil && errRight == nil && bytes.Equal(left, right)
}

// finish puts what was collected into the row, in a stable order.
func (m *litellmModel) finish() {
	m.row.Tokens, m.row.Contexts = m.list.split()
	for _, name := range sortedKeys(m.services) {
		tier := schemas.ServiceTier{Name: name}
		tier.Tokens, tier.Contexts = m.services[name].split()
		m.row.Services = append(m.row.Services, tier)
	}
	if m.row.Tokens.IsZero() {
		return
	}
	for _, name := range sortedKeys(m.ratios) {
		if m.services[name] == nil {
			m.row.Services = append(m.row.Services, schemas.ServiceTier{Name: name,
				Multiply: map[string]schemas.Ratio{schemas.MultiplyAll: m.ratios[name]}})
		}
	}
}

// field reads one field. What has no number in it is no price; a price that has
// no place here is reported.
func (l *litellmImport) field(m *litellmModel, name string, raw json.RawMessage) {
	switch name {
	case "search_context_cost_per_query":
		l.searchPrice(m, raw)
		return
	case "provider_specific_entry":
		l.multipliers(m, raw)
		return
	}
	if !strings.Contains(name, "cost") && !strings.Contains(name, "pricing") {
		l.Report.Ignored[name]++
		return
	}
	var number json.Number
	if err := json.Unmarshal(raw, &number); err != nil || number == "" || raw[0] == '"' {
		if string(raw) != "null" {
			l.Report.skip(m.row.Provider, m.row.Model, name, "is not a number")
		}
		return
	}
	if unit, ok := litellmUnit(name); ok {
		if pico, ok := l.pico(m, name, number.String()); ok {
			m.unit(unit, pico)
		}
		return
	}
	f, ok := parseLiteLLMField(name)
	if !ok {
		l.Report.skip(m.row.Provider, m.row.Model, name, "Panda counts nothing of the kind")
		return
	}
	pico, ok := l.pico(m, name, number.String())
	if !ok {
		return
	}
	if f.service == "" {
		m.list.set(f.over, f.bucket, pico)
		return
	}
	if m.services[f.service] == nil {
		m.services[f.service] = &litellmTier{}
	}
	m.services[f.service].set(f.over, f.bucket, pico)
}

func (m *litellmModel) unit(name string, pico int64) {
	if m.row.Units == nil {
		m.row.Units = schemas.UnitPrices{}
	}
	m.row.Units[name] = pico
}

// searchPrice takes the price of a web search with a context of medium size,
// the default of those who have sizes.
func (l *litellmImport) searchPrice(m *litellmModel, raw json.RawMessage) {
	var sizes map[string]json.Number
	if err := json.Unmarshal(raw, &sizes); err != nil {
		l.Report.skip(m.row.Provider, m.row.Model, "search_context_cost_per_query", "is not an object of numbers")
		return
	}
	medium, ok := sizes["search_context_size_medium"]
	if !ok {
		l.Report.skip(m.row.Provider, m.row.Model, "search_context_cost_per_query", "has no price for the medium size")
		return
	}
	for size, price := range sizes {
		if price != medium {
			l.Report.skip(m.row.Provider, m.row.Model, "search_context_cost_per_query/"+size,
				fmt.Sprintf("a search costs %s at medium size; %s at this size is not told apart", medium, price))
		}
	}
	if pico, ok := l.pico(m, "search_context_cost_per_query", medium.String()); ok {
		m.unit(schemas.UnitWebSearch, pico)
	}
}

// multipliers reads {"fast": 6.0, "us": 1.1}: factors on every token price.
func (l *litellmImport) multipliers(m *litellmModel, raw json.RawMessage) {
	const field, thousandths = "provider_specific_entry", 1000
	var factors map[string]json.RawMessage
	if err := json.Unmarshal(raw, &factors); err != nil {
		l.Report.skip(m.row.Provider, m.row.Model, field, "is not an object of numbers")
		return
	}
	for _, name := range sortedKeys(factors) {
		n, rounded, err := scale(string(factors[name]), 3, 1)
		if err != nil || rounded || n <= 0 || n > schemas.RatioMax {
			l.Report.skip(m.row.Provider, m.row.Model, field+"/"+name, "is not a factor with at most three decimals")
			continue
		}
		if m.ratios == nil {
			m.ratios = map[string]schemas.Ratio{}
		}
		m.ratios[name] = reduce(n, thousandths)
	}
}

func reduce(num, den int64) schemas.Ratio {
	a, b := num, den
	for b != 0 {
		a, b = b, a%b
	}
	return schemas.Ratio{Num: num / a, Den: den / a}
}

func (l *litellmImport) pico(m *litellmModel, field, text string) (int64, bool) {
	pico, rounded, err := scale(text, schemas.MoneyScale, 1)
	if err != nil || pico < 0 {
		l.Report.skip(m.row.Provider, m.row.Model, field, fmt.Sprintf("%.40q is not a price", text))
		return 0, false
	}
	if rounded {
		l.Report.round(m.row.Provider, m.row.Model, field, fmt.Sprintf("%s is rounded to %s USD", text, schemas.Pico(pico)))
	}
	return pico, true
}

// litellmField is the meaning of a field of per-token price.
type litellmField struct {
	bucket  schemas.Bucket
	over    int64
	service string
}

// parseLiteLLMField takes a field's name apart: what is priced, then
// _above_1hr, _above_<n>k_tokens, and a service tier, each optional.
func parseLiteLLMField(name string) (f litellmField, ok bool) {
	for suffix, service := range map[string]string{"_batches": "batch", "_flex": "flex", "_priority": "priority"} {
		if rest, found := strings.CutSuffix(name, suffix); found {
			name, f.service = rest, service
			break
		}
	}
	if i := strings.LastIndex(name, "_above_"); i >= 0 {
		if thousands, found := strings.CutSuffix(name[i+len("_above_"):], "k_tokens"); found {
			n, err := strconv.ParseInt(thousands, 10, 32)
			if err != nil || n < 1 {
				return litellmField{}, false
			}
			name, f.over = name[:i], n*1000
		}
	}
	switch name {
	case "input_cost_per_token":
		f.bucket = schemas.Input
	case "output_cost_per_token":
		f.bucket = schemas.Output
	case "cache_read_input_token_cost":
		f.bucket = schemas.CacheRead
	case "cache_creation_input_token_cost":
		f.bucket = schemas.CacheWrite5m
	case "cache_creation_input_token_cost_above_1hr":
		f.bucket = schemas.CacheWrite1h
	case "output_cost_per_reasoning_token":
		f.bucket = schemas.Reasoning
	case "input_cost_per_audio_token":
		f.bucket = schemas.AudioIn
	case "output_cost_per_audio_token":
		f.bucket = schemas.AudioOut
	case "input_cost_per_image_token":
		f.bucket = schemas.Image
	default:
		return litellmField{}, false
	}
	return f, true
}

func litellmUnit(field string) (string, bool) {
	switch field {
	case "input_cost_per_request", "input_cost_per_query":
		return schemas.UnitRequest, true
	case "output_cost_per_image":
		return schemas.UnitImageOut, true
	case "output_cost_per_image_token":
		return "image_out_token", true
	}
	return "", false
}

// litellmProvider returns the catalog's id of a provider that LiteLLM calls
// otherwise, or divides by kind of model.
func litellmProvider(name string) string {
	switch {
	case strings.HasPrefix(name, "vertex_ai"), name == "gemini", name == "palm":
		return "google"
	case strings.HasPrefix(name, "bedrock"):
		return "aws"
	case strings.HasPrefix(name, "azure"):
		return "azure"
	case strings.HasPrefix(name, "cohere"):
		return "cohere"
	case strings.HasPrefix(name, "fireworks_ai"):
		return "fireworks"
	}
	switch name {
	case "text-completion-openai":
		return "openai"
	case "xai":
		return "x-ai"
	case "together_ai":
		return "together"
	case "moonshot":
		return "moonshotai"
	case "zhipu":
		return "zhipuai"
	case "voyage":
		return "voyageai"
	}
	return name
}

// litellmID takes the provider off the front of a model's name.
func litellmID(name, provider, canonical string) string {
	first, rest, ok := strings.Cut(name, "/")
	if !ok || rest == "" {
		return name
	}
	if first == provider || first == canonical || litellmProvider(first) == canonical {
		return rest
	}
	return name
}
