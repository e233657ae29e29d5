package prices

import (
	"sort"

	"github.com/agentik-os/panda/schemas"
)

// FileBytesMax bounds a price file. The largest known one has 3 MB.
const FileBytesMax = 32 << 20

// An Import is what a price file says, in Panda's words.
type Import struct {
	// Rows are sorted; see schemas.SortPriceRows.
	Rows []schemas.PriceRow
	// Providers are names of providers, if the format has any.
	Providers []schemas.PriceProvider
	Report    Report
}

// A Report says what became of a price file.
type Report struct {
	// Models counts the models the file lists, Rows the rows made of them.
	Models, Rows int
	// Rounded lists prices that did not fit a whole pico-USD.
	Rounded []Note
	// Skipped lists what was left out and why: models, prices and names.
	Skipped []Note
	// Ignored counts fields that say nothing about prices, by name.
	Ignored map[string]int
}

// A Note is about one field of one model.
type Note struct {
	Provider, Model string
	// Field is the field as the file names it; empty is the whole model.
	Field string
	// Detail says what happened, for people.
	Detail string
}

func newReport() Report { return Report{Ignored: map[string]int{}} }

func (r *Report) skip(provider, model, field, detail string) {
	r.Skipped = append(r.Skipped, Note{provider, model, field, detail})
}

func (r *Report) round(provider, model, field, detail string) {
	r.Rounded = append(r.Rounded, Note{provider, model, field, detail})
}

// finish leaves out models whose rows a price book would refuse, so that one of
// them cannot spoil the import, and sorts what the maps of the source left in no
// order.
func (r *Report) finish(rows []schemas.PriceRow) []schemas.PriceRow {
	var kept []schemas.PriceRow
	models := byModel(rows)
	for _, id := range modelIDs(models) {
		if _, err := schemas.BuildPriceBook(schemas.PriceRevision{Rows: models[id]}); err != nil {
			r.skip(id.provider, id.model, "", err.Error())
			continue
		}
		kept = append(kept, models[id]...)
	}
	schemas.SortPriceRows(kept)
	r.Rows = len(kept)
	for _, notes := range [][]Note{r.Rounded, r.Skipped} {
		sort.SliceStable(notes, func(i, j int) bool {
			a, b := notes[i], notes[j]
			if a.Provider != b.Provider {
				return a.Provider < b.Provider
			}
			if a.Model != b.Model {
				return a.Model < b.Model
			}
			return a.Field < b.Field
		})
	}
	return kept
}
