package schemas_test

import (
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

// usd is a price per million tokens in pico-USD per token.
func usd(t testing.TB, perMtok string) int64 {
	t.Helper()
	m, err := schemas.ParseMoney(perMtok)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := m.Int64()
	return n / 1_000_000
}

// mtok makes prices from bucket, price pairs in USD per million tokens.
func mtok(t testing.TB, pairs ...string) schemas.TokenPrices {
	t.Helper()
	var p schemas.TokenPrices
	for i := 0; i < len(pairs); i += 2 {
		b, ok := schemas.ParseBucket(pairs[i])
		if !ok {
			t.Fatalf("%s is not a bucket", pairs[i])
		}
		p.Set(b, usd(t, pairs[i+1]))
	}
	return p
}

func date(s string) time.Time {
	at, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return at
}

// smallBook holds the rows the tests below speak about.
func smallBook(t testing.TB) *schemas.PriceBook {
	t.Helper()
	long := mtok(t, "input", "10", "output", "37.5", "cache_read", "1", "cache_write_5m", "12.5", "cache_write_1h", "20")
	flat := mtok(t, "input", "5", "output", "25", "cache_read", "0.5", "cache_write_5m", "6.25", "cache_write_1h", "10")
	fast := []schemas.ServiceTier{
		{Name: "batch", Multiply: map[string]schemas.Ratio{"all": {Num: 1, Den: 2}}},
		{Name: "fast", Multiply: map[string]schemas.Ratio{"all": {Num: 6, Den: 1}}},
		{Name: "us", Multiply: map[string]schemas.Ratio{"all": {Num: 11, Den: 10}}},
	}
	search := schemas.UnitPrices{schemas.UnitWebSearch: schemas.PicoPerCent}
	book, err := schemas.BuildPriceBook(schemas.PriceRevision{
		Number: 7,
		Providers: []schemas.PriceProvider{
			{ID: "anthropic", Models: []schemas.MatchRule{{Contains: "claude"}}},
			{ID: "azure", Match: []schemas.MatchRule{{Exact: "azure_ai"}, {Contains: "azure"}}, Fallbacks: []string{"openai"}},
			{ID: "openai", Match: []schemas.MatchRule{{Contains: "openai"}}, Models: []schemas.MatchRule{{Prefix: "gpt-"}}},
			{ID: "google", Match: []schemas.MatchRule{{Contains: "google"}, {Contains: "vertex"}}},
			{ID: "deepseek"},
		},
		Rows: []schemas.PriceRow{
			{Provider: "anthropic", Model: "claude-opus-4-6", Match: []schemas.MatchRule{{Prefix: "claude-opus-4-6"}}, Tokens: flat,
				Contexts: []schemas.ContextTier{{Over: 200_000, Tokens: long}}, Services: fast, ValidTo: date("2026-03-13")},
			{Provider: "anthropic", Model: "claude-opus-4-6", Tokens: flat, Services: fast, ValidFrom: date("2026-03-13"), Units: search},
			{Provider: "anthropic", Model: "claude-sonnet-4-5", Name: "Claude Sonnet 4.5",
				Match:  []schemas.MatchRule{{Prefix: "claude-sonnet-4-5"}},
				Tokens: mtok(t, "input", "3", "output", "15", "cache_read", "0.3", "cache_write_5m", "3.75", "cache_write_1h", "6"),
				Contexts: []schemas.ContextTier{{Over: 200_000,
					Tokens: mtok(t, "input", "6", "output", "22.5", "cache_read", "0.6", "cache_write_5m", "7.5", "cache_write_1h", "12")}}},
			{Provider: "deepseek", Model: "chat", Tokens: mtok(t, "input", "0.135", "output", "0.55")},
			{Provider: "deepseek", Model: "chat", Tokens: mtok(t, "input", "0.27", "output", "1.1"),
				Daily: schemas.DailyHours{From: 30 * 60, To: 16*3600 + 30*60}},
			{Provider: "google", Model: "claude-sonnet-4-5", Tokens: mtok(t, "input", "3.3", "output", "16.5")},
			{Provider: "openai", Model: "gpt-4", Tokens: mtok(t, "input", "30", "output", "60")},
			{Provider: "openai", Model: "gpt-4o", Match: []schemas.MatchRule{{Dated: "gpt-4o"}},
				Tokens: mtok(t, "input", "2.5", "output", "10", "cache_read", "1.25"), Units: search,
				Services: []schemas.ServiceTier{
					{Name: "batch", Tokens: mtok(t, "input", "1.25", "output", "5")},
					{Name: "priority", Tokens: mtok(t, "input", "4.25", "output", "17", "cache_read", "2.125")},
				}},
			{Provider: "openai", Model: "gpt-4o-mini", Match: []schemas.MatchRule{{Dated: "gpt-4o-mini"}}, Tokens: mtok(t, "input", "0.15")},
			{Provider: "openai", Model: "image-1", Units: schemas.UnitPrices{schemas.UnitImageOut: 4 * schemas.PicoPerCent, "request": 5}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func call(provider, model string, tokens schemas.Tokens) *schemas.Event {
	return &schemas.Event{Type: schemas.TypeLLMCall, Provider: provider, Model: model, Tokens: tokens,
		Time: date("2026-06-01").UnixMilli()}
}

func in(n int64) schemas.Tokens { return schemas.Tokens{schemas.Input: n} }

func TestRateGolden(t *testing.T) {
	book := smallBook(t)
	before := func(e *schemas.Event) *schemas.Event { e.Time = date("2026-03-13").UnixMilli() - 1; return e }
	from := func(e *schemas.Event) *schemas.Event { e.Time = date("2026-03-13").UnixMilli(); return e }
	at := func(clock string, e *schemas.Event) *schemas.Event {
		day, err := time.Parse(time.RFC3339, "2026-06-01T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		e.Time = day.UnixMilli()
		return e
	}
	tier := func(name string, e *schemas.Event) *schemas.Event { e.ServiceTier = name; return e }
	units := func(e *schemas.Event, units ...schemas.Unit) *schemas.Event { e.Units = units; return e }
	sonnet := schemas.Tokens{schemas.Input: 2_034, schemas.CacheRead: 15_000, schemas.CacheWrite5m: 1_200, schemas.Output: 1_022}
	for name, c := range map[string]struct {
		event *schemas.Event
		want  string
	}{
		"four buckets":               {call("anthropic", "claude-sonnet-4-5", sonnet), "0.030432"},
		"dated id":                   {call("anthropic", "claude-sonnet-4-5-20250929", sonnet), "0.030432"},
		"no provider":                {call("", "claude-sonnet-4-5-20250929", sonnet), "0.030432"},
		"provider in the name":       {call("", "anthropic/claude-sonnet-4-5", sonnet), "0.030432"},
		"case and spaces":            {call(" Anthropic", "Claude-Sonnet-4-5", sonnet), "0.030432"},
		"other cloud":                {call("gcp.vertex_ai", "claude-sonnet-4-5", in(1_000_000)), "3.300000"},
		"cloud at the maker's price": {call("azure_ai", "gpt-4o", in(1_000_000)), "2.500000"},
		"at the threshold":           {call("anthropic", "claude-sonnet-4-5", in(200_000)), "0.600000"},
		"one over: whole request":    {call("anthropic", "claude-sonnet-4-5", in(200_001)), "1.200006"},
		"250 k":                      {call("anthropic", "claude-sonnet-4-5", in(250_000)), "1.500000"},
		"cached tokens count for the threshold": {call("anthropic", "claude-sonnet-4-5",
			schemas.Tokens{schemas.Input: 1, schemas.CacheRead: 200_000, schemas.Output: 1}), "0.120028500000"},
		"opus before the change":   {before(call("anthropic", "claude-opus-4-6", in(250_000))), "2.500000"},
		"opus from the change on":  {from(call("anthropic", "claude-opus-4-6", in(250_000))), "1.250000"},
		"fast":                     {tier("fast", call("anthropic", "claude-opus-4-6", in(1000))), "0.030000"},
		"us":                       {tier("us", call("anthropic", "claude-opus-4-6", in(1000))), "0.005500"},
		"batch by half":            {tier("Batch", call("anthropic", "claude-opus-4-6", in(1000))), "0.002500"},
		"batch over the threshold": {tier("batch", before(call("anthropic", "claude-opus-4-6", in(250_000)))), "1.250000"},
		"batch by price":           {tier("batch", call("openai", "gpt-4o", in(1_000_000))), "1.250000"},
		"a bucket the tier does not name keeps its price": {tier("batch", call("openai", "gpt-4o",
			schemas.Tokens{schemas.CacheRead: 1_000_000})), "1.250000"},
		"reasoning as the tier's output": {tier("priority", call("openai", "gpt-4o",
			schemas.Tokens{schemas.Reasoning: 1_000_000})), "17.000000"},
		"list price by name":                {tier("standard", call("openai", "gpt-4o", in(1_000_000))), "2.500000"},
		"longest rule wins":                 {call("openai", "gpt-4o-mini-2024-07-18", in(1_000_000)), "0.150000"},
		"off peak":                          {at("00:29:59", call("deepseek", "chat", in(1_000_000))), "0.135000"},
		"peak":                              {at("00:30:00", call("deepseek", "chat", in(1_000_000))), "0.270000"},
		"off peak again":                    {at("16:30:00", call("deepseek", "chat", in(1_000_000))), "0.135000"},
		"audio and image at text price":     {call("openai", "gpt-4o", schemas.Tokens{schemas.AudioIn: 1, schemas.Image: 1, schemas.AudioOut: 1}), "0.000015"},
		"web search":                        {units(call("openai", "gpt-4o", in(0)), schemas.Unit{Name: "web_search", Count: 3}), "0.030000"},
		"a unit of the tenant's own":        {units(call("openai", "gpt-4o", in(1_000_000)), schemas.Unit{Name: "pages", Count: 3}), "2.500000"},
		"one request is implied":            {units(call("openai", "image-1", in(0)), schemas.Unit{Name: "image_out", Count: 2}), "0.080000000005"},
		"requests as counted":               {units(call("openai", "image-1", in(0)), schemas.Unit{Name: "request", Count: 3}), "0.000000000015"},
		"no tokens":                         {call("openai", "gpt-4o", in(0)), "0.000000"},
		"failed call of an unknown model":   {&schemas.Event{Type: schemas.TypeLLMCall, Model: "x", Status: schemas.StatusError}, "0.000000"},
		"tool call":                         {&schemas.Event{Type: schemas.TypeToolCall}, "0.000000"},
		"tool call with a unit of its own":  {&schemas.Event{Type: schemas.TypeToolCall, Units: []schemas.Unit{{Name: "rows", Count: 5}}}, "0.000000"},
		"void":                              {&schemas.Event{Type: schemas.TypeVoid, Model: "x"}, "0.000000"},
		"sample":                            {&schemas.Event{Type: schemas.TypeResourceSample, Units: []schemas.Unit{{Name: "agents", Count: 5}}}, "0.000000"},
		"adjustment by amount":              {&schemas.Event{Type: schemas.TypeAdjustment, HasAmount: true, Amount: schemas.Pico(-5)}, "-0.000000000005"},
		"adjustment by tokens":              {&schemas.Event{Type: schemas.TypeAdjustment, Provider: "openai", Model: "gpt-4", Tokens: in(-1_000_000)}, "-30.000000"},
		"adjustment in the tier it reverts": {&schemas.Event{Type: schemas.TypeAdjustment, Model: "claude-sonnet-4-5", Tokens: in(-250_000)}, "-1.500000"},
	} {
		t.Run(name, func(t *testing.T) {
			got := book.Rate(c.event)
			want, err := schemas.ParseMoney(c.want)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Priced || got.Cost != want || got.Reason != "" || got.Revision != 7 {
				t.Errorf("got %s %+v, want %s", got.Cost, got, want)
			}
		})
	}
}

func TestRateUnpriced(t *testing.T) {
	book := smallBook(t)
	for name, c := range map[string]struct {
		event *schemas.Event
		want  string
	}{
		"unknown model":              {call("openai", "gpt-9", in(1)), "unknown_model"},
		"unknown provider":           {call("nobody", "gpt-4o", in(1)), "unknown_model"},
		"another provider's model":   {call("anthropic", "gpt-4o", in(1)), "unknown_model"},
		"no date, no match":          {call("openai", "gpt-4o-20259999", in(1)), "unknown_model"},
		"nothing used, yet a call":   {call("openai", "gpt-9", in(0)), "unknown_model"},
		"failed but used":            {&schemas.Event{Type: schemas.TypeLLMCall, Model: "x", Status: schemas.StatusError, Tokens: in(1)}, "unknown_model"},
		"searches of an unknown one": {&schemas.Event{Type: schemas.TypeToolCall, Units: []schemas.Unit{{Name: "web_search", Count: 1}}}, "unknown_model"},
		"no output price":            {call("openai", "gpt-4o-mini", schemas.Tokens{schemas.Output: 1}), "no_price_for_bucket:output"},
		"no price to fall back to":   {call("openai", "image-1", schemas.Tokens{schemas.CacheRead: 1}), "no_price_for_bucket:cache_read"},
		"no price of a search": {&schemas.Event{Type: schemas.TypeLLMCall, Provider: "openai", Model: "gpt-4",
			Units: []schemas.Unit{{Name: "web_search", Count: 1}}}, "no_price_for_unit:web_search"},
		"unknown service tier": {&schemas.Event{Type: schemas.TypeLLMCall, Model: "gpt-4o", ServiceTier: "scale", Tokens: in(1)}, "unknown_service_tier"},
		"too much for 64 bits": {call("openai", "gpt-4", in(schemas.TokensPerBucketMax)), "cost_out_of_range"},
	} {
		t.Run(name, func(t *testing.T) {
			got := book.Rate(c.event)
			if got.Priced || got.Reason != c.want || !got.Cost.IsZero() {
				t.Errorf("got %+v, want %s", got, c.want)
			}
			if lines := book.Explain(c.event); lines != nil {
				t.Errorf("an unpriced event is explained: %+v", lines)
			}
		})
	}
}

func TestRateSumsToInvoice(t *testing.T) {
	book := smallBook(t)
	var sum schemas.Money
	left := schemas.Tokens{schemas.Input: 22_361_870, schemas.Output: 4_088_665}
	for left.Total() > 0 {
		tokens := schemas.Tokens{schemas.Input: min(left[schemas.Input], 7_001), schemas.Output: min(left[schemas.Output], 1_283)}
		sum = sum.Add(book.Rate(call("openai", "gpt-4", tokens)).Cost)
		left[schemas.Input] -= tokens[schemas.Input]
		left[schemas.Output] -= tokens[schemas.Output]
	}
	if sum.String() != "916.176000" {
		t.Errorf("got %s, want 916.176000", sum)
	}
}

func TestRateIsDatedAndSaysSo(t *testing.T) {
	rev := schemas.PriceRevision{Rows: []schemas.PriceRow{
		{Provider: "p", Model: "m", Tokens: mtok(t, "input", "1"), ValidFrom: date("2026-01-01"), ValidTo: date("2026-02-01")},
		{Provider: "p", Model: "m", Tokens: mtok(t, "input", "2"), ValidFrom: date("2026-03-01")},
	}}
	book, err := schemas.BuildPriceBook(rev)
	if err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]string{
		"2025-12-31": "no_price_at_time", "2026-01-01": "1.000000", "2026-01-31": "1.000000",
		"2026-02-01": "no_price_at_time", "2026-03-01": "2.000000", "2099-01-01": "2.000000",
	} {
		e := call("p", "m", in(1_000_000))
		e.Time = date(day).UnixMilli()
		r := book.Rate(e)
		got := r.Reason
		if r.Priced {
			got = r.Cost.String()
		}
		if got != want || r.Model != "m" {
			t.Errorf("%s: got %q, want %q", day, got, want)
		}
	}
}

// TestRateRoundsOnce holds a multiplier that leaves fractions against exact
// rational arithmetic, and the explanation against the cost.
func TestRateRoundsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.Int64Range(0, 100_000_000)
		row := schemas.PriceRow{Provider: "p", Model: "m"}
		tier := schemas.ServiceTier{Name: "odd", Multiply: map[string]schemas.Ratio{}}
		for i := range schemas.BucketCount {
			row.Tokens.Set(schemas.Bucket(i), price.Draw(t, "price"))
			tier.Multiply[schemas.Bucket(i).String()] = schemas.Ratio{
				Num: rapid.Int64Range(0, 30).Draw(t, "num"), Den: rapid.Int64Range(1, 30).Draw(t, "den")}
		}
		row.Services = []schemas.ServiceTier{tier}
		book, err := schemas.BuildPriceBook(schemas.PriceRevision{Rows: []schemas.PriceRow{row}})
		if err != nil {
			t.Fatal(err)
		}
		e := &schemas.Event{Type: schemas.TypeAdjustment, Provider: "p", Model: "m", ServiceTier: "odd"}
		exact := new(big.Rat)
		for i := range e.Tokens {
			e.Tokens[i] = rapid.Int64Range(-1000, 1000).Draw(t, "tokens")
			ratio := tier.Multiply[schemas.Bucket(i).String()]
			line := new(big.Rat).SetFrac64(ratio.Num, ratio.Den)
			line.Mul(line, new(big.Rat).SetInt64(row.Tokens.Pico[i]))
			exact.Add(exact, line.Mul(line, new(big.Rat).SetInt64(e.Tokens[i])))
		}
		r := book.Rate(e)
		if want := roundHalfEven(exact); !r.Priced || r.Cost.Big().Cmp(want) != 0 {
			t.Fatalf("got %+v, want %s", r, want)
		}
		var sum schemas.Money
		for _, line := range book.Explain(e) {
			sum = sum.Add(line.Amount)
		}
		if sum != r.Cost {
			t.Fatalf("the lines sum to %s, the cost is %s", sum, r.Cost)
		}
	})
}

func roundHalfEven(r *big.Rat) *big.Int {
	floor, rest := new(big.Int).DivMod(r.Num(), r.Denom(), new(big.Int)) // rest is never negative
	switch rest.Lsh(rest, 1).Cmp(r.Denom()) {
	case 1:
		floor.Add(floor, big.NewInt(1))
	case 0:
		if floor.Bit(0) == 1 {
			floor.Add(floor, big.NewInt(1))
		}
	}
	return floor
}

func TestExplain(t *testing.T) {
	e := call("anthropic", "claude-opus-4-6", schemas.Tokens{schemas.Input: 250_000, schemas.Reasoning: 10})
	e.Time = date("2026-01-01").UnixMilli()
	e.ServiceTier = "batch"
	want := []schemas.RatingLine{
		{Item: "input", PriceOf: "input", Quantity: 250_000, PricePico: 10_000_000, Multiply: schemas.Ratio{Num: 1, Den: 2},
			ContextOver: 200_000, ServiceTier: "batch", Amount: schemas.Pico(1_250_000_000_000)},
		{Item: "reasoning", PriceOf: "output", Quantity: 10, PricePico: 37_500_000, Multiply: schemas.Ratio{Num: 1, Den: 2},
			ContextOver: 200_000, ServiceTier: "batch", Amount: schemas.Pico(187_500_000)},
	}
	if diff := cmp.Diff(want, smallBook(t).Explain(e), cmp.Comparer(func(a, b schemas.Money) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
