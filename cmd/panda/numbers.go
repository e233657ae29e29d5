package main

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// grouped writes a count with a comma between groups of three digits.
func grouped(n int64) string { return schemas.GroupDigits(strconv.FormatInt(n, 10)) }

// dollars writes an exact amount, "$1,234.567800", with at least the given
// number of decimals, so that a column of amounts stands point under point.
func dollars(m schemas.Money, decimals int) string {
	digits, negative := strings.CutPrefix(m.String(), "-")
	whole, frac, _ := strings.Cut(digits, ".")
	for len(frac) < decimals {
		frac += "0"
	}
	s := "$" + schemas.GroupDigits(whole) + "." + frac
	if negative {
		return "-" + s
	}
	return s
}

// decimalsOf is how many decimals the most exact of the amounts needs.
func decimalsOf(amounts []schemas.Money) int {
	most := 0
	for _, m := range amounts {
		_, frac, _ := strings.Cut(m.String(), ".")
		most = max(most, len(frac))
	}
	return most
}

// shares returns each amount's part of their sum in whole percent, rounded by
// the largest remainder so that they add up to exactly 100; of equal remainders
// the earlier takes the rest. It returns nil where parts mean nothing: no
// money, or a negative amount among them. Exact in integers.
func shares(amounts []schemas.Money) []int {
	var sum schemas.Money
	for _, m := range amounts {
		if m.Sign() < 0 {
			return nil
		}
		sum = sum.Add(m)
	}
	if sum.IsZero() {
		return nil
	}
	const whole = 100
	parts := make([]int, len(amounts))
	rests := make([]*big.Int, len(amounts))
	order := make([]int, len(amounts))
	left := whole
	total, hundred := sum.Big(), big.NewInt(whole)
	for i, m := range amounts {
		quotient, rest := new(big.Int).QuoRem(new(big.Int).Mul(m.Big(), hundred), total, new(big.Int))
		parts[i], rests[i], order[i] = int(quotient.Int64()), rest, i
		left -= parts[i]
	}
	slices.SortStableFunc(order, func(x, y int) int { return rests[y].Cmp(rests[x]) })
	for _, i := range order[:left] {
		parts[i]++
	}
	return parts
}

// percentOf returns floor(100 × part / whole) for a positive whole: 99.9 % of a
// budget is not all of it.
func percentOf(part, whole schemas.Money) *big.Int {
	n := new(big.Int).Mul(part.Big(), big.NewInt(100))
	return n.Div(n, whole.Big())
}

// stamp writes a time for people, in UTC, to the second.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// plural writes a count and its noun.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}
