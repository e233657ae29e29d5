package ingest

import (
	"github.com/agentik-os/panda/schemas"
)

// A usage object is what a provider's API says about the tokens of one call.
// Providers do not agree on what is inside what: for some the input includes
// cached tokens, for some the output includes reasoning. The adapters here turn
// every shape into disjoint buckets and guess nothing: a part that is larger
// than its whole is an error, and a total that does not add up is a flag.

// A usageField is a number in a usage object, by number. Fields of several
// providers that have the same name share one.
type usageField uint8

const (
	usageIgnored usageField = iota

	// Anthropic Messages, OpenAI Responses.
	inputTokens
	outputTokens
	cacheCreationTokens
	cacheReadTokens
	ephemeral5m
	ephemeral1h
	webSearches
	webFetches
	inputCached
	inputCacheWrite
	inputAudio
	inputImage
	outputReasoning
	outputThinking
	outputAudio

	// OpenAI Chat Completions.
	promptTokens
	completionTokens
	promptCached
	promptCacheWrite
	promptAudio
	promptImage
	completionReasoning
	completionAudio
	completionAccepted
	completionRejected
	totalTokens

	// Gemini.
	promptCount
	cachedCount
	candidatesCount
	thoughtsCount
	toolPromptCount
	totalCount
	promptAudioCount
	promptImageCount
	cachedAudioCount
	cachedImageCount
	candidatesAudioCount

	usageFieldCount = int(iota)
)

// A usagePath is a field's name inside an object of the usage object, or at its
// top when parent is empty.
type usagePath struct{ parent, name string }

// usagePaths are the fields' places inside the usage object. Those of Gemini's
// modalities are inside lists; see modalityField.
var usagePaths = [usageFieldCount]usagePath{
	inputTokens: {"", "input_tokens"}, outputTokens: {"", "output_tokens"},
	cacheCreationTokens: {"", "cache_creation_input_tokens"}, cacheReadTokens: {"", "cache_read_input_tokens"},
	ephemeral5m: {"cache_creation", "ephemeral_5m_input_tokens"}, ephemeral1h: {"cache_creation", "ephemeral_1h_input_tokens"},
	webSearches: {"server_tool_use", "web_search_requests"}, webFetches: {"server_tool_use", "web_fetch_requests"},
	inputCached: {"input_tokens_details", "cached_tokens"}, inputCacheWrite: {"input_tokens_details", "cache_write_tokens"},
	inputAudio: {"input_tokens_details", "audio_tokens"}, inputImage: {"input_tokens_details", "image_tokens"},
	outputReasoning: {"output_tokens_details", "reasoning_tokens"}, outputThinking: {"output_tokens_details", "thinking_tokens"},
	outputAudio: {"output_tokens_details", "audio_tokens"},

	promptTokens: {"", "prompt_tokens"}, completionTokens: {"", "completion_tokens"},
	promptCached: {"prompt_tokens_details", "cached_tokens"}, promptCacheWrite: {"prompt_tokens_details", "cache_write_tokens"},
	promptAudio: {"prompt_tokens_details", "audio_tokens"}, promptImage: {"prompt_tokens_details", "image_tokens"},
	completionReasoning: {"completion_tokens_details", "reasoning_tokens"},
	completionAudio:     {"completion_tokens_details", "audio_tokens"},
	completionAccepted:  {"completion_tokens_details", "accepted_prediction_tokens"},
	completionRejected:  {"completion_tokens_details", "rejected_prediction_tokens"},
	totalTokens:         {"", "total_tokens"},

	promptCount: {"", "promptTokenCount"}, cachedCount: {"", "cachedContentTokenCount"},
	candidatesCount: {"", "candidatesTokenCount"}, thoughtsCount: {"", "thoughtsTokenCount"},
	toolPromptCount: {"", "toolUsePromptTokenCount"}, totalCount: {"", "totalTokenCount"},
	promptAudioCount: {"promptTokensDetails", ""}, promptImageCount: {"promptTokensDetails", ""},
	cachedAudioCount: {"cacheTokensDetails", ""}, cachedImageCount: {"cacheTokensDetails", ""},
	candidatesAudioCount: {"candidatesTokensDetails", ""},
}

func (f usageField) pointer() string {
	pointer := "/data/usage"
	for _, part := range [...]string{usagePaths[f].parent, usagePaths[f].name} {
		if part != "" {
			pointer += "/" + part
		}
	}
	return pointer
}

func usageFieldOf(parent string, key []byte) usageField {
	for i := 1; i < usageFieldCount; i++ {
		if usagePaths[i].name == string(key) && usagePaths[i].parent == parent {
			return usageField(i)
		}
	}
	return usageIgnored
}

