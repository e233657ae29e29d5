package demo

import (
	"testing"

	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

// TestPricesAgreeWithCatalog compares the oracle's table with the catalog that
// panda ships, bucket by bucket, in every month a demo may show. They were
// written down apart, so a slip in either shows here and not on a screen.
func TestPricesAgreeWithCatalog(t *testing.T) {
	catalog, err := prices.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	book, err := schemas.BuildPriceBook(catalog)
	if err != nil {
		t.Fatal(err)
	}
	for at := month(t, "2025-11").Start; at.Before(month(t, "2026-12").Start); at = at.AddDate(0, 1, 0) {
		for i := range models {
			m := &models[i]
			for b := range schemas.BucketCount {
				if m.priced && m.pico[b] == 0 {
					continue // the demo does not use this bucket
				}
				e := schemas.Event{Type: schemas.TypeLLMCall, Provider: m.provider, Model: m.id, Time: at.UnixMilli()}
				e.Tokens[b] = 1000
				r := book.Rate(&e)
				if r.Priced != m.priced || m.priced && r.Cost.Cmp(schemas.Pico(m.cost(&e.Tokens))) != 0 {
					t.Errorf("%s, %s, %s: the catalog says %+v, the table %d pico-USD", at.Format("2006-01"), m.id, schemas.Bucket(b), r, m.cost(&e.Tokens))
				}
			}
		}
	}
}
