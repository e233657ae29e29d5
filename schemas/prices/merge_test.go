package prices_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

func day(s string) time.Time {
	at, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return at
}

func row(model string, input int64, span ...string) schemas.PriceRow {
	r := schemas.PriceRow{Provider: "p", Model: model, Tokens: pico(map[schemas.Bucket]int64{schemas.Input: input})}
	if len(span) > 0 && span[0] != "" {
		r.ValidFrom = day(span[0])
	}
	if len(span) > 1 {
		r.ValidTo = day(span[1])
	}
	return r
}

func TestMerge(t *testing.T) {
	prev := schemas.PriceRevision{Number: 4, Rows: []schemas.PriceRow{
		row("changes", 1, "", "2026-01-01"), row("changes", 2, "2026-01-01", "2026-09-01"), row("changes", 3, "2026-09-01"),
		row("Same", 1), row("absent", 1), row("over", 1, "", "2026-02-01"),
	}}
	imported := prices.Import{Rows: []schemas.PriceRow{row("changes", 9), row("same", 1), row("new", 7, "2026-01-01")}}
	for _, c := range []struct {
		all  bool
		want []schemas.PriceRow
		done prices.Changes
	}{
		{false, []schemas.PriceRow{
			row("Same", 1), row("absent", 1),
			row("changes", 1, "", "2026-01-01"), row("changes", 2, "2026-01-01", "2026-06-01"), row("changes", 9, "2026-06-01"),
			row("new", 7, "2026-01-01"), row("over", 1, "", "2026-02-01"),
		}, prices.Changes{Unchanged: 3, Models: []prices.Change{{"p", "changes", "changed"}, {"p", "new", "added"}}}},
		{true, []schemas.PriceRow{
			row("Same", 1), row("absent", 1, "", "2026-06-01"),
			row("changes", 1, "", "2026-01-01"), row("changes", 2, "2026-01-01", "2026-06-01"), row("changes", 9, "2026-06-01"),
			row("new", 7, "2026-01-01"), row("over", 1, "", "2026-02-01"),
		}, prices.Changes{Unchanged: 2, Models: []prices.Change{{"p", "absent", "ended"}, {"p", "changes", "changed"}, {"p", "new", "added"}}}},
	} {
		got, done, err := prices.Merge(prev, imported, prices.MergeOptions{From: day("2026-06-01"), All: c.all})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(schemas.PriceRevision{Number: 5, Rows: c.want}, got); diff != "" {
			t.Errorf("all %v: %s", c.all, diff)
		}
		if diff := cmp.Diff(c.done, done); diff != "" {
			t.Errorf("all %v: %s", c.all, diff)
		}
	}
	if _, _, err := prices.Merge(prev, imported, prices.MergeOptions{}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a merge without a date: %v", err)
	}
}

// TestMergeProperties: whatever is imported whenever, prices before the date
// stay, prices after it are the imported ones, the book builds, and importing
// the same again changes nothing.
func TestMergeProperties(t *testing.T) {
	months := func(n int) time.Time { return day("2026-01-01").AddDate(0, n, 0) }
	rows := rapid.Custom(func(t *rapid.T) []schemas.PriceRow {
		var rows []schemas.PriceRow
		for m := range rapid.IntRange(0, 3).Draw(t, "models") {
			at := rapid.IntRange(0, 3).Draw(t, "first")
			for range rapid.IntRange(1, 3).Draw(t, "rows") {
				r := row(fmt.Sprint("m", m), rapid.Int64Range(1, 3).Draw(t, "price"))
				r.ValidFrom = months(at)
				at += rapid.IntRange(1, 4).Draw(t, "length")
				r.ValidTo = months(at)
				rows = append(rows, r)
				at += rapid.IntRange(0, 1).Draw(t, "gap")
			}
			if rapid.Bool().Draw(t, "open") {
				rows[len(rows)-1].ValidTo = time.Time{}
			}
		}
		return rows
	})
	rapid.Check(t, func(t *rapid.T) {
		prev := schemas.PriceRevision{Rows: rows.Draw(t, "prev")}
		imported := prices.Import{Rows: rows.Draw(t, "imported")}
		from := rapid.IntRange(0, 12).Draw(t, "from")
		opts := prices.MergeOptions{From: months(from), All: rapid.Bool().Draw(t, "all")}
		next, _, err := prices.Merge(prev, imported, opts)
		if err != nil {
			t.Fatal(err)
		}
		old, fresh, merged := build(t, prev.Rows), build(t, imported.Rows), build(t, next.Rows)
		for m := range 3 {
			model := fmt.Sprint("m", m)
			before := false // whether a price was in force before the import
			for i := range from {
				before = before || rate(old, model, months(i)) != schemas.UnpricedModel && rate(old, model, months(i)) != schemas.UnpricedTime
			}
			_, listed := old.Find("p", model)
			_, now := fresh.Find("p", model)
			for i := range 16 {
				want := rate(old, model, months(i))
				switch {
				case !before && now && !same(old, fresh, model, from), !listed, i >= from && now:
					want = rate(fresh, model, months(i))
				case i >= from && opts.All:
					want = schemas.UnpricedTime
				}
				if got := rate(merged, model, months(i)); got != want && (want != schemas.UnpricedModel || got != schemas.UnpricedTime) &&
					(want != schemas.UnpricedTime || got != schemas.UnpricedModel) {
					t.Fatalf("%s in month %d: %s, want %s", model, i, got, want)
				}
			}
		}
		again, changes, err := prices.Merge(next, imported, opts)
		if err != nil || len(changes.Models) > 0 || cmp.Diff(next, again) != "" {
			t.Fatalf("the second import changed %+v, %v", changes, err)
		}
		opts.From = months(from + rapid.IntRange(0, 4).Draw(t, "later"))
		if _, changes, _ := prices.Merge(next, imported, opts); len(changes.Models) > 0 {
			t.Fatalf("a later second import changed %+v", changes)
		}
	})
}

