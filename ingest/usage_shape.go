package ingest

import (
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// applyUsage converts the captured usage object into the event's buckets.
func (d *EventDecoder) applyUsage(e *schemas.Event) error {
	u, err := readUsage(d.usage)
	if err != nil {
		return err
	}
	tokens, flag, err := u.convert(e.Provider)
	if err != nil {
		return err
	}
	e.Tokens = tokens
	if flag {
		e.Flag = schemas.FlagTotalMismatch
	}
	if d.fields>>fieldServiceTier&1 == 0 { // what the runtime says itself goes before
		if err := fits([]byte(u.tier), schemas.NameBytesMax); err != nil {
			return at("/data/usage/service_tier", err)
		}
		e.ServiceTier = u.tier
	}
	return d.usageUnits(e, u)
}

// usageUnits adds what the provider counted besides tokens.
func (d *EventDecoder) usageUnits(e *schemas.Event, u *usageCounts) error {
	start := len(d.units)
	for _, c := range [...]struct {
		name  string
		field usageField
	}{{schemas.UnitWebSearch, webSearches}, {schemas.UnitWebFetch, webFetches}} {
		if u.n[c.field] == 0 {
			continue
		}
		for _, given := range e.Units {
			if given.Name == c.name {
				return schemas.Invalid("/data/units/"+c.name, schemas.CodeRepeated,
					"usage counts %s already; send it in one place", c.name)
			}
		}
		d.units = append(d.units, schemas.Unit{Name: c.name, Count: u.n[c.field]})
	}
	if len(d.units) == start {
		return nil
	}
	d.units = append(d.units, e.Units...)
	e.Units = d.keepUnits(start)
	return nil
}

// convert finds the shape by the names of the fields and returns the buckets,
// and whether a total that was given does not add up.
//
// input_tokens and output_tokens alone are said by both Anthropic and OpenAI,
// and mean the same as long as nothing else is said; with reasoning or thinking
// tokens beside them they still do. So the provider only decides which of the
// two names an error is about.
func (u *usageCounts) convert(provider string) (schemas.Tokens, bool, error) {
	chat := u.has(promptTokens, completionTokens)
	gemini := u.has(promptCount, candidatesCount, totalCount)
	messages := u.has(cacheCreationTokens, cacheReadTokens, ephemeral5m, ephemeral1h, webSearches, webFetches)
	responses := u.has(inputCached, inputCacheWrite, inputAudio, inputImage)
	if u.has(inputTokens, outputTokens) && !messages && !responses {
		messages = provider == "anthropic" && !u.has(totalTokens)
		responses = !messages
	}
	shapes := 0
	for _, is := range [...]bool{chat, gemini, messages, responses} {
		if is {
			shapes++
		}
	}
	switch {
	case shapes > 1:
		return schemas.Tokens{}, false, schemas.Invalid("/data/usage", schemas.CodeUnsupported,
			"mixes the fields of several providers, which count cached tokens differently; send disjoint counts as data.tokens")
	case chat:
		return u.inclusive(chatShape())
	case gemini:
		return u.gemini()
	case messages:
		return u.messages()
	case responses:
		return u.inclusive(responsesShape())
	}
	return schemas.Tokens{}, false, schemas.Invalid("/data/usage", schemas.CodeUnsupported,
		"the usage is of no shape that is known here (Anthropic Messages, OpenAI Chat Completions and Responses, Gemini); "+
			"send disjoint counts as data.tokens")
}

// messages converts Anthropic Messages: input_tokens excludes what was read
// from or written to a cache; output_tokens includes thinking.
func (u *usageCounts) messages() (t schemas.Tokens, flag bool, err error) {
	thinking := outputReasoning
	if u.has(outputThinking) {
		thinking = outputThinking
	}
	if err := u.within(outputTokens, thinking); err != nil {
		return t, false, err
	}
	t[schemas.Input] = u.n[inputTokens]
	t[schemas.CacheRead] = u.n[cacheReadTokens]
	t[schemas.CacheWrite5m] = u.n[ephemeral5m]
	t[schemas.CacheWrite1h] = u.n[ephemeral1h]
	t[schemas.Output] = u.n[outputTokens] - u.n[thinking]
	t[schemas.Reasoning] = u.n[thinking]
	if u.has(cacheCreationTokens) {
		if err := u.within(cacheCreationTokens, ephemeral5m, ephemeral1h); err != nil {
			return t, false, err
		}
		// Without a duration it is the five minutes, the API's default. When
		// durations are given and do not add up, the rest is counted there too.
		rest := u.n[cacheCreationTokens] - u.n[ephemeral5m] - u.n[ephemeral1h]
		t[schemas.CacheWrite5m] += rest
		flag = rest != 0 && u.has(ephemeral5m, ephemeral1h)
	}
	return t, flag, nil
}

// An inclusiveShape names the fields of an API whose input and output are the
// sums of all their parts.
type inclusiveShape struct {
	input, cached, cacheWrite, audioIn, image usageField
	output, reasoning, audioOut               usageField
}

// chatShape is OpenAI's Chat Completions. Predicted tokens, accepted or not,
// are part of the output and priced like it.
func chatShape() inclusiveShape {
	return inclusiveShape{
		input: promptTokens, cached: promptCached, cacheWrite: promptCacheWrite, audioIn: promptAudio, image: promptImage,
		output: completionTokens, reasoning: completionReasoning, audioOut: completionAudio,
	}
}

// responsesShape is OpenAI's Responses.
func responsesShape() inclusiveShape {
	return inclusiveShape{
		input: inputTokens, cached: inputCached, cacheWrite: inputCacheWrite, audioIn: inputAudio, image: inputImage,
		output: outputTokens, reasoning: outputReasoning, audioOut: outputAudio,
	}
}

func (u *usageCounts) inclusive(s inclusiveShape) (t schemas.Tokens, flag bool, err error) {
	if s.reasoning == outputReasoning && u.has(outputThinking) && !u.has(outputReasoning) {
		s.reasoning = outputThinking
	}
	if err := u.within(s.input, s.cached, s.cacheWrite, s.audioIn, s.image); err != nil {
		return t, false, err
	}
	if err := u.within(s.output, s.reasoning, s.audioOut); err != nil {
		return t, false, err
	}
	if err := u.within(completionTokens, completionAccepted, completionRejected); err != nil {
		return t, false, err
	}
	t[schemas.CacheRead] = u.n[s.cached]
	t[schemas.CacheWrite5m] = u.n[s.cacheWrite]
	t[schemas.AudioIn] = u.n[s.audioIn]
	t[schemas.Image] = u.n[s.image]
	t[schemas.Input] = u.n[s.input] - u.n[s.cached] - u.n[s.cacheWrite] - u.n[s.audioIn] - u.n[s.image]
	t[schemas.Reasoning] = u.n[s.reasoning]
	t[schemas.AudioOut] = u.n[s.audioOut]
	t[schemas.Output] = u.n[s.output] - u.n[s.reasoning] - u.n[s.audioOut]
	return t, u.has(totalTokens) && u.n[totalTokens] != t.Total(), nil
}

// gemini converts Gemini's usageMetadata: the prompt includes cached content,
// candidates exclude thoughts, and the prompts of tools come on top.
func (u *usageCounts) gemini() (t schemas.Tokens, flag bool, err error) {
	if err := u.within(cachedCount, cachedAudioCount, cachedImageCount); err != nil {
		return t, false, err
	}
	if err := u.within(promptAudioCount, cachedAudioCount); err != nil {
		return t, false, err
	}
	if err := u.within(promptImageCount, cachedImageCount); err != nil {
		return t, false, err
	}
	if err := u.within(candidatesCount, candidatesAudioCount); err != nil {
		return t, false, err
	}
	// What is cached and a sound counts as cached.
	u.n[promptAudioCount] -= u.n[cachedAudioCount]
	u.n[promptImageCount] -= u.n[cachedImageCount]
	if err := u.within(promptCount, cachedCount, promptAudioCount, promptImageCount); err != nil {
		return t, false, err
	}
	t[schemas.CacheRead] = u.n[cachedCount]
	t[schemas.AudioIn] = u.n[promptAudioCount]
	t[schemas.Image] = u.n[promptImageCount]
	t[schemas.Input] = u.n[toolPromptCount] + u.n[promptCount] -
		u.n[cachedCount] - u.n[promptAudioCount] - u.n[promptImageCount]
	t[schemas.Reasoning] = u.n[thoughtsCount]
	t[schemas.AudioOut] = u.n[candidatesAudioCount]
	t[schemas.Output] = u.n[candidatesCount] - u.n[candidatesAudioCount]
	return t, u.has(totalCount) && u.n[totalCount] != t.Total(), nil
}

// within checks that the parts do not exceed their whole, one by one, which
// says what is wrong most clearly, and together.
func (u *usageCounts) within(whole usageField, parts ...usageField) error {
	var sum int64
	for _, part := range parts {
		sum += u.n[part]
		if u.n[part] > u.n[whole] {
			return schemas.Invalid(part.pointer(), schemas.CodeBadTotal,
				"%d is more than the %d of %s, which it is a part of",
				u.n[part], u.n[whole], strings.TrimPrefix(whole.pointer(), "/data/usage/"))
		}
	}
	if sum > u.n[whole] {
		return schemas.Invalid(whole.pointer(), schemas.CodeBadTotal,
			"%d is less than its parts, %d together", u.n[whole], sum)
	}
	return nil
}
