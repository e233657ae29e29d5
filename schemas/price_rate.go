package schemas

import (
	"math/bits"
	"strings"
	"time"
)

// isListTier reports whether a service tier means the list price. These are the
// words providers answer with when no class was asked for.
func isListTier(name string) bool {
	return name == "" || strings.EqualFold(name, "standard") || strings.EqualFold(name, "default") ||
		strings.EqualFold(name, "on_demand")
}

// isBilledUnit reports whether a unit is known to cost money wherever it is
// offered. Used at a model without a price for it, it leaves the event
// unpriced. web_fetch is free at every provider that has it, a request without
// a price is part of its tokens, and a unit that nobody but the tenant knows is
// theirs to count; none of these voids the cost of the tokens.
func isBilledUnit(name string) bool { return name == UnitWebSearch || name == UnitImageOut }

// Rate prices an event by its own time. It never guesses and never answers zero
// for a price it does not know: such an event is unpriced and says why.
//
// Arithmetic is exact in whole pico-USD. Only a multiplier that does not divide
// can leave a fraction; the sum of the event is then rounded once, half-even.
//
//   - An llm.call needs a known model, unless it failed and used nothing.
//   - Any other event without tokens and without billed units costs nothing,
//     whatever its model; otherwise it is rated like a call.
//   - An adjustment with an amount costs that amount; else its signed tokens
//     are rated, in the context tier of their absolute total.
//   - void and resource.sample cost nothing: the one takes an event back whole,
//     the other is a level, billed by plan.
//   - An llm.call that did not fail counts as one request where the model has a
//     price per request, unless the event counts its requests itself.
//   - A bucket without a price takes that of another where providers bill so:
//     reasoning and audio_out as output; cache_read, cache_write_5m, audio_in
//     and image as input; cache_write_1h as cache_write_5m, else as input.
//   - A service tier that the model has no prices for leaves the event
//     unpriced: its list price may be too much or too little.
//
// Rate does not allocate and is safe for concurrent use.
func (b *PriceBook) Rate(e *Event) Rating {
	r := Rating{Revision: b.rev.Number}
	if settled, cost := settledCost(e); settled {
		if m := b.find(e.Provider, e.Model); m != nil { // so that its money is filed with the model's
			r.Provider, r.Model = m.provider, m.model
		}
		return r.with(cost)
	}
	v, t, reason := b.choose(e, &r)
	if reason != "" || t == nil {
		r.Reason, r.Priced = reason, reason == ""
		return r
	}
	var sum Money
	for i, n := range e.Tokens {
		if n == 0 {
			continue
		}
		if !t.has[i] {
			r.Reason = bucketReasons[i]
			return r
		}
		sum = sum.Add(Mul(t.price[i], n))
	}
	sum = divideHalfEven(sum, t.den)
	counted := false
	for i := range e.Units {
		u := &e.Units[i]
		counted = counted || u.Name == UnitRequest
		if u.Count == 0 {
			continue
		}
		price, ok := v.unit(u.Name)
		if !ok && isBilledUnit(u.Name) {
			r.Reason = unitReason(u.Name)
			return r
		}
		sum = sum.Add(Mul(price, u.Count))
	}
	if price, ok := v.unit(UnitRequest); ok && !counted && impliesRequest(e) {
		sum = sum.Add(Pico(price))
	}
	return r.with(sum)
}

// with completes a rating with a cost, if the cost fits.
func (r Rating) with(cost Money) Rating {
	if _, ok := cost.Int64(); !ok {
		r.Reason = UnpricedRange
		return r
	}
	r.Cost, r.Priced = cost, true
	return r
}

// settledCost returns the cost of an event that needs no price.
func settledCost(e *Event) (settled bool, cost Money) {
	switch e.Type {
	case TypeVoid, TypeResourceSample:
		return true, Money{}
	case TypeAdjustment:
		if e.HasAmount {
			return true, e.Amount
		}
	}
	return false, Money{}
}

// choose finds the row and the table that price an event. No reason and no
// table: there is nothing to price.
func (b *PriceBook) choose(e *Event, r *Rating) (*bookVersion, *rateTable, string) {
	m := b.find(e.Provider, e.Model)
	if m == nil {
		if usesNothing(e) {
			return nil, nil, ""
		}
		return nil, nil, UnpricedModel
	}
	r.Provider, r.Model = m.provider, m.model
	if usesNothing(e) {
		return nil, nil, ""
	}
	v := m.at(e.Time)
	if v == nil {
		return nil, nil, UnpricedTime
	}
	tables := v.list
	if !isListTier(e.ServiceTier) {
		tables = v.service(e.ServiceTier)
		if tables == nil {
			return nil, nil, UnpricedTier
		}
	}
	total := e.Tokens.InputTotal()
	if total < 0 {
		total = -total
	}
	i := len(tables) - 1
	for i > 0 && total <= tables[i].over {
		i--
	}
	return v, &tables[i], ""
}

