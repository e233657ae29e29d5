package prices_test

import (
	"bufio"
	"compress/gzip"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// TestCatalogAgreesWithItsSource prices two calls at every model the source
// knows, by every name it knows, and compares with what the source's own
// calculator answered; testdata/golden.cjs asked it. Its answers are floats, and
// it does not round prices to a pico-USD per token, so two nano-dollars are let
// pass. It bills nothing for tokens without a price where Panda has no cost; a
// model of which it knows a price must be known here.
func TestCatalogAgreesWithItsSource(t *testing.T) {
	_, book := catalog(t)
	sizes := map[string]schemas.Tokens{
		"small": {schemas.Input: 2_034, schemas.CacheRead: 15_000, schemas.CacheWrite5m: 1_200, schemas.Output: 1_022},
		"large": {schemas.Input: 297_989, schemas.CacheRead: 1_003, schemas.CacheWrite5m: 1_009, schemas.Output: 1_013},
	}
	f, err := os.Open("testdata/genai-golden.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	compared, unpriced := 0, map[string]int{}
	for lines := bufio.NewScanner(zip); lines.Scan(); {
		col := strings.Split(lines.Text(), ",")
		e := &schemas.Event{Type: schemas.TypeLLMCall, Provider: col[0], Model: col[1], Tokens: sizes[col[2]],
			Time: time.Date(2026, 9, 1, 20, 0, 0, 0, time.UTC).UnixMilli()}
		r := book.Rate(e)
		if !r.Priced {
			unpriced[r.Reason]++
			if r.Reason == schemas.UnpricedModel && col[4] != "0.000000000000000" {
				t.Errorf("%v: %s", col, r.Reason)
			}
			continue
		}
		if r.Model != col[3] {
			t.Errorf("%v: found %s", col, r.Model)
			continue
		}
		want, ok := new(big.Rat).SetString(col[4])
		if !ok {
			t.Fatal(col)
		}
		got := new(big.Rat).SetFrac(r.Cost.Big(), big.NewInt(schemas.PicoPerUSD))
		if diff := got.Sub(got, want); diff.Abs(diff).Cmp(big.NewRat(2, 1_000_000_000)) > 0 {
			t.Errorf("%v: %s USD", col, r.Cost)
		}
		compared++
	}
	if compared < 4_000 {
		t.Errorf("only %d answers compared, unpriced %v", compared, unpriced)
	}
}
