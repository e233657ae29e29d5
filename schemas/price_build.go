package schemas

import (
	"errors"
	"fmt"
	"math/bits"
	"sort"
	"strings"
	"time"
)

// A PriceBook prices events by one revision. It never changes after
// BuildPriceBook and is safe for concurrent use.
type PriceBook struct {
	rev       PriceRevision
	providers map[string]*bookProvider
	// order is the order in which providers are tried for an event that names
	// none: as the revision lists them, then the rest by id.
	order []*bookProvider
	// exact finds a model by canonical provider and any exact name, without a
	// lock; everything else goes through cache.
	exact map[modelKey]*bookModel
	cache *modelCache
}

type modelKey struct{ provider, model string }

type bookProvider struct {
	id     string
	info   PriceProvider
	models map[string]*bookModel // by exact name, lower case
	ruled  []*bookModel          // models with other rules, by id
}

type bookModel struct {
	provider string
	model    string
	rules    []MatchRule // lower case
	// versions are the rows in time, those with daily hours first.
	versions []bookVersion
}

// bookVersion is one row, compiled: every table holds a final price per bucket,
// with fallbacks and multipliers worked in.
type bookVersion struct {
	row      int
	from, to int64 // Unix milliseconds, half-open
	daily    DailyHours
	list     []rateTable
	services []serviceTables
	units    []unitPrice
}

type serviceTables struct {
	name   string
	tables []rateTable
}

type unitPrice struct {
	name string
	pico int64
}

// rateTable holds the prices of one service tier above one prompt size. A price
// is scaled by den, so that every multiplier is a whole number.
type rateTable struct {
	over  int64
	den   int64
	has   [BucketCount]bool
	price [BucketCount]int64
	// origin is the bucket whose price stands here.
	origin [BucketCount]Bucket
	// plain and ratio are what Explain shows: the price before the multiplier.
	plain [BucketCount]int64
	ratio [BucketCount]Ratio
}

