package schemas

import (
	"sort"
	"strings"
	"sync"
	"time"
)

// modelCacheMax bounds one generation of remembered names. Names come from
// events, so from anybody: whoever sends many costs us a slower lookup, never
// more memory than two generations of two names of NameBytesMax (4 MiB).
const modelCacheMax = 4096

// modelCache remembers which model a name meant, nil for none. It keeps two
// generations: when the young one is full the old one is dropped, so names in
// use survive a flood of others.
type modelCache struct {
	mu         sync.RWMutex // guards both maps
	young, old map[modelKey]*bookModel
}

func newModelCache() *modelCache { return &modelCache{young: map[modelKey]*bookModel{}} }

func (c *modelCache) get(k modelKey) (m *bookModel, known bool) {
	c.mu.RLock()
	m, known = c.young[k]
	aged := false
	if !known {
		m, aged = c.old[k]
	}
	c.mu.RUnlock()
	if aged {
		c.put(k, m)
	}
	return m, known || aged
}

// put remembers a name. It copies the strings: they may be part of a large
// message that must not live as long as the cache.
func (c *modelCache) put(k modelKey, m *bookModel) {
	k = modelKey{strings.Clone(k.provider), strings.Clone(k.model)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= modelCacheMax {
		c.old, c.young = c.young, make(map[modelKey]*bookModel, modelCacheMax)
	}
	c.young[k] = m
}

// find returns the model that an event's provider and model mean, or nil.
func (b *PriceBook) find(provider, model string) *bookModel {
	k := modelKey{provider, model}
	if m := b.exact[k]; m != nil {
		return m
	}
	if model == "" || len(provider) > NameBytesMax || len(model) > NameBytesMax {
		return nil
	}
	if m, known := b.cache.get(k); known {
		return m
	}
	m := b.resolve(strings.ToLower(strings.TrimSpace(provider)), strings.ToLower(strings.TrimSpace(model)))
	b.cache.put(k, m)
	return m
}

// resolve finds a model by names in lower case.
//
// With a provider: that provider's models, then those of its fallbacks. An
// unknown provider has no prices, even if somebody else knows the model.
//
// Without: the provider that the model's name begins with ("openai/gpt-4o"),
// then providers that claim the name as theirs, in the order of the revision,
// then whoever lists exactly this name, in the same order.
func (b *PriceBook) resolve(provider, model string) *bookModel {
	if provider != "" {
		p := b.findProvider(provider)
		if p == nil {
			return nil
		}
		return b.findAt(p, model)
	}
	if first, rest, ok := strings.Cut(model, "/"); ok && rest != "" {
		if p := b.findProvider(first); p != nil {
			if m := b.findAt(p, rest); m != nil {
				return m
			}
		}
	}
	for _, p := range b.order {
		if matchAny(p.info.Models, model) == 0 {
			continue
		}
		if m := p.find(model); m != nil {
			return m
		}
	}
	for _, p := range b.order {
		if m := p.models[model]; m != nil {
			return m
		}
	}
	return nil
}

// findProvider returns the provider of a name: its id, an exact other name, or
// the first whose rules match.
func (b *PriceBook) findProvider(name string) *bookProvider {
	if p := b.providers[name]; p != nil {
		return p
	}
	for _, p := range b.order {
		for _, r := range p.info.Match {
			if r.onlyExact() && r.Exact == name {
				return p
			}
		}
	}
	for _, p := range b.order {
		if matchAny(p.info.Match, name) > 0 {
			return p
		}
	}
	return nil
}

func (b *PriceBook) findAt(p *bookProvider, model string) *bookModel {
	if m := p.find(model); m != nil {
		return m
	}
	for _, id := range p.info.Fallbacks {
		if m := b.providers[id].find(model); m != nil {
			return m
		}
	}
	return nil
}

// find looks a name up as it is, then without the path in front of it, as in
// "models/gemini-2.5-pro" or "publishers/anthropic/models/claude-…".
func (p *bookProvider) find(model string) *bookModel {
	if m := p.findPlain(model); m != nil {
		return m
	}
	if i := strings.LastIndexByte(model, '/'); i >= 0 && i+1 < len(model) {
		return p.findPlain(model[i+1:])
	}
	return nil
}

// findPlain takes an exact name first, else the model with the longest matching
// rule, else the smallest id: a rule for "gpt-4o-mini" beats one for "gpt-4o"
// wherever they stand.
func (p *bookProvider) findPlain(model string) *bookModel {
	if m := p.models[model]; m != nil {
		return m
	}
	var best *bookModel
	weight := 0
	for _, m := range p.ruled {
		if w := matchAny(m.rules, model); w > weight {
			best, weight = m, w
		}
	}
	return best
}

// matchAny returns the weight of the heaviest rule that a name meets, 0 if none.
func matchAny(rules []MatchRule, name string) int {
	weight := 0
	for i := range rules {
		if w := rules[i].weight(); w > weight && rules[i].matches(name) {
			weight = w
		}
	}
	return weight
}

// matches reports whether a name in lower case meets a rule in lower case.
func (r *MatchRule) matches(name string) bool {
	return (r.Exact == "" || name == r.Exact) &&
		(r.Dated == "" || isDated(name, r.Dated)) &&
		strings.HasPrefix(name, r.Prefix) && strings.HasSuffix(name, r.Suffix) &&
		strings.Contains(name, r.Contains) && (r.Without == "" || !strings.Contains(name, r.Without))
}

// weight is how much of a name a rule pins down: the bytes it spells out. A
// rule about what must be absent pins nothing down.
func (r *MatchRule) weight() int {
	return len(r.Exact) + len(r.Dated) + len(r.Prefix) + len(r.Suffix) + len(r.Contains)
}

func (r *MatchRule) onlyExact() bool { return *r == MatchRule{Exact: r.Exact} }

// isDated reports whether name is base, or base and "-20250929" or
// "-2025-09-29".
func isDated(name, base string) bool {
	date, ok := strings.CutPrefix(name, base)
	if !ok || date == "" {
		return ok
	}
	for _, layout := range []string{"-20060102", "-2006-01-02"} {
		if _, err := time.Parse(layout, date); err == nil {
			return true
		}
	}
	return false
}

func lowerRules(rules []MatchRule) []MatchRule {
	lower := make([]MatchRule, len(rules))
	for i, r := range rules {
		lower[i] = MatchRule{
			Exact: strings.ToLower(r.Exact), Dated: strings.ToLower(r.Dated), Prefix: strings.ToLower(r.Prefix),
			Suffix: strings.ToLower(r.Suffix), Contains: strings.ToLower(r.Contains), Without: strings.ToLower(r.Without),
		}
	}
	return lower
}

// Revision returns the revision the book was built from. Its slices are the
// book's own; they must not be changed.
func (b *PriceBook) Revision() PriceRevision { return b.rev }

// Number returns the number of the book's revision.
func (b *PriceBook) Number() uint32 { return b.rev.Number }

// Rows returns the rows that hold at a moment, or all rows for the zero time,
// in the order of the book.
func (b *PriceBook) Rows(at time.Time) []PriceRow {
	return b.filter(at, func(*PriceRow) bool { return true })
}

// Search returns the rows whose provider, model or name contains the text, case
// aside, at a moment or at any time. The text may be "provider/model".
func (b *PriceBook) Search(text string, at time.Time) []PriceRow {
	text = strings.ToLower(text)
	return b.filter(at, func(r *PriceRow) bool {
		return strings.Contains(strings.ToLower(r.Provider+"/"+r.Model), text) ||
			strings.Contains(strings.ToLower(r.Name), text)
	})
}

func (b *PriceBook) filter(at time.Time, keep func(*PriceRow) bool) []PriceRow {
	var rows []PriceRow
	for i := range b.rev.Rows {
		if r := &b.rev.Rows[i]; (at.IsZero() || r.ValidAt(at)) && keep(r) {
			rows = append(rows, *r)
		}
	}
	SortPriceRows(rows)
	return rows
}

// Find returns the rows of the model that rating would use for an event with
// this provider (or none) and model, oldest first, and whether there is one.
func (b *PriceBook) Find(provider, model string) ([]PriceRow, bool) {
	m := b.find(provider, model)
	if m == nil {
		return nil, false
	}
	rows := make([]PriceRow, 0, len(m.versions))
	for i := range m.versions {
		rows = append(rows, b.rev.Rows[m.versions[i].row])
	}
	sort.SliceStable(rows, func(i, j int) bool { return comparePriceRows(&rows[i], &rows[j]) < 0 })
	return rows, true
}

// Free reports whether a call of a model, with this provider or none, costs
// nothing at a moment, whatever it uses: there is a row for it then, and every
// price in the row is zero. A model without a price is not free, because nobody
// knows what it costs.
func (b *PriceBook) Free(provider, model string, at time.Time) bool {
	m := b.find(provider, model)
	if m == nil {
		return false
	}
	v := m.at(at.UnixMilli())
	return v != nil && v.free()
}

func (v *bookVersion) free() bool {
	tables := v.list
	for _, s := range v.services {
		tables = append(tables[:len(tables):len(tables)], s.tables...)
	}
	for i := range tables {
		t := &tables[i]
		if !t.has[Input] || !t.has[Output] || t.price != [BucketCount]int64{} {
			return false
		}
	}
	for i := range v.units {
		if v.units[i].pico != 0 {
			return false
		}
	}
	return len(tables) > 0
}
