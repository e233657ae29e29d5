package bill

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Span is a part of a month in which a tenant had one plan.
type Span struct {
	// From is in it, To is not. The spans of a month do not overlap; between them nothing
	// is owed, for instance while a tenant is deleted.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Plan string    `json:"plan"`
	// Trial: neither fees nor usage are charged.
	Trial bool  `json:"trial,omitempty"`
	Rates Rates `json:"rates"`
	// StorageGB is what the plan, or the tenant's own limit, holds; -1 is without limit.
	StorageGB int64 `json:"storage_gb"`
}

// Usage is what one combination of names used in a span.
type Usage struct {
	Provider, Model, Department, CostCenter, Agent string

	Tokens   int64
	Cost     schemas.Money
	Unpriced int64
}

// SpanUsage is what was used in a span.
type SpanUsage struct {
	Usage []Usage
	// StorageBytes is the highest level reported in the span, or the one that stood when
	// it began.
	StorageBytes int64
}

// Input is all that a bill depends on.
type Input struct {
	Tenant, Month string
	AsOf          uint64 // the ledger position that usage is as of
	Currency      string // "" is USD
	Rate          *Rate  // for a currency that is not USD
	PlanVersion   int
	Spans         []Span
	Used          []SpanUsage // one for each of Spans
	// Credit is what earlier months left to the tenant.
	Credit schemas.Money
	// Adjustments are lines about months that were closed before; see [Adjust].
	Adjustments []Line
}

// Limits of an input.
const (
	spansMax = 1_000 // plan changes in a month
	// partsMax bounds the parts of a line, so that a statement fits a message of the log.
	// What is smaller than the largest goes into one part named partOther.
	partsMax  = 2_000
	partOther = "(other)"
	// lineBitsMax bounds a line, 10^18 USD, so that no sum of lines leaves 128 bits.
	lineBitsMax = 100
)

// bill is a statement being made.
type bill struct {
	in    *Input
	month time.Duration
	lines []Line
}

// Calculate returns the draft of a statement. It is pure: the same input gives the same
// statement, to the byte.
//
// Amounts are exact in pico-USD. Three steps need rounding to one, half away from zero:
// the share of a month that a span is, a markup, and the parts of a line, which are
// spread by largest remainder. Minor units are rounded once, for the total, and spread
// over lines and their parts.
//
// A span's fees and included tokens are its share of the month by the millisecond; its
// usage is charged by its own plan, so that no change of plan reaches back.
//
// Errors match schemas.ErrInvalid: an input that contradicts itself, a currency that
// cannot be billed in, sums that leave their range.
func Calculate(in Input) (s Statement, err error) {
	in.Currency = cmp.Or(in.Currency, "USD")
	window, err := schemas.ParseMonth(in.Month)
	if err != nil {
		return Statement{}, err
	}
	cur, err := currencyOf(in.Currency)
	if err != nil {
		return Statement{}, err
	}
	per, err := minorPerPico(in.Currency, cur, in.Rate)
	if err != nil {
		return Statement{}, err
	}
	if err := in.check(window); err != nil {
		return Statement{}, err
	}
	b := &bill{in: &in, month: window.End().Sub(window.Start)}
	for i := range in.Spans {
		if err := b.span(&in.Spans[i], &in.Used[i]); err != nil {
			return Statement{}, err
		}
	}
	for _, l := range in.Adjustments {
		l.Parts = slices.Clone(l.Parts) // their rounding is this bill's
		b.lines = append(b.lines, l)
	}
	if err := b.settle(); err != nil {
		return Statement{}, err
	}
	s = Statement{
		ID: statementID(in.Tenant, in.Month), Tenant: in.Tenant, Month: in.Month, Currency: in.Currency, Rate: in.Rate,
		PlanVersion: in.PlanVersion, AsOf: in.AsOf, Spans: in.Spans, Lines: b.lines, CreditIn: in.Credit,
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		l.ID = lineID(in.Tenant, in.Month, l.Kind, l.Key)
		if l.Kind == KindCarried {
			s.CreditOut = s.CreditOut.Add(l.Exact)
		}
	}
	s.CreditOut = s.CreditOut.Add(in.Credit).Sub(b.creditUsed())
	for i := range in.Used {
		for _, u := range in.Used[i].Usage {
			s.Tokens, s.Cost, s.Unpriced = s.Tokens+u.Tokens, s.Cost.Add(u.Cost), s.Unpriced+u.Unpriced
		}
	}
	if err := s.round(per, cur.quantum); err != nil {
		return Statement{}, err
	}
	return sign(s), nil
}

