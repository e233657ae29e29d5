package prices_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

// FuzzParse: no file panics an importer, and whatever is imported a price book
// takes, model by model.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("testdata/litellm.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(2), sample)
	f.Add(uint8(1), []byte(`[{"id":"p","provider_match":{"contains":"p"},"models":[{"id":"m","match":{"or":[{"equals":"n"},{"regex":"^m-\\d{8}$"}]},
		"prices":[{"prices":{"input_mtok":{"base":1,"tiers":[{"start":200000,"price":2}]}}},
		{"constraint":{"start_date":"2026-01-01"},"prices":{"input_mtok":0.18000000000000002,"web_searches_kcount":10}},
		{"constraint":{"start_time":"01:00:00Z","end_time":"04:00:00Z"},"prices":{"output_mtok":3}}]}]}]`))
	f.Add(uint8(0), []byte(`{"number":1,"rows":[{"provider":"p","model":"m","usd_per_mtok":{"input":"3"},"daily":"00:30-16:30"}]}`))
	f.Fuzz(func(t *testing.T, format uint8, text []byte) {
		name := prices.Formats()[int(format)%len(prices.Formats())]
		imported, err := prices.Parse(name, bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for start := 0; start < len(imported.Rows); {
			end := start + 1
			for end < len(imported.Rows) && imported.Rows[end].Provider == imported.Rows[start].Provider &&
				imported.Rows[end].Model == imported.Rows[start].Model {
				end++
			}
			if _, err := schemas.BuildPriceBook(schemas.PriceRevision{Rows: imported.Rows[start:end]}); err != nil {
				t.Fatal(err)
			}
			start = end
		}
	})
}
