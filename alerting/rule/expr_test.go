package rule

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
	"pgregory.net/rapid"
)

// world has a value for some metrics; the others are absent.
func world() map[string]Value {
	return map[string]Value{
		"usage": Of(951), "quota": Of(1000), "percent_used": OfRatio(951, 1000),
		"cost": OfMoney(schemas.Pico(10_000_000_000_001)), "budget": OfMoney(schemas.Mul(schemas.PicoPerUSD, 100)),
		"tokens": Of(4_500_001), "max_monthly_tokens": Of(5_000_000), "tokens_today": Of(301), "tokens_daily_average": Of(100),
		"calls": Of(200), "errors": Of(10), "error_rate": OfRatio(10, 200), "latency_p95": OfDuration(2500 * time.Millisecond),
		"days_since_last_event": OfDuration(31 * 24 * time.Hour), "burn_rate": OfRatio(7, 2), "ingest_lag": OfDuration(0),
		"stripe.payment.failed": OfBool(true),
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]bool{
		// The guide's own.
		"usage > quota * 0.95":                           true,
		"stripe.payment.failed":                          true,
		"error_rate > 5%":                                false, // it is 5 % to the last digit
		"usage.tokens > tenant.maxMonthlyTokens * 0.9":   true,
		"usage.todayTokens > usage.avgDailyTokens * 3":   true,
		"usage.daysSinceLastMessage > 30":                true,
		"error_rate >= 5%":                               true,
		"error_rate >= 5 percent":                        true,
		"error_rate >= 0.05":                             true,
		"cost > $10":                                     true, // by a millionth of a millionth
		"cost > 10 USD":                                  true,
		"cost <= $10.000000000001":                       true,
		"cost / calls > $0.05":                           true,
		"budget - cost < $90":                            true,
		"tokens > 4_500_000 tokens":                      true,
		"tokens_today >= 3x * tokens_daily_average":      true,
		"latency_p95 > 2s":                               true,
		"latency_p95 > 2s500ms":                          false,
		"latency_p95 * 2 == 5 seconds":                   true,
		"days_since_last_event > 30 days":                true,
		"days_since_last_event < 30 + 2":                 true,
		"days_since_last_event > 1w and calls > 100":     true,
		"not (calls > 200)":                              true,
		"not calls > 200":                                true,
		"!(calls > 100) || errors == 10":                 true,
		"calls > 300 or errors > 5 and error_rate < 90%": true,
		"(calls > 300 or errors > 5) and calls < 100":    false,
		"burn_rate > 3x":                                 true,
		"burn_rate > 3.5":                                false,
		"calls - 10 * errors > 99":                       true,
		"-errors < -9":                                   true,
		"errors / calls == error_rate":                   true,
		"NOT stripe.payment.failed":                      false,
		// What is not known holds neither way.
		"unpriced_share > 1%":                                        false,
		"not (unpriced_share > 1%)":                                  false,
		"not (unpriced_share > 1% and calls > 100)":                  false,
		"unpriced_share > 1% or calls > 100":                         true,
		"unpriced_share > 1% and calls > 300":                        false,
		"not (unpriced_share > 1% and calls > 300)":                  true,
		"cost_today / budget > 1":                                    false,
		"time_to_exhaustion < 2 days":                                false,
		"calls / (errors - 10) > 1 or not calls / (errors - 10) > 1": false, // divided by zero
	} {
		e, err := ParseExpr(condition)
		if err != nil {
			t.Errorf("%s: %v", condition, err)
			continue
		}
		if got := e.Holds(world()); got != want {
			t.Errorf("%s holds: %t, want %t, with %v", condition, got, want, e.Shown(world()))
		}
	}
}

func TestConditionsThatAreRefused(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]string{
		"":                                   "1:1: a condition is missing",
		"eror_rate > 5%":                     "1:1: there is no metric eror_rate, did you mean error_rate?",
		"calls > 5 and latency > 2s":         "1:15: there is no metric latency, did you mean latency_p95?",
		"usage.token > 5":                    "1:1: there is no metric usage.token, did you mean usage.tokens?",
		"error_rate > 5":                     "1:12: this can never be true: error_rate is from 0 to 100%; for a percentage write %",
		"error_rate <= 100%":                 "1:12: this is always true",
		"ingest_lag < 0s":                    "1:12: this can never be true: ingest_lag is 0 or more",
		"percent_used > 1001%":               "1:16: 1001% is over 1000%",
		"percent_used > 95":                  "1:16: 9500% is over 1000%; a plain number is a factor, so write 95% or 0.95",
		"cost > 10":                          "1:6: an amount of money is compared with a plain number; a unit is missing, as in $10",
		"latency_p95 > 2":                    "as in 5m or 30 days",
		"cost > tokens":                      "1:6: an amount of money is compared with a count",
		"tokens * calls > 5":                 "1:8: a count times a count is nothing that can be measured",
		"cost + calls > $5":                  "1:6: an amount of money + a count",
		"calls":                              "1:1: a condition is true or false; this is a count. Compare it, as in … > 1_000",
		"calls and errors > 5":               "1:1: and wants a condition on either side",
		"stripe.payment.failed == true":      "true and false are not compared",
		"stripe.payment.failed > 5":          "true or false is compared with a plain number",
		"1 < 2":                              "no metric is in it",
		"true":                               "no metric is in it",
		"1 < calls < 5":                      "1:11: two comparisons in a row; write a < b and b < c",
		"calls > 1,000":                      "1:10: a comma in a number; write 1_000_000",
		"calls = 5":                          "1:7: = is no comparison, write ==",
		"calls => 5":                         "1:7: => is no comparison, write >=",
		"calls > 5 errors_":                  `1:11: "errors_" has no place here`,
		"calls > 5 cost > $3":                `1:11: "cost" has no place here`,
		"calls > (5":                         "1:11: the end where ) is missing",
		"calls >":                            "1:8: the end where a number or a metric is missing",
		"calls > 5 foo":                      `"foo" has no place here`,
		"calls > 5zz":                        `1:10: "zz" is no unit`,
		"system('ls')":                       "has no meaning here",
		"rm(5) > 3":                          "there are no functions",
		"calls > 5; errors > 1":              `1:10: ';' has no meaning here`,
		"calls > 5 and calls < 3":            "1:21: with what stands before it this can never be true: calls cannot be both",
		"calls > 5 or calls <= 5":            "this is always true, whatever calls is",
		"errors / 0 > 5":                     "1:10: a division by zero",
		"calls > 5 and cost > 3 and foo > 1": "1:28: there is no metric foo",
		"latency_p95 > 30m1h":                "from the largest unit to the smallest",
		"calls > 1.2.3":                      "has no meaning here",
		strings.Repeat("(", 100) + "calls > 5" + strings.Repeat(")", 100): "more than 40 levels",
		strings.Repeat("not ", 100) + "calls > 5":                         "more than 40 levels",
		"calls > 5" + strings.Repeat(" or calls > 5", 100):                "at most 1000",
	} {
		e, err := ParseExpr(condition)
		if err == nil {
			t.Errorf("%q is taken as %s", condition, e.Canonical())
			continue
		}
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is refused with:\n%v\nand not with: %s", condition, err, want)
		}
	}
}