// BuildPriceBook checks a revision and compiles it. The error is a FieldError
// whose pointer leads into the revision and whose text names the row.
func BuildPriceBook(rev PriceRevision) (*PriceBook, error) {
	if len(rev.Rows) > PriceRowsMax {
		return nil, Invalid("/rows", CodeTooMany, "%d price rows; at most %d", len(rev.Rows), PriceRowsMax)
	}
	b := &PriceBook{
		rev:       rev,
		providers: map[string]*bookProvider{},
		exact:     map[modelKey]*bookModel{},
		cache:     newModelCache(),
	}
	b.rev.Rows = append([]PriceRow(nil), rev.Rows...)
	for i := range rev.Providers {
		if err := b.addProvider(i, &rev.Providers[i]); err != nil {
			return nil, err
		}
	}
	if err := b.checkFallbacks(); err != nil {
		return nil, err
	}
	listed := len(b.order)
	for i := range b.rev.Rows {
		if err := b.addRow(i, &b.rev.Rows[i]); err != nil {
			return nil, rowError(i, &b.rev.Rows[i], err)
		}
	}
	rest := b.order[listed:]
	sort.Slice(rest, func(i, j int) bool { return rest[i].id < rest[j].id })
	for _, p := range b.order {
		if err := b.finish(p); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// rowError puts the row's number and name before what is wrong with it.
func rowError(i int, r *PriceRow, err error) error {
	pointer, code, detail := "", CodeMalformed, err.Error()
	if f := (*FieldError)(nil); errors.As(err, &f) {
		pointer, code, detail = f.Pointer, f.Code, f.Detail
	}
	return Invalid(fmt.Sprintf("/rows/%d%s", i, pointer), code, "price row %d (%s %s): %s",
		i, clip(r.Provider), clip(r.Model), detail)
}

func (b *PriceBook) addProvider(i int, info *PriceProvider) error {
	pointer := fmt.Sprintf("/providers/%d", i)
	if err := checkPriceName(pointer+"/id", info.ID); err != nil {
		return err
	}
	if b.providers[info.ID] != nil {
		return Invalid(pointer+"/id", CodeRepeated, "the provider %q is listed twice", info.ID)
	}
	if err := checkRules(pointer+"/match", info.Match); err != nil {
		return err
	}
	if err := checkRules(pointer+"/models", info.Models); err != nil {
		return err
	}
	p := b.provider(info.ID)
	p.info = PriceProvider{ID: info.ID, Name: info.Name, Match: lowerRules(info.Match), Models: lowerRules(info.Models),
		Fallbacks: append([]string(nil), info.Fallbacks...)}
	return nil
}

func (b *PriceBook) checkFallbacks() error {
	for i, p := range b.rev.Providers {
		for _, f := range p.Fallbacks {
			if b.providers[f] == nil || f == p.ID {
				return Invalid(fmt.Sprintf("/providers/%d/fallbacks", i), CodeUnknown,
					"%q is not another provider of this revision's list", clip(f))
			}
		}
	}
	return nil
}

func (b *PriceBook) provider(id string) *bookProvider {
	p := b.providers[id]
	if p == nil {
		p = &bookProvider{id: id, models: map[string]*bookModel{}}
		b.providers[id] = p
		b.order = append(b.order, p)
	}
	return p
}

// addRow checks and compiles a row and files it under its canonical id. A name
// may be the id of one model and the alias of another; ids are filed first.
func (b *PriceBook) addRow(i int, r *PriceRow) error {
	if err := checkRow(r); err != nil {
		return err
	}
	version, err := compileRow(i, r)
	if err != nil {
		return err
	}
	p := b.provider(r.Provider)
	m := p.models[r.Model]
	if m == nil {
		m = &bookModel{provider: r.Provider, model: r.Model}
		p.models[r.Model] = m
	}
	for j := range m.versions {
		if old := &m.versions[j]; overlaps(old, &version) {
			return Invalid("/valid_from", CodeRepeated, "its time overlaps that of row %d of the same model", old.row)
		}
	}
	m.versions = append(m.versions, version)
	m.rules = append(m.rules, lowerRules(r.Match)...)
	return nil
}

// overlaps reports whether two rows claim the same moment. A row with daily
// hours may lie inside one without.
func overlaps(a, b *bookVersion) bool {
	if a.from >= b.to || b.from >= a.to || a.daily.IsZero() != b.daily.IsZero() {
		return false
	}
	return a.daily.IsZero() || a.daily.holds(b.daily.From) || b.daily.holds(a.daily.From)
}

// finish orders a provider's models and files their exact aliases.
func (b *PriceBook) finish(p *bookProvider) error {
	ids := make([]string, 0, len(p.models))
	for id := range p.models {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	byID := p.models
	p.models = make(map[string]*bookModel, len(byID))
	for _, id := range ids {
		m := byID[id]
		if old := p.models[strings.ToLower(id)]; old != nil {
			return Invalid("/rows", CodeRepeated, "provider %s has models %q and %q, which differ in case only",
				p.id, old.model, id)
		}
		p.models[strings.ToLower(id)] = m
		b.exact[modelKey{p.id, id}] = m
		sort.Slice(m.versions, func(i, j int) bool { return m.versions[i].before(&m.versions[j]) })
	}
	for _, id := range ids {
		m := byID[id]
		ruled := false
		for _, rule := range m.rules {
			if rule.onlyExact() {
				if old := p.models[rule.Exact]; old != nil && old != m && strings.ToLower(old.model) != rule.Exact {
					return Invalid("/rows", CodeRepeated, "provider %s: %q is a name of both %q and %q",
						p.id, rule.Exact, old.model, id)
				} else if old == nil {
					p.models[rule.Exact] = m
					b.exact[modelKey{p.id, rule.Exact}] = m
				}
				continue
			}
			ruled = true
		}
		if ruled {
			p.ruled = append(p.ruled, m)
		}
	}
	return nil
}

// before puts rows with daily hours first, then the newest: the first that
// holds a moment prices it.
func (v *bookVersion) before(o *bookVersion) bool {
	if v.daily.IsZero() != o.daily.IsZero() {
		return !v.daily.IsZero()
	}
	if v.from != o.from {
		return v.from > o.from
	}
	return v.daily.From < o.daily.From
}

func checkPriceName(pointer, name string) error {
	if name == "" {
		return Invalid(pointer, CodeMissing, "the name is missing")
	}
	if strings.TrimSpace(name) != name {
		return Invalid(pointer, CodeMalformed, "%q has spaces around it", clip(name))
	}
	return checkText(pointer, name, NameBytesMax)
}

func checkRow(r *PriceRow) error {
	if err := checkPriceName("/provider", r.Provider); err != nil {
		return err
	}
	if err := checkPriceName("/model", r.Model); err != nil {
		return err
	}
	if err := checkText("/name", r.Name, NameBytesMax); err != nil {
		return err
	}
	if err := checkRules("/match", r.Match); err != nil {
		return err
	}
	if err := checkTokenPrices("/usd_per_mtok", &r.Tokens); err != nil {
		return err
	}
	if err := checkUnitPrices(r.Units); err != nil {
		return err
	}
	if err := checkContexts("/context_tiers", r.Contexts); err != nil {
		return err
	}
	if err := checkServices(r); err != nil {
		return err
	}
	if !r.ValidTo.IsZero() && !r.ValidFrom.Before(r.ValidTo) {
		return Invalid("/valid_to", CodeOutOfRange, "the end %s is not after the start", r.ValidTo.UTC().Format(time.RFC3339))
	}
	const day = 24 * 3600
	if d := r.Daily; !d.IsZero() && (d.From == d.To || d.From < 0 || d.To < 0 || d.From >= day || d.To >= day) {
		return Invalid("/daily", CodeOutOfRange, "%d to %d seconds is not a part of the day", d.From, d.To)
	}
	return nil
}

func checkRules(pointer string, rules []MatchRule) error {
	if len(rules) > priceMatchMax {
		return Invalid(pointer, CodeTooMany, "%d match rules; at most %d", len(rules), priceMatchMax)
	}
	for i, r := range rules {
		if r.weight() == 0 {
			return Invalid(fmt.Sprintf("%s/%d", pointer, i), CodeMissing,
				"a match rule needs exact, dated, prefix, suffix or contains")
		}
	}
	return nil
}

func checkTokenPrices(pointer string, p *TokenPrices) error {
	for i, pico := range p.Pico {
		if pico < 0 || pico > TokenPriceMax || (pico != 0 && !p.Has[i]) {
			return Invalid(pointer+"/"+bucketNames[i], CodeOutOfRange,
				"%d pico-USD a token is outside 0 to %d", pico, int64(TokenPriceMax))
		}
	}
	return nil
}

func checkUnitPrices(units UnitPrices) error {
	if len(units) > UnitsMax {
		return Invalid("/usd_per_unit", CodeTooMany, "%d unit prices; at most %d", len(units), UnitsMax)
	}
	for name, pico := range units {
		pointer := "/usd_per_unit/" + escapePointer(name)
		if name == "" {
			return Invalid("/usd_per_unit", CodeMissing, "a unit needs a name, such as web_search")
		}
		if err := checkText(pointer, name, UnitNameMax); err != nil {
			return err
		}
		if pico < 0 || pico > UnitPriceMax {
			return Invalid(pointer, CodeOutOfRange, "%d pico-USD a unit is outside 0 to %d", pico, int64(UnitPriceMax))
		}
	}
	return nil
}

func checkContexts(pointer string, tiers []ContextTier) error {
	if len(tiers) > priceTiersMax {
		return Invalid(pointer, CodeTooMany, "%d context tiers; at most %d", len(tiers), priceTiersMax)
	}
	for i := range tiers {
		at := fmt.Sprintf("%s/%d", pointer, i)
		if tiers[i].Over < 1 || i > 0 && tiers[i].Over <= tiers[i-1].Over {
			return Invalid(at+"/over", CodeOutOfRange, "thresholds are positive and ascending; %d is not", tiers[i].Over)
		}
		if err := checkTokenPrices(at+"/usd_per_mtok", &tiers[i].Tokens); err != nil {
			return err
		}
	}
	return nil
}

func checkServices(r *PriceRow) error {
	if len(r.Services) > priceTiersMax {
		return Invalid("/service_tiers", CodeTooMany, "%d service tiers; at most %d", len(r.Services), priceTiersMax)
	}
	for i := range r.Services {
		s := &r.Services[i]
		at := fmt.Sprintf("/service_tiers/%d", i)
		if err := checkPriceName(at+"/name", s.Name); err != nil {
			return err
		}
		if isListTier(s.Name) {
			return Invalid(at+"/name", CodeNotAllowed, "%q is the list price itself", s.Name)
		}
		for _, o := range r.Services[:i] {
			if strings.EqualFold(o.Name, s.Name) {
				return Invalid(at+"/name", CodeRepeated, "the service tier %q is there twice", s.Name)
			}
		}
		if err := checkMultipliers(at+"/multiply", r, s); err != nil {
			return err
		}
		if err := checkTokenPrices(at+"/usd_per_mtok", &s.Tokens); err != nil {
			return err
		}
		if err := checkContexts(at+"/context_tiers", s.Contexts); err != nil {
			return err
		}
	}
	return nil
}

func checkMultipliers(pointer string, r *PriceRow, s *ServiceTier) error {
	for name, ratio := range s.Multiply {
		at := pointer + "/" + escapePointer(name)
		if ratio.Num < 0 || ratio.Num > RatioMax || ratio.Den < 1 || ratio.Den > RatioMax {
			return Invalid(at, CodeOutOfRange, "the multiplier %s is outside 0 to %d", ratio, RatioMax)
		}
		if name == MultiplyAll {
			continue
		}
		b, ok := ParseBucket(name)
		if !ok {
			return Invalid(at, CodeUnknown, "%q is neither a token bucket nor %q", clip(name), MultiplyAll)
		}
		if !r.Tokens.Has[b] || s.Tokens.Has[b] {
			return Invalid(at, CodeNotAllowed, "%s has no list price to multiply, or a price of the tier besides", name)
		}
	}
	return nil
}

// greatest common divisor of two positive numbers.
func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// mulFits returns a × b for numbers that are not negative, and whether it fits.
func mulFits(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && int64(lo) >= 0
}