func (in *Input) check(month schemas.Window) error {
	switch {
	case in.Tenant == "":
		return schemas.Invalid("/tenant", schemas.CodeMissing, "a bill is a tenant's")
	case len(in.Spans) != len(in.Used) || len(in.Spans) > spansMax:
		return schemas.Invalid("/spans", schemas.CodeTooMany, "%d spans with %d sums of usage; at most %d, one for each", len(in.Spans), len(in.Used), spansMax)
	case in.Credit.Sign() < 0:
		return schemas.Invalid("/credit", schemas.CodeOutOfRange, "a credit of %s is a debt", in.Credit)
	}
	at := month.Start
	for i := range in.Spans {
		sp := &in.Spans[i]
		if sp.From.Before(at) || !sp.From.Before(sp.To) || sp.To.After(month.End()) {
			return schemas.Invalid(fmt.Sprintf("/spans/%d", i), schemas.CodeOutOfRange, "%s to %s is not in %s after %s",
				sp.From.Format(time.RFC3339), sp.To.Format(time.RFC3339), month, at.Format(time.RFC3339))
		}
		if err := sp.Rates.Check(); err != nil {
			return fmt.Errorf("rates of plan %s: %w", sp.Plan, err)
		}
		at = sp.To
	}
	return nil
}

// share returns the part of amount that a span of the month has, in pico-USD.
func (b *bill) share(amount schemas.Money, sp *Span) *big.Int {
	part := big.NewRat(sp.To.Sub(sp.From).Milliseconds(), b.month.Milliseconds())
	return roundHalfAway(part.Mul(part, new(big.Rat).SetInt(amount.Big())), 1)
}

// add appends a line. weights say whose it is; without any it is nobody's.
func (b *bill) add(l Line, pico *big.Int, weights []weight) error {
	exact, fits := schemas.MoneyFromBig(pico)
	if !fits || pico.BitLen() > lineBitsMax {
		return schemas.Invalid("/"+l.Kind, schemas.CodeOutOfRange, "line %s comes to more than can be billed", l.Key)
	}
	l.Exact = exact
	l.Parts = divide(pico, weights)
	b.lines = append(b.lines, l)
	return nil
}

func (b *bill) span(sp *Span, used *SpanUsage) error {
	if sp.Trial {
		return nil
	}
	key := sp.Plan + "@" + sp.From.UTC().Format("2006-01-02T15:04:05.000Z")
	r := &sp.Rates
	if r.BaseFee.Sign() != 0 {
		line := Line{Kind: KindBaseFee, Key: key, Description: "Plan " + sp.Plan, Quantity: part(sp, b.month), Unit: "month", UnitPrice: r.BaseFee.String()}
		if err := b.add(line, b.share(r.BaseFee, sp), nil); err != nil {
			return err
		}
	}
	if r.HasTokens {
		if err := b.tokens(sp, used, key); err != nil {
			return err
		}
	}
	if err := b.storage(sp, used, key); err != nil {
		return err
	}
	if r.PassThrough {
		return b.passThrough(r, used, key)
	}
	return nil
}

