package prices_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

var rewrite = flag.Bool("rewrite", false, "write catalog.json anew from its sources")

const catalogBytesMax = 600 << 10 // it is read by people in diffs, and by every start of the binary

func genaiDump(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/genai-prices.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// catalogText is how catalog.json is written: one row a line, so that a diff
// names the models that changed.
func catalogText(t testing.TB, rev schemas.PriceRevision) []byte {
	t.Helper()
	line := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\"number\": %d,\n\"created\": %s,\n\"actor\": %s,\n\"note\": %s,\n\"source\": %s,\n",
		rev.Number, line(rev.Created), line(rev.Actor), line(rev.Note), line(rev.Source))
	var providers, rows []string
	for _, p := range rev.Providers {
		providers = append(providers, line(p))
	}
	for _, r := range rev.Rows {
		rows = append(rows, line(r))
	}
	fmt.Fprintf(&b, "\"providers\": [\n%s\n],\n\"rows\": [\n%s\n]\n}\n", strings.Join(providers, ",\n"), strings.Join(rows, ",\n"))
	return b.Bytes()
}

// TestCatalogIsItsSources holds catalog.json equal to what the importer makes
// of the sources beside it.
func TestCatalogIsItsSources(t *testing.T) {
	imported, err := prices.ParseGenAIPrices(bytes.NewReader(genaiDump(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := catalogText(t, schemas.PriceRevision{
		Number: 1, Created: time.Date(2026, 9, 23, 0, 0, 0, 0, time.UTC), Actor: "panda",
		Note: "List prices that ship with Panda. Facts only: prices, dates, names of models.",
		Source: "Converted from the data of @pydantic/genai-prices 0.1.8 (npm, 2026-09-23), https://github.com/pydantic/genai-prices, " +
			"MIT License, Copyright (c) Pydantic Services Inc. 2025 to present. Service tiers: see extras.json.",
		Providers: imported.Providers, Rows: imported.Rows,
	})
	if *rewrite {
		if err := os.WriteFile("catalog.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("catalog.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("catalog.json differs from its sources; see doc.go for how to make it anew:\n%.2000s",
			cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
	}
	if len(got) > catalogBytesMax {
		t.Errorf("catalog.json has %d bytes; at most %d", len(got), catalogBytesMax)
	}
	t.Logf("%d models, %d rows, %d bytes, %d rounded, %d skipped", imported.Report.Models, imported.Report.Rows,
		len(got), len(imported.Report.Rounded), len(imported.Report.Skipped))
}

func catalog(t testing.TB) (schemas.PriceRevision, *schemas.PriceBook) {
	t.Helper()
	rev, err := prices.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	book, err := schemas.BuildPriceBook(rev)
	if err != nil {
		t.Fatal(err)
	}
	return rev, book
}

func TestCatalogFitsOneMessage(t *testing.T) {
	rev, _ := catalog(t)
	text, err := rev.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > schemas.PriceEncodedMax/4 {
		t.Errorf("the catalog takes %d bytes of a message; a book four times its size would not fit %d", len(text), schemas.PriceEncodedMax)
	}
}

func TestCatalogPrices(t *testing.T) {
	_, book := catalog(t)
	sonnet := schemas.Tokens{schemas.Input: 2_034, schemas.CacheRead: 15_000, schemas.CacheWrite5m: 1_200, schemas.Output: 1_022}
	million := schemas.Tokens{schemas.Input: 1_000_000}
	long := schemas.Tokens{schemas.Input: 250_000}
	for _, c := range []struct {
		provider, model, tier, at string
		tokens                    schemas.Tokens
		want, name                string
	}{
		{"anthropic", "claude-sonnet-4-5", "", "2026-02-01", sonnet, "0.030432", "Claude Sonnet 4.5"},
		{"", "claude-sonnet-4-5-20250929", "", "2026-02-01", sonnet, "0.030432", "Claude Sonnet 4.5"},
		{"bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "", "2026-02-01", sonnet, "0.0334752", ""},
		{"anthropic", "claude-sonnet-4-5", "", "2026-02-01", long, "1.500000", "Claude Sonnet 4.5"},
		{"openai", "gpt-4", "", "2026-02-01", schemas.Tokens{schemas.Input: 22_361_870, schemas.Output: 4_088_665}, "916.176000", "GPT-4"},
		{"anthropic", "claude-opus-4-6", "", "2026-03-12", long, "2.500000", "Claude Opus 4.6"},
		{"anthropic", "claude-opus-4-6", "", "2026-03-13", long, "1.250000", "Claude Opus 4.6"},
		{"anthropic", "claude-opus-4-6", "fast", "2026-04-01", million, "30.000000", "Claude Opus 4.6"},
		{"anthropic", "claude-opus-4-6", "us", "2026-04-01", million, "5.500000", "Claude Opus 4.6"},
		{"anthropic", "claude-opus-4-6", "batch", "2026-04-01", million, "2.500000", "Claude Opus 4.6"},
		{"openai", "gpt-4o", "batch", "2026-04-01", million, "1.250000", "GPT-4o"},
		{"azure", "gpt-4o-2024-11-20", "priority", "2026-04-01", million, "4.250000", "GPT-4o"},
		{"openai", "gpt-5", "flex", "2026-04-01", million, "0.625000", "GPT-5"},
		{"openai", "gpt-4o-2024-05-13", "", "2026-04-01", million, "5.000000", "GPT-4o (2024-05-13)"},
		{"openai", "o3", "", "2025-06-09", million, "10.000000", "o3"},
		{"openai", "o3", "", "2025-06-10", million, "2.000000", "o3"},
		{"google-gla", "models/gemini-2.5-pro", "batch", "2026-04-01", schemas.Tokens{schemas.CacheRead: 100_000}, "0.012500", "Gemini 2.5 Pro"},
		{"deepseek", "deepseek-v4-flash", "", "2026-08-16T02:00:00Z", million, "0.140000", ""},
		{"deepseek", "deepseek-v4-flash", "", "2026-08-17T00:59:59Z", million, "0.220000", ""},
		{"deepseek", "deepseek-v4-flash", "", "2026-08-17T01:00:00Z", million, "0.440000", ""},
		{"deepseek", "deepseek-v4-flash", "", "2026-08-17T04:00:00Z", million, "0.220000", ""},
		{"xai", "grok-4.5-20260101", "", "2026-04-01", schemas.Tokens{}, "0.000000", ""},
		{"", "mistral/mistral-medium-latest", "", "2026-06-16", million, "1.500000", ""},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			at = day(c.at)
		}
		e := &schemas.Event{Type: schemas.TypeLLMCall, Provider: c.provider, Model: c.model, ServiceTier: c.tier,
			Tokens: c.tokens, Time: at.UnixMilli()}
		r := book.Rate(e)
		if !r.Priced || r.Cost.String() != c.want {
			t.Errorf("%s %s %s at %s: %s %+v, want %s", c.provider, c.model, c.tier, c.at, r.Cost, r, c.want)
		}
		if rows, _ := book.Find(c.provider, c.model); c.name != "" && (len(rows) == 0 || rows[0].Name != c.name) {
			t.Errorf("%s %s goes by %+v, want %s", c.provider, c.model, rows, c.name)
		}
	}
}

// TestCatalogHoldsTheMainProviders guards against a source that lost some.
func TestCatalogHoldsTheMainProviders(t *testing.T) {
	rev, _ := catalog(t)
	count := map[string]int{}
	for _, r := range rev.Rows {
		count[r.Provider]++
	}
	for _, id := range []string{"anthropic", "openai", "google", "mistral", "groq", "deepseek", "x-ai", "cohere", "perplexity",
		"together", "fireworks", "aws", "azure", "openrouter"} {
		if count[id] < 5 {
			t.Errorf("%s has %d rows", id, count[id])
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, format := range prices.Formats() {
		for _, text := range []string{"", "7", "{", `"x"`, "[[]]"} {
			if _, err := prices.Parse(format, strings.NewReader(text)); !errors.Is(err, schemas.ErrInvalid) {
				t.Errorf("%s reads %q: %v", format, text, err)
			}
		}
	}
	if _, err := prices.Parse("csv", strings.NewReader("")); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestParsePandaRoundTrip(t *testing.T) {
	rev, _ := catalog(t)
	text, err := json.Marshal(rev)
	if err != nil {
		t.Fatal(err)
	}
	got, err := prices.ParsePanda(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rev.Rows, got.Rows); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(rev.Providers, got.Providers); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkCatalogRate(b *testing.B) {
	_, book := catalog(b)
	e := &schemas.Event{Type: schemas.TypeLLMCall, Provider: "openai", Model: "gpt-4o-2024-08-06", Time: 1_780_000_000_000,
		Tokens: schemas.Tokens{schemas.Input: 2034, schemas.CacheRead: 15000, schemas.Output: 1022}}
	b.ReportAllocs()
	for b.Loop() {
		book.Rate(e)
	}
}

func BenchmarkCatalogUnknownModel(b *testing.B) {
	_, book := catalog(b)
	e := &schemas.Event{Type: schemas.TypeLLMCall, Tokens: schemas.Tokens{1}}
	names := make([]string, 20_000) // more than the cache holds, so each is looked up in full
	for i := range names {
		names[i] = fmt.Sprintf("some/unheard-of-model-%d", i)
	}
	for i := 0; b.Loop(); i++ {
		e.Model = names[i%len(names)]
		book.Rate(e)
	}
}

func BenchmarkCatalogBuild(b *testing.B) {
	for b.Loop() {
		catalog(b)
	}
}
