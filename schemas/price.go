package schemas

import (
	"sort"
	"strings"
	"time"
)

// Limits of a price book. A revision travels as one message of the log, so it
// has to stay well under RequestBytesMax after compression.
const (
	// PriceRowsMax bounds the rows of one revision; the shipped catalog has
	// about two thousand.
	PriceRowsMax = 20_000
	// PriceEncodedMax bounds an encoded (gzipped) revision: an eighth below
	// the largest message of the log, for headers.
	PriceEncodedMax = RequestBytesMax / 8 * 7
	// PriceDecodedMax bounds what a compressed revision may unfold to.
	PriceDecodedMax = 16 << 20
	// TokenPriceMax is the dearest token: 9 USD. List prices lie four orders
	// of magnitude below; the limit catches a price per million given as a
	// price per token.
	TokenPriceMax = 9 * PicoPerUSD
	// UnitPriceMax is the dearest unit: 9,000 USD.
	UnitPriceMax = 9_000 * PicoPerUSD
	// RatioMax bounds both numbers of a service tier's multiplier.
	RatioMax = 1_000_000

	priceMatchMax = 256 // match rules of one row
	priceTiersMax = 16  // context tiers, and service tiers, of one row
)

// A PriceRevision is one state of the whole price book, whole: not a change to
// the one before it. Revisions are numbered, dated and never rewritten; an
// event keeps the number of the revision that rated it. Its JSON is the body of
// the message that puts it on the log; see Encode.
type PriceRevision struct {
	// Number counts revisions from 1; 0 is a revision that nobody published.
	Number  uint32    `json:"number"`
	Created time.Time `json:"created,omitzero"`
	Actor   string    `json:"actor,omitempty"`
	Note    string    `json:"note,omitempty"`
	// Source says where the prices come from: package, version, date, licence.
	Source    string          `json:"source,omitempty"`
	Providers []PriceProvider `json:"providers,omitempty"`
	Rows      []PriceRow      `json:"rows"`
}

// A PriceProvider says by which names a provider goes and which models are its
// own. Providers without an entry go by their id alone. The order of the
// entries is the order in which they are tried.
type PriceProvider struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Match are other names of the provider: vertex is google.
	Match []MatchRule `json:"match,omitempty"`
	// Models are rules for model names of which this is the first party. They
	// serve events that name no provider.
	Models []MatchRule `json:"models,omitempty"`
	// Fallbacks are providers whose prices stand in for models this one has no
	// row for, in order: a cloud that resells at the maker's list price.
	Fallbacks []string `json:"fallbacks,omitempty"`
}

// A PriceRow is the price of one model at one provider for a span of time.
// Several rows may share provider and model if their spans do not overlap.
type PriceRow struct {
	Provider string `json:"provider"`
	// Model is the canonical id: what ratings and rollups show.
	Model string `json:"model"`
	// Name is for people: "Claude Opus 4.6".
	Name string `json:"name,omitempty"`
	// Match are further names that mean this model. The id itself always does.
	Match []MatchRule `json:"match,omitempty"`

	// Tokens are the list prices per bucket.
	Tokens TokenPrices `json:"usd_per_mtok,omitzero"`
	// Units are the list prices of counted things.
	Units UnitPrices `json:"usd_per_unit,omitempty"`
	// Contexts are whole-request tiers by size of the prompt.
	Contexts []ContextTier `json:"context_tiers,omitempty"`
	// Services are the price classes other than the list price.
	Services []ServiceTier `json:"service_tiers,omitempty"`

	// ValidFrom and ValidTo are a half-open span in UTC; zero is open.
	ValidFrom time.Time `json:"valid_from,omitzero"`
	ValidTo   time.Time `json:"valid_to,omitzero"`
	// Daily restricts the row to a part of each UTC day, "00:30-16:30", for
	// peak prices. Within its span it goes before a row without one.
	Daily DailyHours `json:"daily,omitzero"`
	// Source is where this row's prices come from, if not where the revision's
	// come from.
	Source string `json:"source,omitempty"`
}

// A ContextTier replaces prices for a whole call once its prompt is large: over
// the threshold every token of the call takes the tier's price. A bucket that
// the tier does not name keeps its price.
type ContextTier struct {
	// Over is the threshold on InputTotal; the tier applies strictly above it.
	Over   int64       `json:"over"`
	Tokens TokenPrices `json:"usd_per_mtok"`
}

// A ServiceTier is a price class that a caller asks for: batch, flex, priority,
// fast. A bucket takes the tier's own price if it names one, which then holds
// at every prompt size unless Contexts says otherwise; else its list price
// times the multiplier; else its list price. Units are never multiplied.
type ServiceTier struct {
	Name string `json:"name"`
	// Multiply maps a bucket's name, or "all", to an exact ratio.
	Multiply map[string]Ratio `json:"multiply,omitempty"`
	Tokens   TokenPrices      `json:"usd_per_mtok,omitzero"`
	Contexts []ContextTier    `json:"context_tiers,omitempty"`
}

// MultiplyAll is the key of ServiceTier.Multiply for every bucket without a
// multiplier of its own.
const MultiplyAll = "all"

