package schemas

import (
	"math"
	"sort"
)

// compileRow works fallbacks, context tiers and multipliers of a row into
// tables that rating only has to look up.
func compileRow(i int, r *PriceRow) (bookVersion, error) {
	v := bookVersion{row: i, from: math.MinInt64, to: math.MaxInt64, daily: r.Daily}
	if !r.ValidFrom.IsZero() {
		v.from = r.ValidFrom.UnixMilli()
	}
	if !r.ValidTo.IsZero() {
		v.to = r.ValidTo.UnixMilli()
	}
	for _, over := range thresholds(r.Contexts, nil) {
		cells := listCells(r, over)
		table, err := compileTable(over, &cells)
		if err != nil {
			return bookVersion{}, err
		}
		v.list = append(v.list, table)
	}
	for si := range r.Services {
		s := &r.Services[si]
		tier := serviceTables{name: s.Name}
		for _, over := range thresholds(r.Contexts, s.Contexts) {
			cells := serviceCells(r, s, over)
			table, err := compileTable(over, &cells)
			if err != nil {
				return bookVersion{}, err
			}
			tier.tables = append(tier.tables, table)
		}
		v.services = append(v.services, tier)
	}
	for name, pico := range r.Units {
		v.units = append(v.units, unitPrice{name, pico})
	}
	sort.Slice(v.units, func(a, b int) bool { return v.units[a].name < v.units[b].name })
	return v, nil
}

// thresholds returns 0 and every threshold, ascending.
func thresholds(a, b []ContextTier) []int64 {
	seen := map[int64]bool{0: true}
	all := []int64{0}
	for _, tiers := range [][]ContextTier{a, b} {
		for _, t := range tiers {
			if !seen[t.Over] {
				seen[t.Over] = true
				all = append(all, t.Over)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}

// A priceCell is the price of one bucket before the multiplier.
type priceCell struct {
	has    bool
	plain  int64
	ratio  Ratio
	origin Bucket
}

type priceCells [BucketCount]priceCell

// take puts the prices that p names over those that are there.
func (c *priceCells) take(p *TokenPrices) {
	for i := range c {
		if p.Has[i] {
			c[i] = priceCell{has: true, plain: p.Pico[i], ratio: Ratio{1, 1}, origin: Bucket(i)}
		}
	}
}

func (c *priceCells) takeContexts(tiers []ContextTier, over int64) {
	for i := range tiers {
		if tiers[i].Over <= over {
			c.take(&tiers[i].Tokens)
		}
	}
}

func listCells(r *PriceRow, over int64) priceCells {
	var c priceCells
	c.take(&r.Tokens)
	c.takeContexts(r.Contexts, over)
	return c
}

func serviceCells(r *PriceRow, s *ServiceTier, over int64) priceCells {
	c := listCells(r, over)
	for i := range c {
		if ratio, ok := s.Multiply[bucketNames[i]]; ok {
			c[i].ratio = ratio
		} else if ratio, ok := s.Multiply[MultiplyAll]; ok {
			c[i].ratio = ratio
		}
	}
	c.take(&s.Tokens)
	c.takeContexts(s.Contexts, over)
	return c
}

// fallbackBuckets are the buckets whose price stands in for a bucket that has
// none, in order. Each is what providers without a price of its own bill:
//
//   - cache_read, cache_write_5m: a provider that lists no cache price bills
//     cached prompt tokens as prompt tokens.
//   - cache_write_1h: a provider with one cache duration has one write price.
//   - reasoning: part of the output that the caller does not see; every
//     provider bills it as output unless it lists it apart.
//   - audio_in, image: tokens of one prompt at one price unless listed apart.
//   - audio_out: as audio_in, on the side of the output.
//
// Input and output have no fallback: without them a used bucket is unpriced.
func fallbackBuckets(b Bucket) []Bucket {
	switch b {
	case CacheRead, CacheWrite5m, AudioIn, Image:
		return []Bucket{Input}
	case CacheWrite1h:
		return []Bucket{CacheWrite5m, Input}
	case Reasoning, AudioOut:
		return []Bucket{Output}
	}
	return nil
}

// compileTable applies fallbacks and brings all prices to one denominator.
func compileTable(over int64, own *priceCells) (rateTable, error) {
	cells := *own
	for i := range cells {
		for _, f := range fallbackBuckets(Bucket(i)) {
			if !cells[i].has && own[f].has {
				cells[i] = own[f]
			}
		}
	}
	t := rateTable{over: over, den: 1}
	for i := range cells {
		if !cells[i].has {
			continue
		}
		den, ok := mulFits(t.den/gcd(t.den, cells[i].ratio.Den), cells[i].ratio.Den)
		if !ok {
			return rateTable{}, Invalid("/service_tiers", CodeOutOfRange,
				"the multipliers have no common denominator in 64 bits")
		}
		t.den = den
	}
	shared := t.den
	for i := range cells {
		c := &cells[i]
		if !c.has {
			continue
		}
		t.has[i], t.origin[i], t.plain[i], t.ratio[i] = true, c.origin, c.plain, c.ratio
		factor, okFactor := mulFits(c.ratio.Num, t.den/c.ratio.Den)
		scaled, okScaled := mulFits(c.plain, factor)
		if !okFactor || !okScaled {
			return rateTable{}, Invalid("/service_tiers", CodeOutOfRange,
				"%s times its multiplier leaves 64 bits", bucketNames[i])
		}
		t.price[i] = scaled
		shared = gcd(shared, scaled)
	}
	t.den /= shared
	for i := range t.price {
		t.price[i] /= shared
	}
	return t, nil
}
