package prices

import (
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// MergeOptions say how an import changes the book.
type MergeOptions struct {
	// From is when imported prices take effect. Prices before it stay as they
	// are, so what was rated before can be explained later. Required.
	From time.Time
	// All ends, at From, every model that the import does not list.
	All bool
}

// Changes says what a merge did, by model, in the order of the book.
type Changes struct {
	Models    []Change
	Unchanged int
	// Providers says whether names of providers changed.
	Providers bool
}

// A Change is what a merge did to one model: "added", "changed" or "ended".
type Change struct{ Provider, Model, Kind string }

// The kinds of changes.
const (
	ChangeAdded   = "added"
	ChangeChanged = "changed"
	ChangeEnded   = "ended"
)

type modelID struct{ provider, model string }

func idOf(r *schemas.PriceRow) modelID { return modelID{r.Provider, r.Model} }

// Merge returns the revision that follows prev when an import takes effect. The
// number goes up by one if anything changed, else the revision is prev itself;
// who, when and why are the caller's to fill in.
//
//   - A model that prev does not know, or has no price for before From, gets the
//     imported rows with their own dates: there is nothing to rewrite.
//   - A model that is the same from From on is left alone. So importing a file
//     twice is a no-op, at whatever date.
//   - Any other model keeps its rows up to From and takes the imported ones
//     from there.
//
// Imported providers replace those of the same id. A model that is spelled with
// other capitals is the same model and keeps its spelling. Merge does not check
// what comes out; schemas.BuildPriceBook does.
func Merge(prev schemas.PriceRevision, imported Import, opts MergeOptions) (schemas.PriceRevision, Changes, error) {
	if opts.From.IsZero() {
		return schemas.PriceRevision{}, Changes{}, schemas.Invalid("/from", schemas.CodeMissing,
			"an import needs a date from which it holds")
	}
	from := opts.From.UTC().Truncate(time.Millisecond) // events carry milliseconds
	old := byModel(prev.Rows)
	fresh := byModel(spellAs(old, imported.Rows))
	next := prev
	next.Rows = nil
	var changes Changes
	for _, id := range modelIDs(old, fresh) {
		rows, kind := mergeModel(old[id], fresh[id], from, opts.All)
		next.Rows = append(next.Rows, rows...)
		if kind == "" {
			changes.Unchanged++
			continue
		}
		changes.Models = append(changes.Models, Change{id.provider, id.model, kind})
	}
	next.Providers = mergeProviders(prev.Providers, imported.Providers)
	changes.Providers = !sameProviders(next.Providers, prev.Providers)
	if len(changes.Models) == 0 && !changes.Providers {
		return prev, changes, nil
	}
	next.Number = prev.Number + 1
	next.Created, next.Actor, next.Note, next.Source = time.Time{}, "", "", ""
	schemas.SortPriceRows(next.Rows)
	return next, changes, nil
}

// spellAs gives imported models the spelling that the book has for them.
func spellAs(old map[modelID][]schemas.PriceRow, rows []schemas.PriceRow) []schemas.PriceRow {
	known := make(map[modelID]string, len(old))
	for id := range old {
		known[modelID{id.provider, strings.ToLower(id.model)}] = id.model
	}
	spelled := append([]schemas.PriceRow(nil), rows...)
	for i := range spelled {
		if model, ok := known[modelID{spelled[i].Provider, strings.ToLower(spelled[i].Model)}]; ok {
			spelled[i].Model = model
		}
	}
	return spelled
}

// mergeModel returns the rows of one model and what changed, "" for nothing.
func mergeModel(old, fresh []schemas.PriceRow, from time.Time, all bool) ([]schemas.PriceRow, string) {
	switch {
	case len(old) == 0:
		return fresh, ChangeAdded
	case len(fresh) == 0 && (!all || len(clipFrom(old, from)) == 0):
		return old, ""
	case len(fresh) == 0:
		return clipTo(old, from), ChangeEnded
	}
	later := clipFrom(fresh, from)
	if reflect.DeepEqual(clipFrom(old, from), later) {
		return old, ""
	}
	before := clipTo(old, from)
	if len(before) == 0 {
		return fresh, ChangeChanged // the old price never was in force; nothing is rewritten
	}
	return append(before, later...), ChangeChanged
}

// clipFrom returns what rows say from a moment on.
func clipFrom(rows []schemas.PriceRow, from time.Time) []schemas.PriceRow {
	var clipped []schemas.PriceRow
	for _, r := range rows {
		if !r.ValidTo.IsZero() && !from.Before(r.ValidTo) {
			continue
		}
		if r.ValidFrom.Before(from) {
			r.ValidFrom = from
		}
		clipped = append(clipped, normalize(r))
	}
	schemas.SortPriceRows(clipped)
	return joinRows(clipped)
}

// joinRows makes one row of rows that say the same one after the other, so that
// only what they say is compared, not how it is cut. The rows are sorted.
func joinRows(rows []schemas.PriceRow) []schemas.PriceRow {
	var joined []schemas.PriceRow
next:
	for _, r := range rows {
		for i := range joined {
			before := joined[i]
			if before.ValidTo.IsZero() || !before.ValidTo.Equal(r.ValidFrom) {
				continue
			}
			before.ValidFrom, before.ValidTo = r.ValidFrom, r.ValidTo
			if reflect.DeepEqual(before, r) {
				joined[i].ValidTo = r.ValidTo
				continue next
			}
		}
		joined = append(joined, r)
	}
	return joined
}

// clipTo returns what rows say before a moment.
func clipTo(rows []schemas.PriceRow, to time.Time) []schemas.PriceRow {
	var clipped []schemas.PriceRow
	for _, r := range rows {
		if !r.ValidFrom.Before(to) {
			continue
		}
		if r.ValidTo.IsZero() || to.Before(r.ValidTo) {
			r.ValidTo = to
		}
		clipped = append(clipped, r)
	}
	return clipped
}

// normalize makes rows that say the same compare equal: one zone, and no empty
// list where there could be none.
func normalize(r schemas.PriceRow) schemas.PriceRow {
	if !r.ValidFrom.IsZero() {
		r.ValidFrom = r.ValidFrom.UTC()
	}
	if !r.ValidTo.IsZero() {
		r.ValidTo = r.ValidTo.UTC()
	}
	if len(r.Match) == 0 {
		r.Match = nil
	}
	if len(r.Units) == 0 {
		r.Units = nil
	}
	if len(r.Contexts) == 0 {
		r.Contexts = nil
	}
	if len(r.Services) == 0 {
		r.Services = nil
	}
	return r
}

func byModel(rows []schemas.PriceRow) map[modelID][]schemas.PriceRow {
	models := map[modelID][]schemas.PriceRow{}
	for i := range rows {
		id := idOf(&rows[i])
		models[id] = append(models[id], rows[i])
	}
	return models
}

func modelIDs(maps ...map[modelID][]schemas.PriceRow) []modelID {
	seen := map[modelID]bool{}
	var ids []modelID
	for _, m := range maps {
		for id := range m {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		if ids[i].provider != ids[j].provider {
			return ids[i].provider < ids[j].provider
		}
		return ids[i].model < ids[j].model
	})
	return ids
}

func sameProviders(a, b []schemas.PriceProvider) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

func mergeProviders(prev, imported []schemas.PriceProvider) []schemas.PriceProvider {
	merged := append([]schemas.PriceProvider(nil), prev...)
	for _, p := range imported {
		known := false
		for i := range merged {
			if merged[i].ID == p.ID {
				merged[i], known = p, true
			}
		}
		if !known {
			merged = append(merged, p)
		}
	}
	return merged
}