// usesNothing reports whether there is nothing on an event that could cost.
func usesNothing(e *Event) bool {
	if e.Type == TypeLLMCall && e.Status != StatusError {
		return false
	}
	if e.Tokens != (Tokens{}) {
		return false
	}
	for i := range e.Units {
		// Without a model no unit but the known ones can have a price.
		if e.Units[i].Count != 0 && (e.Model != "" || isBilledUnit(e.Units[i].Name)) {
			return false
		}
	}
	return true
}

func impliesRequest(e *Event) bool { return e.Type == TypeLLMCall && e.Status != StatusError }

// at returns the row that holds at a time in Unix milliseconds, or nil.
func (m *bookModel) at(millis int64) *bookVersion {
	const dayMillis = int64(24 * time.Hour / time.Millisecond)
	second := int32((millis%dayMillis + dayMillis) % dayMillis / 1000)
	for i := range m.versions {
		if v := &m.versions[i]; millis >= v.from && millis < v.to && v.daily.holds(second) {
			return v
		}
	}
	return nil
}

func (v *bookVersion) service(name string) []rateTable {
	for i := range v.services {
		if strings.EqualFold(v.services[i].name, name) {
			return v.services[i].tables
		}
	}
	return nil
}

func (v *bookVersion) unit(name string) (int64, bool) {
	for i := range v.units {
		if v.units[i].name == name {
			return v.units[i].pico, true
		}
	}
	return 0, false
}

// bucketReasons are the reasons for buckets without a price, made once so that
// rating does not allocate.
var bucketReasons = func() (reasons [BucketCount]string) {
	for i, name := range bucketNames {
		reasons[i] = UnpricedBucketPref + name
	}
	return reasons
}()

func unitReason(name string) string {
	if name == UnitImageOut {
		return UnpricedUnitPref + UnitImageOut
	}
	return UnpricedUnitPref + UnitWebSearch
}

// divideHalfEven returns m / den, rounded half-even, for a positive den.
func divideHalfEven(m Money, den int64) Money {
	if den == 1 {
		return m
	}
	neg := m.hi < 0
	if neg {
		m = m.Neg()
	}
	d := uint64(den)
	hi, rest := bits.Div64(0, uint64(m.hi), d)
	lo, rest := bits.Div64(rest, m.lo, d)
	q := Money{hi: int64(hi), lo: lo}
	// rest < d < 2^63, so doubling it cannot overflow.
	if twice := rest * 2; twice > d || twice == d && lo&1 == 1 {
		q = q.Add(Pico(1))
	}
	if neg {
		return q.Neg()
	}
	return q
}

// Explain returns the summands of what Rate answers for a priced event; their
// amounts sum exactly to the cost. It returns nil for an unpriced event, and
// for one whose cost needs no price.
//
// Where a multiplier leaves fractions, each amount is the step of the rounded
// running total, so that no line is off by more than one pico-USD.
func (b *PriceBook) Explain(e *Event) []RatingLine {
	var r Rating
	if settled, _ := settledCost(e); settled || !b.Rate(e).Priced {
		return nil
	}
	v, t, _ := b.choose(e, &r)
	if t == nil {
		return nil
	}
	var lines []RatingLine
	var scaled, before Money
	for i, n := range e.Tokens {
		if n == 0 {
			continue
		}
		scaled = scaled.Add(Mul(t.price[i], n))
		after := divideHalfEven(scaled, t.den)
		line := RatingLine{Item: bucketNames[i], PriceOf: bucketNames[t.origin[i]], Quantity: n, PricePico: t.plain[i],
			Multiply: t.ratio[i], ContextOver: t.over, Amount: after.Sub(before)}
		if !isListTier(e.ServiceTier) {
			line.ServiceTier = e.ServiceTier
		}
		lines, before = append(lines, line), after
	}
	counted := false
	for _, u := range e.Units {
		counted = counted || u.Name == UnitRequest
		if price, ok := v.unit(u.Name); ok && u.Count != 0 {
			lines = append(lines, unitLine(u.Name, u.Count, price))
		}
	}
	if price, ok := v.unit(UnitRequest); ok && !counted && impliesRequest(e) {
		lines = append(lines, unitLine(UnitRequest, 1, price))
	}
	return lines
}

func unitLine(name string, count, pico int64) RatingLine {
	return RatingLine{Item: name, Unit: true, PriceOf: name, Quantity: count, PricePico: pico, Multiply: Ratio{1, 1},
		Amount: Mul(pico, count)}
}
