package bill

import (
	"cmp"
	"math/big"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// A weight is what somebody used of what a line charges.
type weight struct {
	Part
	of *big.Int
}

func weightOf(u *Usage, of *big.Int) weight {
	return weight{Part{Department: u.Department, Model: u.Model, CostCenter: u.CostCenter, Agent: u.Agent}, of}
}

func compareParts(a, b Part) int {
	return cmp.Or(strings.Compare(a.Department, b.Department), strings.Compare(a.Model, b.Model),
		strings.Compare(a.CostCenter, b.CostCenter), strings.Compare(a.Agent, b.Agent))
}

// gather sums the weights of equal names, in the order of names, and puts the smallest
// of too many into one.
func gather(weights []weight) []weight {
	slices.SortStableFunc(weights, func(a, b weight) int { return compareParts(a.Part, b.Part) })
	var list []weight
	for _, w := range weights {
		if n := len(list); n > 0 && compareParts(list[n-1].Part, w.Part) == 0 {
			list[n-1].of = new(big.Int).Add(list[n-1].of, w.of)
			continue
		}
		list = append(list, w)
	}
	list = slices.DeleteFunc(list, func(w weight) bool { return w.of.Sign() == 0 })
	if len(list) <= partsMax {
		return list
	}
	slices.SortStableFunc(list, func(a, b weight) int { return b.of.CmpAbs(a.of) })
	other := weight{Part{Department: partOther, Model: partOther, CostCenter: partOther, Agent: partOther}, new(big.Int)}
	for _, w := range list[partsMax-1:] {
		other.of.Add(other.of, w.of)
	}
	list = append(list[:partsMax-1], other)
	slices.SortStableFunc(list, func(a, b weight) int { return compareParts(a.Part, b.Part) })
	return list
}

// divide gives each weight its part of pico.
func divide(pico *big.Int, weights []weight) []Part {
	list, sum := gather(weights), new(big.Int)
	for _, w := range list {
		sum.Add(sum, w.of)
	}
	// Corrections may take as much as was used; then there is nothing to go by.
	if sum.Sign() == 0 {
		exact, _ := schemas.MoneyFromBig(pico)
		return []Part{{Exact: exact}}
	}
	shares := make([]*big.Rat, len(list))
	for i, w := range list {
		shares[i] = new(big.Rat).SetFrac(new(big.Int).Mul(pico, w.of), sum)
	}
	parts := make([]Part, len(list))
	for i, n := range spread(pico, 1, shares) {
		exact, fits := schemas.MoneyFromBig(n)
		if !fits {
			// Weights of both signs can make a part larger than the line by any factor.
			whole, _ := schemas.MoneyFromBig(pico)
			return []Part{{Exact: whole}}
		}
		parts[i] = list[i].Part
		parts[i].Exact = exact
	}
	return parts
}

func (b *bill) sum() schemas.Money {
	sum := schemas.Money{}
	for i := range b.lines {
		sum = sum.Add(b.lines[i].Exact)
	}
	return sum
}

// nobodys is a line that is one part without names.
func nobodys(kind, key, description string, exact schemas.Money) Line {
	return Line{Kind: kind, Key: key, Description: description, Quantity: "1", Unit: "line", Exact: exact, Parts: []Part{{Exact: exact}}}
}

// The keys of credits.
const (
	creditOfPlan = "plan"
	creditOfPast = "balance"
)

// settle adds what looks at the sum: the commitment, credits, and what is carried on
// because the sum is below zero. Credits of the plan are used before what the tenant has
// from before, because they do not last.
func (b *bill) settle() error {
	commitment, credits := new(big.Int), new(big.Int)
	for i := range b.in.Spans {
		if sp := &b.in.Spans[i]; !sp.Trial {
			commitment.Add(commitment, b.share(sp.Rates.Commitment, sp))
			credits.Add(credits, b.share(sp.Rates.Credits, sp))
		}
	}
	// Corrections of earlier months are no part of what this one comes to.
	charged := new(big.Int)
	for i := range b.lines {
		if b.lines[i].Kind != KindAdjustment {
			charged.Add(charged, b.lines[i].Exact.Big())
		}
	}
	if missing := commitment.Sub(commitment, charged); missing.Sign() > 0 {
		money, _ := schemas.MoneyFromBig(missing)
		b.lines = append(b.lines, nobodys(KindCommitment, "month", "Up to the agreed minimum of the month", money))
	}
	ofPlan, _ := schemas.MoneyFromBig(credits)
	for _, credit := range []struct {
		key, text string
		schemas.Money
	}{{creditOfPlan, "Credit of the plan", ofPlan}, {creditOfPast, "Credit from earlier months", b.in.Credit}} {
		if used := least(credit.Money, b.sum()); used.Sign() > 0 {
			b.lines = append(b.lines, nobodys(KindCredit, credit.key, credit.text, used.Neg()))
		}
	}
	if sum := b.sum(); sum.Sign() < 0 {
		b.lines = append(b.lines, nobodys(KindCarried, "month", "Carried to the next month as a credit", sum.Neg()))
	}
	return nil
}

func least(a, b schemas.Money) schemas.Money {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// creditUsed is what was taken of the credit from earlier months.
func (b *bill) creditUsed() schemas.Money {
	for i := range b.lines {
		if b.lines[i].Kind == KindCredit && b.lines[i].Key == creditOfPast {
			return b.lines[i].Exact.Neg()
		}
	}
	return schemas.Money{}
}

// round fills the amounts in minor units: the total is rounded, and spread over lines
// and from each line over its parts.
func (s *Statement) round(per *big.Rat, quantum int64) error {
	minor := func(m schemas.Money) *big.Rat { return new(big.Rat).Mul(new(big.Rat).SetInt(m.Big()), per) }
	shares := make([]*big.Rat, len(s.Lines))
	s.Exact = schemas.Money{}
	for i := range s.Lines {
		shares[i] = minor(s.Lines[i].Exact)
		s.Exact = s.Exact.Add(s.Lines[i].Exact)
	}
	total := roundHalfAway(minor(s.Exact), quantum)
	tooMuch := func(n *big.Int) error {
		return schemas.Invalid("/total", schemas.CodeOutOfRange, "%s minor units of %s are more than an invoice can say", n, s.Currency)
	}
	if !total.IsInt64() {
		return tooMuch(total)
	}
	s.Total = total.Int64()
	for i, amount := range spread(total, quantum, shares) {
		l := &s.Lines[i]
		if !amount.IsInt64() {
			return tooMuch(amount)
		}
		l.Amount = amount.Int64()
		parts := make([]*big.Rat, len(l.Parts))
		for j := range l.Parts {
			parts[j] = minor(l.Parts[j].Exact)
		}
		for j, n := range spread(amount, quantum, parts) {
			if !n.IsInt64() {
				return tooMuch(n)
			}
			l.Parts[j].Amount = n.Int64()
		}
	}
	return nil
}
