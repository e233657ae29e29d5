package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

func money(t testing.TB, text string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestShares(t *testing.T) {
	for _, c := range []struct {
		name    string
		amounts []string
		want    []int
	}{
		{"the guide's month", []string{"524.18", "213.44", "89.12", "20.58"}, []int{62, 25, 11, 2}},
		{"thirds: the first takes the rest", []string{"1", "1", "1"}, []int{34, 33, 33}},
		{"one", []string{"0.000000000001"}, []int{100}},
		{"a crumb", []string{"1000000", "0.01"}, []int{100, 0}},
		{"nothing", []string{"0", "0"}, nil},
		{"none", nil, nil},
		{"a credit among them", []string{"5", "-1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var amounts []schemas.Money
			for _, text := range c.amounts {
				amounts = append(amounts, money(t, text))
			}
			if diff := cmp.Diff(c.want, shares(amounts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Shares add up to 100, and none is a whole percent away from the exact part.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		picos := rapid.SliceOfN(rapid.Int64Range(0, 1<<50), 1, 40).Draw(t, "pico-USD")
		var sum int64
		var amounts []schemas.Money
		for _, n := range picos {
			sum += n
			amounts = append(amounts, schemas.Pico(n))
		}
		parts := shares(amounts)
		if sum == 0 {
			if parts != nil {
				t.Fatal("shares of nothing")
			}
			return
		}
		total := 0
		for i, p := range parts {
			total += p
			// |100·n/sum − p| < 1, in integers.
			distance := 100*picos[i] - int64(p)*sum // below 2^63: 100 × 40 × 2^50
			if distance >= sum || -distance >= sum {
				t.Fatalf("%d of %d is %d%%", picos[i], sum, p)
			}
		}
		if total != 100 {
			t.Fatalf("%v add up to %d", parts, total)
		}
	})
}

func TestDollars(t *testing.T) {
	for _, c := range []struct {
		amount   string
		decimals int
		want     string
	}{
		{"916.176", 0, "$916.176000"}, {"1234567.5", 0, "$1,234,567.500000"}, {"-0.03", 0, "-$0.030000"},
		{"0.030432", 8, "$0.03043200"}, {"0", 0, "$0.000000"}, {"0.000000000001", 0, "$0.000000000001"},
	} {
		if got := dollars(money(t, c.amount), c.decimals); got != c.want {
			t.Errorf("%s with %d decimals: %s, not %s", c.amount, c.decimals, got, c.want)
		}
	}
}

func TestPercentOfIsNeverRoundedUp(t *testing.T) {
	for _, c := range []struct{ part, whole, want string }{
		{"847.32", "1000", "84"}, {"999.999999", "1000", "99"}, {"1000", "1000", "100"}, {"4792.62", "100", "4792"},
	} {
		if got := percentOf(money(t, c.part), money(t, c.whole)).String(); got != c.want {
			t.Errorf("%s of %s is %s%%, not %s%%", c.part, c.whole, got, c.want)
		}
	}
}
