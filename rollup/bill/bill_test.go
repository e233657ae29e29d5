package bill_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

var february = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)

func usd(text string) schemas.Money {
	m, err := schemas.ParseMoney(text)
	if err != nil {
		panic(err)
	}
	return m
}

// month is a whole February on the rates of a plan in schemas/plans.yaml.
func month(t *testing.T, plan string, used bill.SpanUsage) bill.Input {
	t.Helper()
	card, err := bill.DefaultRates()
	if err != nil {
		t.Fatal(err)
	}
	return bill.Input{
		Tenant: "ten_abc123", Month: "2026-02", PlanVersion: card.Version,
		Spans: []bill.Span{{From: february, To: february.AddDate(0, 1, 0), Plan: plan, Rates: card.Plans[plan], StorageGB: 100}},
		Used:  []bill.SpanUsage{used},
	}
}

func calculate(t *testing.T, in bill.Input) bill.Statement {
	t.Helper()
	s, err := bill.Calculate(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckSums(); err != nil {
		t.Fatal(err)
	}
	return s
}

// lines writes a statement in short: kind and amount.
func lines(s bill.Statement) string {
	var b strings.Builder
	for i := range s.Lines {
		fmt.Fprintf(&b, "%s %d, ", s.Lines[i].Kind, s.Lines[i].Amount)
	}
	return fmt.Sprintf("%s= %d", b.String(), s.Total)
}

// The guide's calculateBill is the pro plan: $49, $10 for each million tokens over the
// free ones, $0.10 for each GB over what the plan holds.
func TestTheGuidesBill(t *testing.T) {
	for _, c := range []struct {
		tokens, bytes int64
		want          string
	}{
		{0, 0, "base_fee 4900, = 4900"},
		{10_000_000, 100_000_000_000, "base_fee 4900, = 4900"},
		{10_000_001, 0, "base_fee 4900, tokens 0, = 4900"},
		{25_500_000, 0, "base_fee 4900, tokens 15500, = 20400"},
		{25_500_000, 150_000_000_000, "base_fee 4900, tokens 15500, storage 500, = 20900"},
		// 79.83 million over: $847.32 with the base fee, as on the guide's dashboard.
		{89_832_000, 0, "base_fee 4900, tokens 79832, = 84732"},
	} {
		s := calculate(t, month(t, "pro", bill.SpanUsage{Usage: []bill.Usage{{Model: "opus", Tokens: c.tokens}}, StorageBytes: c.bytes}))
		if got := lines(s); got != c.want {
			t.Errorf("%d tokens, %d bytes: %s, want %s", c.tokens, c.bytes, got, c.want)
		}
	}
}

// The guide's webhook passes the cost of usage on; its dashboard's models are the lines.
func TestCostIsPassedOn(t *testing.T) {
	in := month(t, "enterprise", bill.SpanUsage{Usage: []bill.Usage{
		{Provider: "anthropic", Model: "claude-opus-4-6", Department: "sales", Tokens: 5, Cost: usd("500.18")},
		{Provider: "anthropic", Model: "claude-opus-4-6", Department: "support", Tokens: 5, Cost: usd("24.00")},
		{Provider: "anthropic", Model: "claude-sonnet-4-5", Cost: usd("213.44")},
		{Provider: "anthropic", Model: "claude-haiku-4-5", Cost: usd("89.12")},
		{Provider: "openai", Model: "gpt-4o", Cost: usd("20.58")},
	}})
	s := calculate(t, in)
	if want := "usage_cost 8912, usage_cost 52418, usage_cost 21344, usage_cost 2058, = 84732"; lines(s) != want || s.Cost != usd("847.32") {
		t.Errorf("%s, want %s", lines(s), want)
	}
	if p := s.Lines[1].Parts; len(p) != 2 || p[0].Department != "sales" || p[0].Amount != 50018 || p[1].Amount != 2400 {
		t.Errorf("parts %+v", p)
	}
	in.Spans[0].Rates.MarkupBasisPoints = 250
	if s := calculate(t, in); s.Total != 86850 { // 847.32 × 1.025 = 868.503
		t.Errorf("with 2.5%%: %s", lines(s))
	}
}

func TestTiers(t *testing.T) {
	steps := func(mode bill.Mode, over int64) string {
		r := bill.Rates{HasTokens: true, Mode: mode, Tiers: []bill.Tier{{UpTo: 1_000_000, PerMillion: usd("10")}, {PerMillion: usd("4")}}}
		if mode == bill.Package {
			r.Tiers, r.PackageSize = []bill.Tier{{PerMillion: usd("7")}}, 500_000
		}
		var list []string
		for _, s := range r.Charge(over) {
			list = append(list, fmt.Sprintf("%d: %s", s.Tokens, s.Exact))
		}
		return strings.Join(list, ", ")
	}
	for _, c := range []struct {
		mode bill.Mode
		over int64
		want string
	}{
		{bill.Graduated, 1, "1: 0.000010"},
		{bill.Graduated, 1_000_000, "1000000: 10.000000"},
		{bill.Graduated, 1_000_001, "1000000: 10.000000, 1: 0.000004"},
		{bill.Volume, 1_000_000, "1000000: 10.000000"},
		{bill.Volume, 1_000_001, "1000001: 4.000004"},
		{bill.Package, 1, "1: 7.000000"},
		{bill.Package, 500_000, "500000: 7.000000"},
		{bill.Package, 500_001, "500001: 14.000000"},
	} {
		if got := steps(c.mode, c.over); got != c.want {
			t.Errorf("%s %d: %s, want %s", c.mode, c.over, got, c.want)
		}
	}
}

// A plan that changes, a trial that ends: each span by its own plan and its share.
func TestProration(t *testing.T) {
	in := month(t, "pro", bill.SpanUsage{Usage: []bill.Usage{{Tokens: 9_000_000}}})
	middle := february.AddDate(0, 0, 14)
	card, _ := bill.DefaultRates()
	in.Spans = append(in.Spans, bill.Span{From: middle, To: in.Spans[0].To, Plan: "starter", Rates: card.Plans["starter"], StorageGB: 10})
	in.Spans[0].To = middle
	in.Used = append(in.Used, bill.SpanUsage{StorageBytes: 30_000_000_000})
	// Half of $49; 4 of 9 million tokens over half of 10; 20 GB over for half a month.
	if s, want := calculate(t, in), "base_fee 2450, tokens 4000, storage 100, = 6550"; lines(s) != want {
		t.Errorf("%s, want %s", lines(s), want)
	}
	in.Spans[0].Trial = true
	if s, want := calculate(t, in), "storage 100, = 100"; lines(s) != want {
		t.Errorf("after a trial: %s, want %s", lines(s), want)
	}
}

func TestCommitmentAndCredits(t *testing.T) {
	in := month(t, "pro", bill.SpanUsage{})
	r := &in.Spans[0].Rates
	r.Commitment = usd("100")
	if s, want := calculate(t, in), "base_fee 4900, commitment 5100, = 10000"; lines(s) != want {
		t.Errorf("%s, want %s", lines(s), want)
	}
	r.Credits, in.Credit = usd("30"), usd("90")
	s := calculate(t, in)
	if want := "base_fee 4900, commitment 5100, credit -3000, credit -7000, = 0"; lines(s) != want || s.CreditOut != usd("20") {
		t.Errorf("%s with %s left, want %s", lines(s), s.CreditOut, want)
	}
	// A correction that is more than the month: nobody is paid out, the next month has it.
	in.Credit, r.Credits, r.Commitment = usd("5"), usd("0"), usd("0")
	in.Adjustments = []bill.Line{{Kind: bill.KindAdjustment, Key: "2026-01", Exact: usd("-60"), Parts: []bill.Part{{Exact: usd("-60")}}}}
	s = calculate(t, in)
	if want := "base_fee 4900, adjustment -6000, carried 1100, = 0"; lines(s) != want || s.CreditOut != usd("16") {
		t.Errorf("%s with %s left, want %s", lines(s), s.CreditOut, want)
	}
}

// Amounts are in the currency's own steps.
func TestCurrencies(t *testing.T) {
	in := month(t, "pro", bill.SpanUsage{})
	for currency, want := range map[string]int64{"EUR": 4518, "JPY": 7374, "BHD": 18470, "ISK": 676200, "HUF": 1584660} {
		in.Currency, in.Rate = currency, &bill.Rate{PerUSD: map[string]string{
			"EUR": "0.9221", "JPY": "150.49", "BHD": "0.37696", "ISK": "137.999", "HUF": "323.4"}[currency], Date: "2026-02-28"}
		if s := calculate(t, in); s.Total != want {
			t.Errorf("%s: %d, want %d", currency, s.Total, want)
		}
	}
	for _, c := range []struct {
		currency string
		rate     *bill.Rate
	}{
		{"UGX", &bill.Rate{PerUSD: "3600", Date: "2026-02-28"}}, {"usd", nil}, {"XXX", nil}, {"EUR", nil},
		{"USD", &bill.Rate{PerUSD: "1", Date: "2026-02-28"}}, {"EUR", &bill.Rate{PerUSD: "0", Date: "2026-02-28"}},
		{"EUR", &bill.Rate{PerUSD: "1e3", Date: "2026-02-28"}}, {"EUR", &bill.Rate{PerUSD: "1", Date: "2026-02"}},
	} {
		in.Currency, in.Rate = c.currency, c.rate
		if _, err := bill.Calculate(in); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s at %+v: %v", c.currency, c.rate, err)
		}
	}
}

