package rule

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Kind is what a value measures. Values of different kinds are never compared or added.
type Kind uint8

// The kinds.
const (
	// Number has no unit: a share such as 5%, a factor such as 3x.
	Number Kind = iota + 1
	Count       // of things: tokens, calls, agents, bytes
	Money       // US dollars
	Duration
	Bool // a condition, or a signal
)

// String is the kind for people.
func (k Kind) String() string {
	switch k {
	case Number:
		return "a plain number"
	case Count:
		return "a count"
	case Money:
		return "an amount of money"
	case Duration:
		return "a duration"
	case Bool:
		return "true or false"
	}
	return "nothing"
}

// example shows how a literal of the kind is written.
func (k Kind) example() string {
	switch k {
	case Number:
		return "5% or 3x"
	case Count:
		return "1_000"
	case Money:
		return "$10"
	case Duration:
		return "5m or 30 days"
	}
	return "a comparison"
}

// A Value is exact: a fraction of two whole numbers, or true or false. The zero Value is
// absent: nothing is known. Values are never changed once made.
type Value struct {
	kind  Kind
	rat   *big.Rat // money in USD, durations in seconds; nil for Bool
	truth bool
}

// Of makes a count.
func Of(n int64) Value { return Value{kind: Count, rat: new(big.Rat).SetInt64(n)} }

// OfMoney makes an amount of money.
func OfMoney(m schemas.Money) Value {
	return Value{kind: Money, rat: new(big.Rat).SetFrac(m.Big(), big.NewInt(schemas.PicoPerUSD))}
}

// OfRatio makes a share, part of whole. Of nothing there is no share: it is absent.
func OfRatio(part, whole int64) Value {
	if whole == 0 {
		return Value{}
	}
	return Value{kind: Number, rat: big.NewRat(part, whole)}
}

// OfFraction makes a plain number. It is absent if r is nil.
func OfFraction(r *big.Rat) Value {
	if r == nil {
		return Value{}
	}
	return Value{kind: Number, rat: new(big.Rat).Set(r)}
}

// OfDuration makes a duration.
func OfDuration(d time.Duration) Value {
	return Value{kind: Duration, rat: big.NewRat(int64(d), int64(time.Second))}
}

// OfBool makes a signal.
func OfBool(b bool) Value { return Value{kind: Bool, truth: b} }

// Known reports whether there is a value.
func (v Value) Known() bool { return v.kind != 0 }

// Kind is what it measures, 0 if it is absent.
func (v Value) Kind() Kind { return v.kind }

// Rat returns a copy of the fraction, nil for an absent value and for true and false.
func (v Value) Rat() *big.Rat {
	if v.rat == nil {
		return nil
	}
	return new(big.Rat).Set(v.rat)
}

// Equal reports whether two values are the same to the last digit.
func (v Value) Equal(o Value) bool {
	if v.kind != o.kind || v.truth != o.truth || (v.rat == nil) != (o.rat == nil) {
		return false
	}
	return v.rat == nil || v.rat.Cmp(o.rat) == 0
}

// Show is the value for people, cut and not rounded up: $1.50, 1,200, 4.8%, 3.2x, 5m.
// unit is a Metric's Unit.
func (v Value) Show(unit string) string {
	switch v.kind {
	case Money:
		pico := new(big.Rat).Mul(v.rat, new(big.Rat).SetInt64(schemas.PicoPerUSD))
		if m, ok := schemas.MoneyFromBig(new(big.Int).Quo(pico.Num(), pico.Denom())); ok {
			return m.Display()
		}
		return "$" + cut(v.rat, 2)
	case Duration:
		return showDuration(v.rat)
	case Bool:
		if v.truth {
			return "yes"
		}
		return "no"
	case Count:
		return strings.TrimSuffix(groupWhole(cut(v.rat, 2))+" "+unit, " ")
	case Number:
		if unit == UnitPercent {
			return cut(new(big.Rat).Mul(v.rat, big.NewRat(100, 1)), 2) + "%"
		}
		return cut(v.rat, 2) + "x"
	}
	return "not known"
}

// cut writes a fraction with at most so many decimals, towards zero, without zeros at the
// end.
func cut(r *big.Rat, decimals int) string {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	n := new(big.Int).Mul(r.Num(), scale)
	n.Quo(n, r.Denom())
	text := new(big.Rat).SetFrac(n, scale).FloatString(decimals)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// groupWhole puts commas into the whole part.
func groupWhole(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	whole, frac, dot := strings.Cut(text, ".")
	whole = sign + schemas.GroupDigits(whole)
	if dot {
		return whole + "." + frac
	}
	return whole
}

// showDuration writes seconds in the largest unit that leaves a whole part.
func showDuration(r *big.Rat) string {
	units := []struct {
		seconds int64
		one     string
	}{{86400, " days"}, {3600, "h"}, {60, "m"}, {1, "s"}}
	abs := new(big.Rat).Abs(r)
	for _, u := range units {
		size := new(big.Rat).SetInt64(u.seconds)
		if abs.Cmp(size) >= 0 {
			return cut(new(big.Rat).Quo(r, size), 1) + u.one
		}
	}
	return fmt.Sprintf("%sms", cut(new(big.Rat).Mul(r, big.NewRat(1000, 1)), 1))
}
