package rule

import "math/big"

// A span is the values that an expression can have, its ends included. A nil end is none.
type span struct{ low, high *big.Rat }

func (s span) point() bool { return s.low != nil && s.high != nil && s.low.Cmp(s.high) == 0 }

// notNegative reports whether no value of the span is below zero.
func (s span) notNegative() bool { return s.low != nil && s.low.Sign() >= 0 }

func (s span) negated() span {
	flip := func(r *big.Rat) *big.Rat {
		if r == nil {
			return nil
		}
		return new(big.Rat).Neg(r)
	}
	return span{flip(s.high), flip(s.low)}
}

func addEnds(a, b *big.Rat) *big.Rat {
	if a == nil || b == nil {
		return nil
	}
	return new(big.Rat).Add(a, b)
}

func (s span) plus(o span) span { return span{addEnds(s.low, o.low), addEnds(s.high, o.high)} }

// times is the span of products; where signs are not known, it is everything.
func (s span) times(o span) span {
	if !s.notNegative() || !o.notNegative() {
		if o.point() {
			return s.scaled(o.low)
		}
		if s.point() {
			return o.scaled(s.low)
		}
		return span{}
	}
	product := span{low: new(big.Rat).Mul(s.low, o.low)}
	if s.high != nil && o.high != nil {
		product.high = new(big.Rat).Mul(s.high, o.high)
	}
	return product
}

// over is the span of quotients. A divisor that can be zero makes its end infinite: what
// is divided by zero is absent.
func (s span) over(o span) span {
	if o.point() && o.low.Sign() != 0 {
		return s.scaled(new(big.Rat).Inv(o.low))
	}
	if !s.notNegative() || !o.notNegative() {
		return span{}
	}
	quotient := span{low: new(big.Rat)}
	if o.high != nil && o.high.Sign() > 0 {
		quotient.low.Quo(s.low, o.high)
	}
	if s.high != nil && o.low.Sign() > 0 {
		quotient.high = new(big.Rat).Quo(s.high, o.low)
	}
	return quotient
}

// scaled is the span times a number.
func (s span) scaled(by *big.Rat) span {
	if by.Sign() == 0 {
		return span{new(big.Rat), new(big.Rat)}
	}
	scale := func(r *big.Rat) *big.Rat {
		if r == nil {
			return nil
		}
		return new(big.Rat).Mul(r, by)
	}
	if by.Sign() < 0 {
		return span{scale(s.high), scale(s.low)}
	}
	return span{scale(s.low), scale(s.high)}
}

// always returns whether a comparison of two spans is true whatever the values, and
// whether it is false whatever they are.
func always(op string, a, b span) (yes, no bool) {
	below := func(x, y *big.Rat, orEqual bool) bool { // x < y, of ends that exist
		return x != nil && y != nil && (x.Cmp(y) < 0 || orEqual && x.Cmp(y) == 0)
	}
	switch op {
	case ">":
		return below(b.high, a.low, false), below(a.high, b.low, true)
	case ">=":
		return below(b.high, a.low, true), below(a.high, b.low, false)
	case "<":
		return always(">", b, a)
	case "<=":
		return always(">=", b, a)
	case "==":
		apart := below(a.high, b.low, false) || below(b.high, a.low, false)
		return a.point() && b.point() && a.low.Cmp(b.low) == 0, apart
	case "!=":
		no, yes = always("==", a, b)
		return yes, no
	}
	return false, false
}

// limits are what comparisons with constants leave of one metric.
type limits struct {
	low, high         *big.Rat
	lowOpen, highOpen bool // the end itself is left out
}

// limitsOf are those of a metric's own range.
func limitsOf(m *Metric) *limits {
	s := m.span()
	return &limits{low: s.low, high: s.high}
}

// cut narrows by op and a constant.
func (l *limits) cut(op string, at *big.Rat) {
	if op == ">" || op == ">=" || op == "==" {
		open := op == ">"
		if l.low == nil || at.Cmp(l.low) > 0 || at.Cmp(l.low) == 0 && open {
			l.low, l.lowOpen = at, open
		}
	}
	if op == "<" || op == "<=" || op == "==" {
		open := op == "<"
		if l.high == nil || at.Cmp(l.high) < 0 || at.Cmp(l.high) == 0 && open {
			l.high, l.highOpen = at, open
		}
	}
}

// empty reports whether no value is left.
func (l *limits) empty() bool {
	if l.low == nil || l.high == nil {
		return false
	}
	c := l.low.Cmp(l.high)
	return c > 0 || c == 0 && (l.lowOpen || l.highOpen)
}