// same reports whether two books agree on a model from a month on.
func same(a, b *schemas.PriceBook, model string, from int) bool {
	for i := from; i < 40; i++ {
		at := day("2026-01-01").AddDate(0, i, 0)
		if rate(a, model, at) != rate(b, model, at) {
			return false
		}
	}
	return true
}

func build(t *rapid.T, rows []schemas.PriceRow) *schemas.PriceBook {
	book, err := schemas.BuildPriceBook(schemas.PriceRevision{Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func rate(book *schemas.PriceBook, model string, at time.Time) string {
	r := book.Rate(&schemas.Event{Type: schemas.TypeLLMCall, Provider: "p", Model: model, Tokens: schemas.Tokens{1}, Time: at.UnixMilli()})
	if r.Priced {
		return r.Cost.String()
	}
	return r.Reason
}

// TestMergeCatalogTwice: the file the catalog was made of, imported again,
// leaves the book as it is.
func TestMergeCatalogTwice(t *testing.T) {
	rev, _ := catalog(t)
	imported, err := prices.ParseGenAIPrices(bytes.NewReader(genaiDump(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range []bool{false, true} {
		next, changes, err := prices.Merge(rev, imported, prices.MergeOptions{From: day("2026-11-23"), All: all})
		if err != nil || len(changes.Models) > 0 || next.Number != rev.Number {
			t.Errorf("all %v: number %d, %+v, %v", all, next.Number, changes.Models, err)
		}
	}
}

// TestMergeProviders: an import may bring names of providers, and that alone is
// a new revision.
func TestMergeProviders(t *testing.T) {
	prev := schemas.PriceRevision{Number: 1, Providers: []schemas.PriceProvider{{ID: "a"}, {ID: "b"}}}
	imported := prices.Import{Providers: []schemas.PriceProvider{{ID: "c"}, {ID: "a", Name: "A"}}}
	got, changes, err := prices.Merge(prev, imported, prices.MergeOptions{From: day("2026-06-01")})
	want := schemas.PriceRevision{Number: 2, Providers: []schemas.PriceProvider{{ID: "a", Name: "A"}, {ID: "b"}, {ID: "c"}}}
	if err != nil || !changes.Providers || cmp.Diff(want, got) != "" {
		t.Errorf("%+v %+v %v", got, changes, err)
	}
}

// TestMergeLiteLLMIntoCatalog: what one source lists as a model of its own and
// the other as a name of another does not keep them apart.
func TestMergeLiteLLMIntoCatalog(t *testing.T) {
	rev, _ := catalog(t)
	imported := litellm(t)
	dated := row("gpt-4o-2024-08-06", 2_000_000) // the catalog has it as a name of gpt-4o
	dated.Provider = "openai"
	imported.Rows = append(imported.Rows, dated)
	next, changes, err := prices.Merge(rev, imported, prices.MergeOptions{From: day("2026-11-01")})
	if err != nil || len(changes.Models) != len(imported.Rows) {
		t.Fatalf("%+v %v", changes, err)
	}
	book, err := schemas.BuildPriceBook(next)
	if err != nil {
		t.Fatal(err)
	}
	e := &schemas.Event{Type: schemas.TypeLLMCall, Provider: "openai", Model: "gpt-4o-2024-08-06",
		Tokens: schemas.Tokens{schemas.Input: 1_000_000}, Time: day("2026-11-02").UnixMilli()}
	if r := book.Rate(e); r.Cost.String() != "2.000000" {
		t.Errorf("%+v", r)
	}
}