// usageCounts holds what a usage object says.
type usageCounts struct {
	n    [usageFieldCount]int64
	set  uint64 // by field
	tier string // service_tier
	scan scanner
	seen []string // members that are not numbers, to find those that come twice
}

func (u *usageCounts) has(fields ...usageField) bool {
	for _, f := range fields {
		if u.set>>f&1 == 1 {
			return true
		}
	}
	return false
}

// readUsage reads the fields that are known; providers add others all the time.
func readUsage(raw []byte) (*usageCounts, error) {
	u := &usageCounts{}
	u.scan.reset(raw)
	if err := u.object(""); err != nil {
		return nil, at("/data/usage", err)
	}
	return u, nil
}

func (u *usageCounts) object(parent string) error {
	s := &u.scan
	if err := s.enter('{', "an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		if err := u.member(parent, key); err != nil {
			return err
		}
	}
}

// member reads one member; null is the same as not there.
func (u *usageCounts) member(parent string, key []byte) error {
	s := &u.scan
	if s.peek() == 'n' {
		return s.literal("null")
	}
	if parent == "" {
		switch name := string(key); name {
		case "cache_creation", "server_tool_use", "input_tokens_details", "output_tokens_details",
			"prompt_tokens_details", "completion_tokens_details":
			if err := u.once(name); err != nil {
				return err
			}
			return at("/data/usage/"+name, u.object(name))
		case "promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails":
			if err := u.once(name); err != nil {
				return err
			}
			return at("/data/usage/"+name, u.modalities(name))
		case "service_tier":
			if err := u.once(name); err != nil {
				return err
			}
			b, err := s.str()
			u.tier = string(b)
			return at("/data/usage/service_tier", err)
		}
	}
	f := usageFieldOf(parent, key)
	if f == usageIgnored {
		return s.skip()
	}
	if u.has(f) {
		return repeated(f.pointer())
	}
	n, err := u.count()
	if err != nil {
		return at(f.pointer(), err)
	}
	u.n[f] = n
	u.set |= 1 << f
	return nil
}

func (u *usageCounts) once(name string) error {
	for _, seen := range u.seen {
		if seen == name {
			return repeated("/data/usage/" + name)
		}
	}
	u.seen = append(u.seen, name)
	return nil
}

// count reads a number of tokens.
func (u *usageCounts) count() (int64, error) {
	n, err := u.scan.integer()
	if err == nil && (n < 0 || n > schemas.TokensPerBucketMax) {
		err = schemas.Invalid("", schemas.CodeOutOfRange, "%d is outside 0 to %d tokens", n, int64(schemas.TokensPerBucketMax))
	}
	return n, err
}

// modalities reads one of Gemini's lists of {modality, tokenCount}.
func (u *usageCounts) modalities(list string) error {
	s := &u.scan
	if err := s.enter('[', "an array"); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.element(first)
		if err != nil || !more {
			return err
		}
		modality, n, err := u.modality()
		if err != nil {
			return err
		}
		f := modalityField(list, modality)
		if f == usageIgnored {
			continue
		}
		if n += u.n[f]; n > schemas.TokensPerBucketMax {
			return schemas.Invalid("", schemas.CodeOutOfRange, "this is more than %d tokens", int64(schemas.TokensPerBucketMax))
		}
		u.n[f] = n
		u.set |= 1 << f
	}
}

func (u *usageCounts) modality() (name string, n int64, err error) {
	s := &u.scan
	if err := s.enter('{', "an object of modality and tokenCount"); err != nil {
		return "", 0, err
	}
	var hasName, hasCount bool
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return name, n, err
		}
		seen := false
		switch string(key) {
		case "modality":
			var b []byte
			b, err = s.str()
			name, seen, hasName = string(b), hasName, true
		case "tokenCount":
			seen, hasCount = hasCount, true
			n, err = u.count()
		default:
			err = s.skip()
		}
		if seen {
			return "", 0, schemas.Invalid("", schemas.CodeRepeated, "this object holds a member twice; send it once")
		}
		if err != nil {
			return "", 0, err
		}
	}
}

// modalityField says which modalities have a bucket of their own. Video is
// priced as pictures; text and documents are plain input.
func modalityField(list, modality string) usageField {
	audio, image := modality == "AUDIO", modality == "IMAGE" || modality == "VIDEO"
	switch {
	case audio && list == "promptTokensDetails":
		return promptAudioCount
	case image && list == "promptTokensDetails":
		return promptImageCount
	case audio && list == "cacheTokensDetails":
		return cachedAudioCount
	case image && list == "cacheTokensDetails":
		return cachedImageCount
	case audio:
		return candidatesAudioCount
	}
	return usageIgnored
}