// A MatchRule says which names mean a model. Every field that is set must hold;
// case does not count. There are no regular expressions: a rule costs the same
// whatever name it meets.
type MatchRule struct {
	// Exact is the whole name.
	Exact string `json:"exact,omitempty"`
	// Dated is the whole name, plain or followed by "-" and a date, written
	// 20250929 or 2025-09-29.
	Dated    string `json:"dated,omitempty"`
	Prefix   string `json:"prefix,omitempty"`
	Suffix   string `json:"suffix,omitempty"`
	Contains string `json:"contains,omitempty"`
	// Without must not occur in the name.
	Without string `json:"without,omitempty"`
}

// TokenPrices holds a price per bucket in pico-USD per token. A bucket without
// a price is not free; see the fallbacks of PriceBook.Rate. In JSON it is an
// object of decimal strings in USD per million tokens, six decimals at most.
type TokenPrices struct {
	Has  [BucketCount]bool
	Pico [BucketCount]int64
}

// Set gives a bucket its price in pico-USD per token.
func (p *TokenPrices) Set(b Bucket, pico int64) { p.Has[b], p.Pico[b] = true, pico }

// Get returns a bucket's price in pico-USD per token and whether it has one.
func (p *TokenPrices) Get(b Bucket) (int64, bool) { return p.Pico[b], p.Has[b] }

// IsZero reports whether no bucket has a price.
func (p TokenPrices) IsZero() bool { return p == TokenPrices{} }

// UnitPrices maps a unit's name to its price in pico-USD per unit. In JSON the
// prices are decimal strings in USD per unit.
type UnitPrices map[string]int64

// A Ratio is an exact multiplier. Its text is "6" or "1/2".
type Ratio struct{ Num, Den int64 }

// DailyHours is a half-open part of each UTC day in seconds since midnight; it
// may wrap around midnight. The zero value is the whole day. Its text is
// "HH:MM-HH:MM".
type DailyHours struct{ From, To int32 }

// IsZero reports whether the hours cover the whole day.
func (d DailyHours) IsZero() bool { return d == DailyHours{} }

// holds reports whether a second of the day lies in the hours.
func (d DailyHours) holds(second int32) bool {
	if d.From <= d.To {
		return d.IsZero() || second >= d.From && second < d.To
	}
	return second >= d.From || second < d.To
}

// ValidAt reports whether the row prices an event of that time.
func (r *PriceRow) ValidAt(at time.Time) bool {
	at = at.UTC()
	second := int32(at.Hour()*3600 + at.Minute()*60 + at.Second())
	return !at.Before(r.ValidFrom) && (r.ValidTo.IsZero() || at.Before(r.ValidTo)) && r.Daily.holds(second)
}

// SortPriceRows puts rows into the order of the book: provider, model, start,
// hours. It makes revisions diffable.
func SortPriceRows(rows []PriceRow) {
	sort.SliceStable(rows, func(i, j int) bool { return comparePriceRows(&rows[i], &rows[j]) < 0 })
}

func comparePriceRows(a, b *PriceRow) int {
	if c := strings.Compare(a.Provider, b.Provider); c != 0 {
		return c
	}
	if c := strings.Compare(a.Model, b.Model); c != 0 {
		return c
	}
	if c := a.ValidFrom.Compare(b.ValidFrom); c != 0 {
		return c
	}
	if a.Daily.From != b.Daily.From {
		return int(a.Daily.From - b.Daily.From)
	}
	return int(a.Daily.To - b.Daily.To)
}

// A Rating is what a price book says about one event.
type Rating struct {
	// Cost is meaningful only if Priced; it then fits int64 pico-USD.
	Cost   Money
	Priced bool
	// Reason says why the event has no cost; see the Unpriced constants.
	Reason string
	// Revision is the number of the book's revision.
	Revision uint32
	// Provider and Model are the canonical ids of the row that priced, or that
	// would have; empty if the model is unknown or there was nothing to price.
	Provider string
	Model    string
}

// Why an event is unpriced. The two prefixes are followed by a bucket or unit.
const (
	UnpricedModel      = "unknown_model"
	UnpricedTime       = "no_price_at_time"
	UnpricedTier       = "unknown_service_tier"
	UnpricedRange      = "cost_out_of_range"
	UnpricedBucketPref = "no_price_for_bucket:"
	UnpricedUnitPref   = "no_price_for_unit:"
)

// A RatingLine explains one summand of a cost. Lines sum exactly to the cost.
type RatingLine struct {
	// Item is a bucket or a unit; Unit tells which.
	Item string
	Unit bool
	// PriceOf is the bucket whose price was used; it differs from Item where
	// the model has no price for the bucket and a fallback applies.
	PriceOf  string
	Quantity int64
	// PricePico is the price before the multiplier, in pico-USD per token or
	// unit.
	PricePico int64
	Multiply  Ratio
	// ContextOver is the threshold of the context tier; 0 is none.
	ContextOver int64
	// ServiceTier is the tier that applied, "" for the list price.
	ServiceTier string
	Amount      Money
}
