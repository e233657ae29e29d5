package demo

import "github.com/agentik-os/panda/schemas"

// modelSpec is a model that the demo's agents call: its list price and the shape
// of its calls.
type modelSpec struct {
	provider, id, name string
	// priced is false for the one model that no price book knows.
	priced bool
	// pico are the list prices in pico-USD per token; a million tokens at 1 USD
	// are 1,000,000 pico-USD a token.
	pico  [schemas.BucketCount]int64
	shape shape
}

// shape is what a call of a model uses: mean tokens by bucket, and of 256 calls
// how many use the bucket at all. Every call has input, and output unless it
// failed.
type shape struct {
	mean  [schemas.BucketCount]int64
	often [schemas.BucketCount]int64
}

// usd returns the price of a token in pico-USD for a price in micro-USD per
// million tokens, which is the same number.
const usd = 1_000_000

// The models, by number.
const (
	opus = iota
	sonnet
	haiku
	gpt4o
	unlisted
	modelCount
)

// models is the oracle's price table, and no part of what panda prices with.
// Prices are the providers' public list prices in USD per million tokens, as of
// October 2026: Anthropic's pricing page (cache writes cost 1.25 times the input
// for five minutes, 2 times for an hour; cache reads a tenth) and OpenAI's (cached
// input costs half). Reasoning is billed as output. No call of the demo has a
// prompt over 200,000 tokens, where older Claude prices had a second tier.
var models = [modelCount]modelSpec{
	opus: {
		provider: "anthropic", id: "claude-opus-4-6", name: "Claude Opus 4.6", priced: true,
		pico:  listPrices(5*usd, usd/2, 6_250_000, 10*usd, 25*usd),
		shape: claudeShape(600, 6000, 300),
	},
	sonnet: {
		provider: "anthropic", id: "claude-sonnet-4-5", name: "Claude Sonnet 4.5", priced: true,
		pico:  listPrices(3*usd, 300_000, 3_750_000, 6*usd, 15*usd),
		shape: claudeShape(700, 5000, 320),
	},
	haiku: {
		provider: "anthropic", id: "claude-haiku-4-5", name: "Claude Haiku 4.5", priced: true,
		pico:  listPrices(1*usd, 100_000, 1_250_000, 2*usd, 5*usd),
		shape: claudeShape(500, 3000, 220),
	},
	gpt4o: {
		provider: "openai", id: "gpt-4o", name: "GPT-4o", priced: true,
		pico:  listPrices(2_500_000, 1_250_000, 0, 0, 10*usd),
		shape: openaiShape(900, 1200, 250),
	},
	unlisted: {
		provider: "in-house", id: "orchid-7b", name: "orchid-7b",
		shape: openaiShape(400, 0, 180),
	},
}

func listPrices(input, read, write5m, write1h, output int64) (p [schemas.BucketCount]int64) {
	p[schemas.Input], p[schemas.CacheRead] = input, read
	p[schemas.CacheWrite5m], p[schemas.CacheWrite1h] = write5m, write1h
	p[schemas.Output], p[schemas.Reasoning] = output, output
	return p
}

// claudeShape: three of four prompts continue from the cache, one of five adds
// to it, some for an hour, and one of four answers was thought about.
func claudeShape(input, read, output int64) (s shape) {
	s.mean[schemas.Input], s.often[schemas.Input] = input, 256
	s.mean[schemas.CacheRead], s.often[schemas.CacheRead] = read, 192
	s.mean[schemas.CacheWrite5m], s.often[schemas.CacheWrite5m] = read/4, 51
	s.mean[schemas.CacheWrite1h], s.often[schemas.CacheWrite1h] = read/3, 8
	s.mean[schemas.Output], s.often[schemas.Output] = output, 256
	s.mean[schemas.Reasoning], s.often[schemas.Reasoning] = output, 64
	return s
}

// openaiShape: cached input comes by itself, for one of four prompts.
func openaiShape(input, read, output int64) (s shape) {
	s.mean[schemas.Input], s.often[schemas.Input] = input, 256
	if read > 0 {
		s.mean[schemas.CacheRead], s.often[schemas.CacheRead] = read, 64
	}
	s.mean[schemas.Output], s.often[schemas.Output] = output, 256
	return s
}

// meanPico returns what a call of the model costs on average, in pico-USD.
func (m *modelSpec) meanPico() int64 {
	var sum int64
	for b := range schemas.BucketCount {
		sum += m.pico[b] * m.shape.mean[b] * m.shape.often[b] / 256
	}
	return sum
}

// cost is the oracle's price of a call in pico-USD. The limits on tokens below
// keep it far inside 64 bits.
func (m *modelSpec) cost(t *schemas.Tokens) int64 {
	var sum int64
	for b, n := range t {
		sum += m.pico[b] * n
	}
	return sum
}

// displayName returns a model's name for people, the id if there is none.
func displayName(id string) string {
	for i := range models {
		if models[i].id == id {
			return models[i].name
		}
	}
	return id
}