// part writes the share of a month with six digits, for people.
func part(sp *Span, month time.Duration) string {
	text := big.NewRat(sp.To.Sub(sp.From).Milliseconds(), month.Milliseconds()).FloatString(6)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func (b *bill) tokens(sp *Span, used *SpanUsage, key string) error {
	r := &sp.Rates
	total := new(big.Int)
	weights := make([]weight, 0, len(used.Usage))
	for i := range used.Usage {
		u := &used.Usage[i]
		total.Add(total, big.NewInt(u.Tokens))
		weights = append(weights, weightOf(u, big.NewInt(u.Tokens)))
	}
	if !total.IsInt64() {
		return schemas.Invalid("/used", schemas.CodeOutOfRange, "%s tokens are more than can be counted", total)
	}
	// The share of the included tokens is rounded up, in the tenant's favour.
	included := new(big.Int).Mul(big.NewInt(r.Included), big.NewInt(sp.To.Sub(sp.From).Milliseconds()))
	included.Add(included, big.NewInt(b.month.Milliseconds()-1)).Quo(included, big.NewInt(b.month.Milliseconds()))
	over := total.Int64() - included.Int64()
	if over <= 0 {
		return nil
	}
	line := Line{Kind: KindTokens, Key: key, Quantity: fmt.Sprint(over), Unit: "token", Steps: r.Charge(over),
		Description: fmt.Sprintf("AI tokens over the %s that plan %s includes", schemas.GroupDigits(included.String()), sp.Plan)}
	pico := new(big.Int)
	for _, step := range line.Steps {
		pico.Add(pico, step.Exact.Big())
	}
	if len(line.Steps) == 1 {
		line.UnitPrice = line.Steps[0].Price.String()
	}
	return b.add(line, pico, weights)
}

// Charge returns what tokens over the included ones cost, tier by tier.
func (r *Rates) Charge(over int64) (steps []Step) {
	price := func(t *Tier, tokens int64) Step {
		pico, _ := t.PerMillion.Int64()
		return Step{Tokens: tokens, Price: t.PerMillion, Exact: schemas.Mul(pico/picoPerMillion, tokens)}
	}
	if r.Mode == Package {
		packages := (over-1)/r.PackageSize + 1
		pico, _ := r.Tiers[0].PerMillion.Int64()
		return []Step{{Tokens: over, Packages: packages, Price: r.Tiers[0].PerMillion, Exact: schemas.Mul(pico, packages)}}
	}
	after := int64(0)
	for i := range r.Tiers {
		t := &r.Tiers[i]
		last := t.UpTo == 0 || over <= t.UpTo
		switch {
		case r.Mode == Volume && last:
			return []Step{price(t, over)}
		case r.Mode == Volume:
		case last:
			return append(steps, price(t, over-after))
		default:
			steps = append(steps, price(t, t.UpTo-after))
		}
		after = t.UpTo
	}
	panic("bill: the last tier has an end")
}

func (b *bill) storage(sp *Span, used *SpanUsage, key string) error {
	if sp.StorageGB < 0 || sp.Rates.StoragePerGB.IsZero() {
		return nil
	}
	over := new(big.Int).Mul(big.NewInt(sp.StorageGB), big.NewInt(-bytesPerGB))
	over.Add(over, big.NewInt(used.StorageBytes))
	if over.Sign() <= 0 {
		return nil
	}
	perByte := new(big.Int).Quo(sp.Rates.StoragePerGB.Big(), big.NewInt(bytesPerGB))
	full := perByte.Mul(perByte, over)
	money, fits := schemas.MoneyFromBig(full)
	if !fits {
		return schemas.Invalid("/storage", schemas.CodeOutOfRange, "storage of %d bytes cannot be billed", used.StorageBytes)
	}
	gb := strings.TrimSuffix(strings.TrimRight(new(big.Rat).SetFrac(over, big.NewInt(bytesPerGB)).FloatString(9), "0"), ".")
	line := Line{Kind: KindStorage, Key: key, Quantity: gb, Unit: "GB", UnitPrice: sp.Rates.StoragePerGB.String(),
		Description: fmt.Sprintf("Storage over %d GB", sp.StorageGB)}
	return b.add(line, b.share(money, sp), nil)
}

// passThrough adds a line for each model of a provider.
func (b *bill) passThrough(r *Rates, used *SpanUsage, key string) error {
	usage := slices.Clone(used.Usage)
	slices.SortStableFunc(usage, func(a, c Usage) int {
		return cmp.Or(strings.Compare(a.Provider, c.Provider), strings.Compare(a.Model, c.Model))
	})
	for len(usage) > 0 {
		n := slices.IndexFunc(usage, func(u Usage) bool { return u.Provider != usage[0].Provider || u.Model != usage[0].Model })
		if n < 0 {
			n = len(usage)
		}
		cost, tokens := new(big.Int), new(big.Int)
		var weights []weight
		for i := range usage[:n] {
			u := &usage[i]
			cost.Add(cost, u.Cost.Big())
			tokens.Add(tokens, big.NewInt(u.Tokens))
			weights = append(weights, weightOf(u, u.Cost.Big()))
		}
		first := usage[0]
		usage = usage[n:]
		if cost.Sign() == 0 {
			continue
		}
		marked := new(big.Rat).SetFrac(cost.Mul(cost, big.NewInt(10_000+r.MarkupBasisPoints)), big.NewInt(10_000))
		line := Line{Kind: KindUsageCost, Key: key + "/" + first.Provider + "/" + first.Model, Model: first.Model,
			Description: "AI usage of " + cmp.Or(first.Model, "no named model"), Quantity: tokens.String(), Unit: "token"}
		if err := b.add(line, roundHalfAway(marked, 1), weights); err != nil {
			return err
		}
	}
	return nil
}