func TestInputsThatContradictThemselves(t *testing.T) {
	for name, change := range map[string]func(*bill.Input){
		"no tenant":        func(in *bill.Input) { in.Tenant = "" },
		"no month":         func(in *bill.Input) { in.Month = "2026-13" },
		"no usage":         func(in *bill.Input) { in.Used = nil },
		"out of the month": func(in *bill.Input) { in.Spans[0].To = in.Spans[0].To.Add(time.Second) },
		"overlap":          func(in *bill.Input) { in.Spans, in.Used = append(in.Spans, in.Spans[0]), append(in.Used, in.Used[0]) },
		"a debt":           func(in *bill.Input) { in.Credit = usd("-1") },
		"too many tokens":  func(in *bill.Input) { in.Used[0].Usage = []bill.Usage{{Tokens: 1 << 62}, {Tokens: 1 << 62}} },
		"too much for cash": func(in *bill.Input) {
			in.Spans[0].Rates.Tiers[0].PerMillion = usd("900000")
			in.Used[0].Usage = []bill.Usage{{Tokens: 1 << 62}}
		},
		"rates": func(in *bill.Input) { in.Spans[0].Rates.Mode = "free" },
	} {
		in := month(t, "pro", bill.SpanUsage{})
		change(&in)
		if _, err := bill.Calculate(in); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRatesAreRead(t *testing.T) {
	good := string(schemas.PlansYAML())
	for name, change := range map[string][2]string{
		"a number":          {`base_fee: "49"`, `base_fee: 49`},
		"a word":            {`base_fee: "49"`, `base_fee: "much"`},
		"less than nothing": {`base_fee: "49"`, `base_fee: "-49"`},
		"no base fee":       {`base_fee: "49"`, ``},
		"an unknown field":  {`base_fee: "49"`, "base_fee: \"49\"\n      fee: 1"},
		"an unknown mode":   {`mode: graduated`, `mode: flat`},
		"no package":        {`mode: graduated`, `mode: package`},
		"an end":            {`- per_million: "10"`, "- per_million: \"10\"\n            up_to: 5"},
		"no price":          {`- per_million: "10"`, `- up_to: 5`},
		"a fine price":      {`- per_million: "10"`, `- per_million: "0.0000001"`},
		"a fine GB":         {`storage_per_gb: "0.10"`, `storage_per_gb: "0.0001"`},
		"a markup":          {`markup_basis_points: 0`, `markup_basis_points: -1`},
		"no version":        {`version: 2`, ``},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if _, err := bill.ParseRates([]byte(text)); text == good || !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Random bills against an oracle that knows no rounding but the last: the total is the
// rounded sum, no line or part moves by a whole minor unit, and all sums hold.
func TestRandomBillsAddUp(t *testing.T) {
	const seed = 20260201
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	names := func(n int) string { return fmt.Sprintf("n%d", r.IntN(n)) }
	for round := range 600 {
		in := month(t, "pro", bill.SpanUsage{})
		rates := &in.Spans[0].Rates
		rates.PassThrough, rates.MarkupBasisPoints = r.IntN(2) == 0, r.Int64N(5_000)
		rates.Tiers[0].PerMillion = schemas.Pico(r.Int64N(20_000_000) * 1_000_000)
		rates.Included = r.Int64N(1_000_000)
		var tokens int64
		cost := map[string]*big.Rat{}
		for range r.IntN(40) {
			u := bill.Usage{Model: names(4), Department: names(3), CostCenter: names(3), Agent: names(9),
				Tokens: r.Int64N(1_000_000) - 50_000, Cost: schemas.Pico(r.Int64N(1e13) - 1e12)}
			in.Used[0].Usage = append(in.Used[0].Usage, u)
			tokens += u.Tokens
			if cost[u.Model] == nil {
				cost[u.Model] = new(big.Rat)
			}
			cost[u.Model].Add(cost[u.Model], new(big.Rat).SetInt(u.Cost.Big()))
		}
		s := calculate(t, in)
		want := new(big.Rat).SetInt(usd("49").Big())
		if over := tokens - rates.Included; over > 0 {
			per := new(big.Rat).SetFrac(rates.Tiers[0].PerMillion.Big(), big.NewInt(1_000_000))
			want.Add(want, per.Mul(per, big.NewRat(over, 1)))
		}
		if rates.PassThrough {
			for _, c := range cost {
				want.Add(want, c.Mul(c, big.NewRat(10_000+rates.MarkupBasisPoints, 10_000)))
			}
		}
		if want.Sign() < 0 {
			want.SetInt64(0) // carried
		}
		// Within half a pico for each of the models.
		diff := new(big.Rat).Sub(want, new(big.Rat).SetInt(s.Exact.Big()))
		if diff.Abs(diff).Cmp(big.NewRat(4, 2)) > 0 {
			t.Fatalf("round %d: %s is exactly %s", round, s.Exact, want.FloatString(2))
		}
		for i := range s.Lines {
			l := &s.Lines[i]
			near(t, l.Exact, l.Amount)
			for _, p := range l.Parts {
				near(t, p.Exact, p.Amount)
			}
		}
		near(t, s.Exact, s.Total)
		again := calculate(t, in)
		if !bytes.Equal(s.Encode(), again.Encode()) {
			t.Fatalf("round %d: the same input gives another statement", round)
		}
	}
}

// near fails if cents are not within one of the exact amount.
func near(t *testing.T, exact schemas.Money, cents int64) {
	t.Helper()
	diff := new(big.Int).Sub(exact.Big(), new(big.Int).Mul(big.NewInt(cents), big.NewInt(schemas.PicoPerCent)))
	if diff.CmpAbs(big.NewInt(schemas.PicoPerCent)) >= 0 {
		t.Fatalf("%s became %d cents", exact, cents)
	}
}

// A statement that was changed by hand is not believed.
func TestASealHolds(t *testing.T) {
	s := bill.Seal(calculate(t, month(t, "pro", bill.SpanUsage{})), february.AddDate(0, 1, 3))
	back, err := bill.Decode(s.Encode())
	if err != nil || !bytes.Equal(back.Encode(), s.Encode()) || !back.Sealed {
		t.Fatalf("%+v, %v", back, err)
	}
	for _, change := range [][2]string{{`"total":4900`, `"total":4800`}, {`"amount":4900`, `"amount":4800`}, {`"as_of":0`, `"as_of":9`}} {
		text := strings.ReplaceAll(string(s.Encode()), change[0], change[1])
		if _, err := bill.Decode([]byte(text)); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s became %s and it was read: %v", change[0], change[1], err)
		}
	}
}
