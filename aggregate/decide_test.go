package aggregate

import (
	"testing"

	"github.com/agentik-os/panda/schemas"
)

func TestDecide(t *testing.T) {
	usd := func(s string) schemas.Money {
		m, err := schemas.ParseMoney(s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tokens := func(quota int64) Limits { return Limits{HasTokens: true, MonthlyTokens: quota} }
	budget := func(amount string) Limits { return Limits{HasBudget: true, MonthlyBudget: usd(amount)} }
	both := func(quota int64, amount string) Limits {
		return Limits{HasTokens: true, MonthlyTokens: quota, HasBudget: true, MonthlyBudget: usd(amount)}
	}
	huge := schemas.Mul(1<<62, 1<<60)
	for name, c := range map[string]struct {
		limits  Limits
		tokens  int64
		cost    schemas.Money
		verdict Verdict
		limit   string
		percent int
		step    int
	}{
		"no limits":                    {Limits{}, 1 << 50, huge, Allow, "", 0, 0},
		"suspended, whatever is left":  {Limits{Suspended: true, HasTokens: true, MonthlyTokens: 100}, 0, usd("0"), Deny, LimitSuspended, 0, 0},
		"nothing used":                 {tokens(100), 0, usd("0"), Allow, LimitTokens, 0, 0},
		"just below the warning":       {tokens(1000), 799, usd("0"), Allow, LimitTokens, 79, 0},
		"at the warning":               {tokens(1000), 800, usd("0"), Warn, LimitTokens, 80, 80},
		"at the second warning":        {tokens(1000), 900, usd("0"), Warn, LimitTokens, 90, 90},
		"one token below the limit":    {tokens(1_000_000_000_000), 999_999_999_999, usd("0"), Warn, LimitTokens, 99, 90},
		"at the limit":                 {tokens(1000), 1000, usd("0"), Throttle, LimitTokens, 100, 100},
		"beyond the limit":             {tokens(1000), 2570, usd("0"), Throttle, LimitTokens, 257, 100},
		"a quota of nothing":           {tokens(0), 0, usd("0"), Throttle, LimitTokens, 100, 100},
		"less than nothing used":       {tokens(100), -50, usd("0"), Allow, LimitTokens, 0, 0},
		"the guide's example":          {budget("1000"), 0, usd("847.32"), Warn, LimitBudget, 84, 80},
		"a pico-dollar below":          {budget("1000"), 0, usd("999.999999999999"), Warn, LimitBudget, 99, 90},
		"budget used up":               {budget("1000"), 0, usd("1000"), Throttle, LimitBudget, 100, 100},
		"beyond 64 bits":               {budget("100000000"), 0, usd("80000000"), Warn, LimitBudget, 80, 80},
		"beyond 64 bits, below":        {budget("100000000"), 0, usd("79999999.999999999999"), Allow, LimitBudget, 79, 0},
		"far beyond a small budget":    {budget("0.000001"), 0, huge, Throttle, LimitBudget, PercentMax, 100},
		"far beyond, within 64 bits":   {budget("0.000000000001"), 0, usd("1000"), Throttle, LimitBudget, PercentMax, 100},
		"the stricter one: tokens":     {both(100, "10"), 100, usd("9"), Throttle, LimitTokens, 100, 100},
		"the stricter one: budget":     {both(100, "10"), 95, usd("10"), Throttle, LimitBudget, 100, 100},
		"the nearer one of two alike":  {both(100, "10"), 81, usd("8.5"), Warn, LimitBudget, 85, 80},
		"the nearer one, first is far": {both(100, "10"), 60, usd("5"), Allow, LimitTokens, 60, 0},
	} {
		usage := Totals{Tokens: schemas.Tokens{schemas.Output: c.tokens}, Cost: c.cost}
		d := Decide(c.limits, &usage)
		if d.Verdict != c.verdict || d.Limit != c.limit || d.Percent != c.percent || d.Step != c.step {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	limits := Limits{HasTokens: true, MonthlyTokens: 1 << 40, HasBudget: true, MonthlyBudget: schemas.Mul(schemas.PicoPerUSD, 1000)}
	usage := Totals{Tokens: schemas.Tokens{1 << 39}, Cost: schemas.Mul(schemas.PicoPerUSD, 847)}
	for b.Loop() {
		Decide(limits, &usage)
	}
}
