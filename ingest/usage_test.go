package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

func usageEvent(provider, usage, more string) string {
	return base(`{BASE,"data":{"usage":` + usage + `,"model":"m","provider":"` + provider + `"` + more + `}}`)
}

// told writes what a usage object became, in the words of the table.
func told(e *schemas.Event) string {
	var parts []string
	for i, n := range e.Tokens {
		if n != 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", schemas.Bucket(i), n))
		}
	}
	for _, u := range e.Units {
		parts = append(parts, fmt.Sprintf("unit:%s=%d", u.Name, u.Count))
	}
	if e.ServiceTier != "" {
		parts = append(parts, "tier="+e.ServiceTier)
	}
	if e.Flag != "" {
		parts = append(parts, "flag="+e.Flag)
	}
	return strings.Join(parts, " ")
}

func TestUsage(t *testing.T) {
	for _, p := range paragraphs(t, "testdata/usage/cases.txt") {
		t.Run(p[0], func(t *testing.T) {
			e, err := DecodeEvent([]byte(usageEvent(p[1], p[2], "")))
			got := told(&e)
			if err != nil {
				field := fieldOf(t, err)
				got = "error " + field.Code + " " + field.Pointer
			}
			if got != p[3] {
				t.Errorf("have %s (%v)\nwant %s", got, err, p[3])
			}
		})
	}
}

func TestUsageBesideOtherFields(t *testing.T) {
	const usage = `{"input_tokens":5,"output_tokens":6,"cache_read_input_tokens":0,"service_tier":"priority","server_tool_use":{"web_search_requests":2}}`
	for more, want := range map[string]string{
		`,"service_tier":"batch"`:          "input=5 output=6 unit:web_search=2 tier=batch",
		`,"units":{"request":1,"zebra":3}`: "input=5 output=6 unit:request=1 unit:web_search=2 unit:zebra=3 tier=priority",
		`,"total_tokens":11`:               "input=5 output=6 unit:web_search=2 tier=priority",
		`,"total_tokens":12`:               "input=5 output=6 unit:web_search=2 tier=priority flag=total_mismatch",
		`,"units":{"web_search":2}`:        "error repeated /data/units/web_search",
		`,"tokens":{}`:                     "error not_allowed /data/usage",
		`,"usage":{}`:                      "error repeated /data/usage",
		`,"service_tier":"` + strings.Repeat("x", 300) + `"`: "error too_long /data/service_tier",
	} {
		e, err := DecodeEvent([]byte(usageEvent("anthropic", usage, more)))
		got := told(&e)
		if err != nil {
			field := fieldOf(t, err)
			got = "error " + field.Code + " " + field.Pointer
		}
		if got != want {
			t.Errorf("%s: have %s, want %s", more, got, want)
		}
	}
}

// FuzzUsage holds the adapters to what must be true of any usage object: it is
// refused, or its buckets are disjoint counts that are within limits, add up to
// the total where one is given and not flagged, and survive being written.
func FuzzUsage(f *testing.F) {
	for _, p := range paragraphs(f, "testdata/usage/cases.txt") {
		f.Add(p[1], p[2])
	}
	f.Fuzz(func(t *testing.T, provider, usage string) {
		u, err := readUsage([]byte(usage))
		if err != nil {
			fieldOf(t, err)
			return
		}
		tokens, flag, err := u.convert(provider)
		if err != nil {
			fieldOf(t, err)
			return
		}
		for i, n := range tokens {
			if n < 0 || n > 4*schemas.TokensPerBucketMax {
				t.Fatalf("%s is %d", schemas.Bucket(i), n)
			}
		}
		for _, total := range []usageField{totalTokens, totalCount} {
			gemini := u.has(promptCount, candidatesCount, totalCount)
			if gemini != (total == totalCount) || !u.has(total) || flag || u.has(cacheCreationTokens, cacheReadTokens, ephemeral5m, ephemeral1h, webSearches, webFetches) {
				continue
			}
			if u.n[total] != tokens.Total() {
				t.Fatalf("the total is %d, the buckets are %d, and nothing is flagged", u.n[total], tokens.Total())
			}
		}
		e, err := DecodeEvent([]byte(base(`{BASE,"data":{"model":"m","usage":` + usage + `}}`)))
		if err != nil {
			return
		}
		again, err := DecodeEvent(EncodeEvent(nil, &e))
		if err != nil || again.Tokens != e.Tokens {
			t.Fatalf("written and read again: %v, %v, was %v", err, again.Tokens, e.Tokens)
		}
	})
}
