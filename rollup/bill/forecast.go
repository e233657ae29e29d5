package bill

import (
	"math/big"
	"slices"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// GoOn returns what will have been used when each span ends, if usage goes on as it did
// from the span's begin until now. A span that is over, or has not begun, stays as it is;
// so do storage and what would leave its range.
func GoOn(spans []Span, used []SpanUsage, now time.Time) []SpanUsage {
	list := slices.Clone(used)
	for i := range list {
		sp := &spans[i]
		elapsed := now.Sub(sp.From).Milliseconds()
		if elapsed <= 0 || !now.Before(sp.To) {
			continue
		}
		whole := sp.To.Sub(sp.From).Milliseconds()
		list[i].Usage = slices.Clone(list[i].Usage)
		for j := range list[i].Usage {
			u := &list[i].Usage[j]
			scale := func(n *big.Int) *big.Int {
				n.Mul(n, big.NewInt(whole))
				return n.Quo(n, big.NewInt(elapsed))
			}
			if n := scale(big.NewInt(u.Tokens)); n.IsInt64() {
				u.Tokens = n.Int64()
			}
			if m, fits := schemas.MoneyFromBig(scale(u.Cost.Big())); fits {
				u.Cost = m
			}
		}
	}
	return list
}
