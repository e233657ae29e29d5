package schemas_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

func TestBuildRefuses(t *testing.T) {
	ok := func() schemas.PriceRow {
		return schemas.PriceRow{Provider: "p", Model: "m", Tokens: mtok(t, "input", "1")}
	}
	negative, dear := ok(), ok()
	negative.Tokens.Pico[schemas.Input] = -1
	dear.Tokens.Pico[schemas.Input] = schemas.TokenPriceMax + 1
	ends := ok()
	ends.ValidFrom, ends.ValidTo = date("2026-01-01"), date("2026-01-01")
	contexts := ok()
	contexts.Contexts = []schemas.ContextTier{{Over: 5}, {Over: 5}}
	list, bad, noPrice := ok(), ok(), ok()
	list.Services = []schemas.ServiceTier{{Name: "Standard"}}
	bad.Services = []schemas.ServiceTier{{Name: "x", Multiply: map[string]schemas.Ratio{"inputs": {Num: 1, Den: 1}}}}
	noPrice.Services = []schemas.ServiceTier{{Name: "x", Multiply: map[string]schemas.Ratio{"output": {Num: 1, Den: 1}}}}
	zeroDen := ok()
	zeroDen.Services = []schemas.ServiceTier{{Name: "x", Multiply: map[string]schemas.Ratio{"all": {Num: 1}}}}
	unit, rule, upper := ok(), ok(), ok()
	unit.Units = schemas.UnitPrices{"x": -1}
	rule.Match = []schemas.MatchRule{{Without: "x"}}
	upper.Model = "M"
	alias, named := ok(), ok()
	alias.Model, alias.Match = "a", []schemas.MatchRule{{Exact: "same"}}
	named.Model, named.Match = "b", []schemas.MatchRule{{Exact: "Same"}}
	for name, c := range map[string]struct {
		rows []schemas.PriceRow
		want string
	}{
		"overlap":         {[]schemas.PriceRow{ok(), ok()}, "/rows/1/valid_from: price row 1 (p m): its time overlaps that of row 0"},
		"negative":        {[]schemas.PriceRow{negative}, "/rows/0/usd_per_mtok/input"},
		"too dear":        {[]schemas.PriceRow{dear}, "/rows/0/usd_per_mtok/input"},
		"no time":         {[]schemas.PriceRow{ends}, "/rows/0/valid_to"},
		"thresholds":      {[]schemas.PriceRow{contexts}, "/rows/0/context_tiers/1/over"},
		"list tier":       {[]schemas.PriceRow{list}, "/rows/0/service_tiers/0/name"},
		"unknown bucket":  {[]schemas.PriceRow{bad}, "/rows/0/service_tiers/0/multiply/inputs"},
		"nothing to mult": {[]schemas.PriceRow{noPrice}, "/rows/0/service_tiers/0/multiply/output"},
		"zero ratio":      {[]schemas.PriceRow{zeroDen}, "/rows/0/service_tiers/0/multiply/all"},
		"negative unit":   {[]schemas.PriceRow{unit}, "/rows/0/usd_per_unit/x"},
		"empty rule":      {[]schemas.PriceRow{rule}, "/rows/0/match/0"},
		"no model":        {[]schemas.PriceRow{{Provider: "p"}}, "/rows/0/model"},
		"case":            {[]schemas.PriceRow{ok(), upper}, "differ in case only"},
		"shared alias":    {[]schemas.PriceRow{alias, named}, `"same" is a name of both "a" and "b"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schemas.BuildPriceBook(schemas.PriceRevision{Rows: c.rows})
			if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	_, err := schemas.BuildPriceBook(schemas.PriceRevision{Providers: []schemas.PriceProvider{{ID: "p", Fallbacks: []string{"q"}}}})
	if !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an unknown fallback: %v", err)
	}
}

func TestRevisionRoundTrip(t *testing.T) {
	want := smallBook(t).Revision()
	want.Created, want.Actor, want.Note, want.Source = date("2026-11-01"), "ops", "n", "s"
	first, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	second, err := want.Encode()
	if err != nil || string(first) != string(second) {
		t.Fatalf("the same revision encodes to other bytes: %v", err)
	}
	got, err := schemas.DecodePriceRevision(first)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParsePriceRevisionRefuses(t *testing.T) {
	for _, text := range []string{
		`{"rows":[{"provider":"p","model":"m","discount":1}]}`,
		`{"rows":[{"usd_per_mtok":{"inputs":"1"}}]}`,
		`{"rows":[{"usd_per_mtok":{"input":1}}]}`,
		`{"rows":[{"usd_per_mtok":{"input":"0.0000001"}}]}`,
		`{"rows":[{"usd_per_unit":{"x":"99999999999"}}]}`,
		`{"rows":[{"service_tiers":[{"multiply":{"all":"0.5"}}]}]}`,
		`{"rows":[{"daily":"7:00-8:00"}]}`, `{"rows":[{"daily":"+7:00-08:00"}]}`, `{"rows":[{"daily":"07:00-07:00"}]}`,
		`{"rows":[]} {}`, `[]`,
	} {
		if _, err := schemas.ParsePriceRevision([]byte(text)); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", text, err)
		}
	}
	if _, err := schemas.DecodePriceRevision([]byte("no gzip")); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("no gzip: %v", err)
	}
}

// TestRateFilesAdjustments: money that is given is filed under the canonical
// names, as the calls it corrects are.
func TestRateFilesAdjustments(t *testing.T) {
	e := call("azure_ai", "gpt-4o-2024-08-06", schemas.Tokens{})
	e.Type, e.HasAmount, e.Amount = schemas.TypeAdjustment, true, schemas.Pico(-5)
	if r := smallBook(t).Rate(e); r.Provider != "openai" || r.Model != "gpt-4o" || r.Cost != e.Amount {
		t.Errorf("%+v", r)
	}
}

func TestFindAndSearch(t *testing.T) {
	book := smallBook(t)
	rows, ok := book.Find("anthropic", "claude-opus-4-6-20260101")
	if !ok || len(rows) != 2 || !rows[0].ValidFrom.IsZero() || rows[1].ValidFrom != date("2026-03-13") {
		t.Errorf("find: %v %+v", ok, rows)
	}
	if _, ok := book.Find("anthropic", "gpt"); ok {
		t.Error("found a model that is not there")
	}
	if rows := book.Search("SONNET 4.5", time.Time{}); len(rows) != 1 || rows[0].Provider != "anthropic" {
		t.Errorf("search by name: %+v", rows)
	}
	if n, all := len(book.Rows(date("2026-01-01"))), len(book.Rows(time.Time{})); n != all-2 {
		t.Errorf("%d of %d rows hold at the start of the year; want all but the later opus and the peak hours", n, all)
	}
}

// TestRateUnderFlood holds the bound on remembered names: names that nobody
// lists must not crowd out the answer for those that are.
func TestRateUnderFlood(t *testing.T) {
	book := smallBook(t)
	for i := range 20_000 {
		if r := book.Rate(call("anthropic", "x"+strings.Repeat("y", i%50)+string(rune('a'+i%26))+time.Duration(i).String(), in(1))); r.Priced {
			t.Fatal("a made-up model has a price")
		}
	}
	if r := book.Rate(call("anthropic", "claude-sonnet-4-5-20250929", in(1_000_000))); r.Cost.String() != "6.000000" {
		t.Errorf("after a flood of names: %+v", r)
	}
}

func TestRateDoesNotAllocate(t *testing.T) {
	book := smallBook(t)
	for _, model := range []string{"claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "nobody-knows"} {
		e := call("anthropic", model, in(5))
		book.Rate(e)
		if n := testing.AllocsPerRun(100, func() { book.Rate(e) }); n != 0 {
			t.Errorf("%s: %v allocations a call", model, n)
		}
	}
}

func TestRateNeverPanics(t *testing.T) {
	book := smallBook(t)
	rapid.Check(t, func(t *rapid.T) {
		e := &schemas.Event{
			Type:        rapid.SampledFrom(schemas.EventTypes()).Draw(t, "type"),
			Provider:    rapid.SampledFrom([]string{"", "openai", "anthropic", "x"}).Draw(t, "provider"),
			Model:       rapid.SampledFrom([]string{"", "gpt-4o", "image-1", "claude-opus-4-6", "/", "x/"}).Draw(t, "model"),
			ServiceTier: rapid.SampledFrom([]string{"", "batch", "fast", "x"}).Draw(t, "tier"),
			Time:        rapid.Int64Range(math.MinInt64/2, math.MaxInt64/2).Draw(t, "time"),
		}
		for i := range e.Tokens {
			e.Tokens[i] = rapid.Int64Range(-schemas.TokensPerBucketMax, schemas.TokensPerBucketMax).Draw(t, "n")
		}
		e.Units = []schemas.Unit{{Name: "web_search", Count: rapid.Int64Range(0, schemas.TokensPerBucketMax).Draw(t, "unit")}}
		r := book.Rate(e)
		if _, fits := r.Cost.Int64(); !fits || r.Priced == (r.Reason != "") {
			t.Fatalf("%+v", r)
		}
	})
}

func BenchmarkRate(b *testing.B) {
	book := smallBook(b)
	for name, model := range map[string]string{"id": "claude-sonnet-4-5", "alias": "claude-sonnet-4-5-20250929"} {
		b.Run(name, func(b *testing.B) {
			e := call("anthropic", model, schemas.Tokens{schemas.Input: 2034, schemas.CacheRead: 15000, schemas.CacheWrite5m: 1200, schemas.Output: 1022})
			b.ReportAllocs()
			for b.Loop() {
				book.Rate(e)
			}
		})
	}
}

// TestRateConcurrently: goroutines that push names out of the cache do not
// disturb each other's answers. Worth most under the race detector.
func TestRateConcurrently(t *testing.T) {
	book := smallBook(t)
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 6_000 {
				name := fmt.Sprintf("claude-sonnet-4-5-%d-%d", g, i)
				if r := book.Rate(call("anthropic", name, in(1_000))); r.Cost.String() != "0.003000" || r.Model != "claude-sonnet-4-5" {
					t.Errorf("%s: %+v", name, r)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestFree(t *testing.T) {
	zero := mtok(t, "input", "0", "output", "0")
	rows := []schemas.PriceRow{
		{Provider: "house", Model: "gift", Tokens: zero},
		{Provider: "house", Model: "paid-output", Tokens: mtok(t, "input", "0", "output", "0.1")},
		{Provider: "house", Model: "no-output-price", Tokens: mtok(t, "input", "0")},
		{Provider: "house", Model: "paid-search", Tokens: zero, Units: schemas.UnitPrices{schemas.UnitWebSearch: 1}},
		{Provider: "house", Model: "paid-when-long", Tokens: zero, Contexts: []schemas.ContextTier{{Over: 1000, Tokens: mtok(t, "input", "1")}}},
		{Provider: "house", Model: "gift-until-june", Tokens: zero, ValidTo: date("2026-06-01")},
	}
	book, err := schemas.BuildPriceBook(schemas.PriceRevision{Number: 1, Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	may := date("2026-05-15")
	for model, want := range map[string]bool{"gift": true, "gift-until-june": true, "paid-output": false, "no-output-price": false,
		"paid-search": false, "paid-when-long": false, "unheard-of": false, "": false} {
		if got := book.Free("", model, may); got != want {
			t.Errorf("%q is free: %v", model, got)
		}
	}
	if book.Free("house", "gift-until-june", date("2026-06-01")) || !book.Free("house", "gift", may) || book.Free("away", "gift", may) {
		t.Error("the time or the provider does not matter")
	}
}
