package rule

import (
	"math/big"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// BurnRate is what was spent in a window ÷ what an even spending of a period's budget
// allows for it. It is absent without a budget above zero.
func BurnRate(spent, budget schemas.Money, window, period time.Duration) Value {
	if budget.Sign() <= 0 || window <= 0 || period <= 0 {
		return Value{}
	}
	rate := new(big.Rat).SetFrac(spent.Big(), budget.Big())
	return OfFraction(rate.Mul(rate, big.NewRat(int64(period), int64(window))))
}

// TimeToExhaustion is how long what is left of a budget lasts if each window spends what
// this one did; 0 once it is spent. It is absent if nothing is spent.
func TimeToExhaustion(cost, spent, budget schemas.Money, window time.Duration) Value {
	left := budget.Sub(cost)
	if left.Sign() <= 0 {
		return OfDuration(0)
	}
	if spent.Sign() <= 0 || window <= 0 {
		return Value{}
	}
	windows := new(big.Rat).SetFrac(left.Big(), spent.Big())
	return Value{kind: Duration, rat: windows.Mul(windows, big.NewRat(int64(window), int64(time.Second)))}
}

// Average is a sum ÷ a number of days; absent without days.
func Average(sum Value, days int64) Value {
	if !sum.Known() || days <= 0 {
		return Value{}
	}
	return Value{kind: sum.kind, rat: new(big.Rat).Quo(sum.rat, new(big.Rat).SetInt64(days))}
}

// ShareOf is a part ÷ a whole of the same kind; absent for a whole of zero.
func ShareOf(part, whole Value) Value {
	if part.rat == nil || whole.rat == nil || part.kind != whole.kind || whole.rat.Sign() == 0 {
		return Value{}
	}
	return OfFraction(new(big.Rat).Quo(part.rat, whole.rat))
}
