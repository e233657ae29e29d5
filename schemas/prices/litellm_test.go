package prices_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

func litellm(t *testing.T) prices.Import {
	t.Helper()
	f, err := os.Open("testdata/litellm.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := prices.ParseLiteLLM(f)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// pico makes prices from pico-USD per token.
func pico(p map[schemas.Bucket]int64) schemas.TokenPrices {
	var prices schemas.TokenPrices
	for b, n := range p {
		prices.Set(b, n)
	}
	return prices
}

func TestParseLiteLLM(t *testing.T) {
	type in = map[schemas.Bucket]int64
	all := func(num, den int64) map[string]schemas.Ratio {
		return map[string]schemas.Ratio{"all": {Num: num, Den: den}}
	}
	want := []schemas.PriceRow{
		{Provider: "anthropic", Model: "claude-opus-x",
			Tokens: pico(in{schemas.Input: 5_000_000, schemas.Output: 25_000_000, schemas.CacheRead: 500_000,
				schemas.CacheWrite5m: 6_250_000, schemas.CacheWrite1h: 10_000_000}),
			Units: schemas.UnitPrices{"web_search": schemas.PicoPerCent},
			Contexts: []schemas.ContextTier{{Over: 200_000, Tokens: pico(in{schemas.Input: 10_000_000, schemas.Output: 37_500_000,
				schemas.CacheWrite1h: 20_000_000})}},
			Services: []schemas.ServiceTier{{Name: "fast", Multiply: all(6, 1)}, {Name: "us", Multiply: all(11, 10)}}},
		{Provider: "azure", Model: "gpt-x", Tokens: pico(in{schemas.Input: 2_750_000})},
		{Provider: "google", Model: "gemini-x", Tokens: pico(in{schemas.Input: 2_000_000})},
		{Provider: "openai", Model: "gpt-x",
			Tokens: pico(in{schemas.Input: 2_500_000, schemas.Output: 10_000_000, schemas.Reasoning: 20_000_000,
				schemas.AudioIn: 40_000_000, schemas.AudioOut: 80_000_000, schemas.Image: 10_000_000}),
			Contexts: []schemas.ContextTier{{Over: 272_000, Tokens: pico(in{schemas.Input: 5_000_000})}},
			Services: []schemas.ServiceTier{
				{Name: "batch", Tokens: pico(in{schemas.Input: 1_250_000, schemas.Output: 5_000_000})},
				{Name: "flex", Tokens: pico(in{schemas.Input: 1_250_000})},
				{Name: "priority", Tokens: pico(in{schemas.Input: 4_250_000, schemas.Output: 17_000_000}),
					Contexts: []schemas.ContextTier{{Over: 272_000, Tokens: pico(in{schemas.Input: 8_500_000})}}},
			}},
		{Provider: "openai", Model: "image-x", Units: schemas.UnitPrices{"image_out": 4 * schemas.PicoPerCent}},
		{Provider: "together", Model: "dirt", Tokens: pico(in{schemas.Input: 180_000, schemas.Output: 83_333})},
	}
	got := litellm(t)
	if diff := cmp.Diff(want, got.Rows); diff != "" {
		t.Error(diff)
	}
	if _, err := schemas.BuildPriceBook(schemas.PriceRevision{Rows: got.Rows}); err != nil {
		t.Error(err)
	}
}

func TestLiteLLMReport(t *testing.T) {
	const none = "Panda counts nothing of the kind"
	want := prices.Report{
		Models: 10, Rows: 6,
		Rounded: []prices.Note{
			{Provider: "together", Model: "dirt", Field: "input_cost_per_token", Detail: "1.8000000000000002e-07 is rounded to 0.00000018 USD"},
			{Provider: "together", Model: "dirt", Field: "output_cost_per_token", Detail: "8.333333333333334e-08 is rounded to 0.000000083333 USD"},
		},
		Skipped: []prices.Note{
			{Model: "no-provider", Field: "litellm_provider", Detail: "the model names no provider"},
			{Provider: "anthropic", Model: "claude-opus-x", Field: "provider_specific_entry/odd", Detail: "is not a factor with at most three decimals"},
			{Provider: "google", Model: "gemini-x", Detail: `"gemini/gemini-x" is the same model as "gemini-x", which stands; their prices differ`},
			{Provider: "openai", Model: "gpt-x", Field: "input_cost_per_video_per_second", Detail: none},
			{Provider: "openai", Model: "gpt-x", Field: "tiered_pricing", Detail: "is not a number"},
			{Provider: "openai", Model: "no-price", Detail: "no price that Panda can express"},
			{Provider: "openai", Model: "no-price", Field: "input_cost_per_second", Detail: none},
			{Provider: "openai", Model: "wrong", Detail: "no price that Panda can express"},
			{Provider: "openai", Model: "wrong", Field: "input_cost_per_token", Detail: `"-1" is not a price`},
			{Provider: "openai", Model: "wrong", Field: "output_cost_per_token", Detail: "is not a number"},
		},
		Ignored: map[string]int{"litellm_provider": 9, "max_tokens": 1, "mode": 2, "supports_vision": 1},
	}
	if diff := cmp.Diff(want, litellm(t).Report); diff != "" {
		t.Error(diff)
	}
}