// Two slips of kind are both told.
func TestAllSlipsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	_, err := ParseExpr("cost > 10 and latency_p95 > 3 and error_rate > 5")
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 || problems[0].Column != 6 || problems[1].Column != 27 || problems[2].Column != 46 {
		t.Errorf("got %v", err)
	}
}

func TestCanonicalIsOneWritingOfAMeaning(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"usage.tokens>tenant.maxMonthlyTokens*0.9", "tokens > max_monthly_tokens * 90%", "(tokens) > (max_monthly_tokens * 0.90)"},
		{"latency_p95 > 90s", "latency_p95 > 1m30s", "latency_p95 > 1.5 minutes"},
	} {
		var first string
		for i, text := range same {
			e, err := ParseExpr(text)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = e.Canonical()
			} else if got := e.Canonical(); got != first {
				t.Errorf("%s is %s, and %s is %s", same[0], first, text, got)
			}
		}
	}
}

// Arithmetic is that of fractions: an expression of random numbers is what big.Rat says.
func TestArithmeticIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64Range(1, 1<<62).Draw(t, "b")
		percent := rapid.IntRange(1, 1000).Draw(t, "percent")
		e, err := ParseExpr("usage > quota * " + big.NewInt(int64(percent)).String() + "%")
		if err != nil {
			t.Fatal(err)
		}
		left := new(big.Int).Mul(big.NewInt(a), big.NewInt(100))
		right := new(big.Int).Mul(big.NewInt(b), big.NewInt(int64(percent)))
		if got := e.Holds(map[string]Value{"usage": Of(a), "quota": Of(b)}); got != (left.Cmp(right) > 0) {
			t.Errorf("%d > %d * %d%%: %t", a, b, percent, got)
		}
	})
}

func TestValuesAreShownToPeople(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]struct {
		value Value
		unit  string
	}{
		"$1,234.50": {OfMoney(schemas.Pico(1_234_500_000_000_000)), ""}, "1,200 tokens": {Of(1200), "tokens"}, "-3": {Of(-3), ""},
		"4.99%": {OfRatio(4999, 100_000), UnitPercent}, "3.5x": {OfRatio(7, 2), UnitFactor}, "31 days": {OfDuration(31 * 24 * time.Hour), ""},
		"1.5h": {OfDuration(90 * time.Minute), ""}, "250ms": {OfDuration(250 * time.Millisecond), ""}, "0ms": {OfDuration(0), ""},
		"yes": {OfBool(true), ""}, "not known": {Value{}, ""},
	} {
		if got := v.value.Show(v.unit); got != want {
			t.Errorf("shown as %q, want %q", got, want)
		}
	}
	if OfRatio(1, 0).Known() {
		t.Error("there is a share of nothing")
	}
}

// FuzzParseExpr: whatever is written, the parser ends, says where it stopped, and what it
// takes reads back as the same.
func FuzzParseExpr(f *testing.F) {
	for _, seed := range []string{"usage > quota * 0.95", "stripe.payment.failed", "error_rate > 5%", "not (cost/calls >= $0.10) or latency_p95 > 1h30m",
		"days_since_last_event > 30", "((((", "5 5 5", "calls > -1_0 tokens", "\xff", "!calls", "a.b.c <>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseExpr(text)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("refused without a place: %v", err)
			}
			for _, p := range problems {
				if p.Column < 1 || p.Column > len(text)+1 {
					t.Fatalf("%q: column %d is outside: %s", text, p.Column, p.What)
				}
			}
			return
		}
		again, err := ParseExpr(e.String())
		if err != nil || again.Canonical() != e.Canonical() {
			t.Fatalf("%q reads back as another: %v", text, err)
		}
		e.Holds(nil)
		e.Holds(world())
	})
}
