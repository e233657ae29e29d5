package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

type revisionView struct {
	Number  uint32    `json:"number"`
	Created time.Time `json:"created"`
	Actor   string    `json:"actor"`
	Note    string    `json:"note"`
	Source  string    `json:"source"`
}

func viewOfRevision(rev schemas.PriceRevision) revisionView {
	return revisionView{rev.Number, rev.Created, rev.Actor, rev.Note, rev.Source}
}

type pricesAnswer struct {
	Revision revisionView       `json:"revision"`
	Rows     []schemas.PriceRow `json:"rows"`
}

// prices is GET /v1/prices: the rows in force at a moment.
func (a *API) prices(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
	q := r.URL.Query()
	at := a.Now()
	if text := q.Get("at"); text != "" {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			if parsed, err = time.Parse(time.DateOnly, text); err != nil {
				return schemas.Invalid("/at", schemas.CodeMalformed, "%q is neither a day nor an RFC 3339 time", text)
			}
		}
		at = parsed
	}
	book, err := a.Prices.Current(r.Context())
	if err != nil {
		return err
	}
	rows := book.Search(q.Get("q"), at)
	if provider := q.Get("provider"); provider != "" {
		kept := rows[:0:0]
		for _, row := range rows {
			if row.Provider == provider {
				kept = append(kept, row)
			}
		}
		rows = kept
	}
	if rows == nil {
		rows = []schemas.PriceRow{}
	}
	return writeJSON(w, pricesAnswer{viewOfRevision(book.Revision()), rows})
}

// priceOfModel is GET /v1/prices/{provider}/{model}: every dated row of a model.
// The provider "-" asks for the model's own.
func (a *API) priceOfModel(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
	book, err := a.Prices.Current(r.Context())
	if err != nil {
		return err
	}
	provider := r.PathValue("provider")
	if provider == "-" {
		provider = ""
	}
	rows, ok := book.Find(provider, r.PathValue("model"))
	if !ok {
		return httpapi.NotFound()
	}
	return writeJSON(w, pricesAnswer{viewOfRevision(book.Revision()), rows})
}

type noteView struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Field    string `json:"field,omitempty"`
	Reason   string `json:"reason"`
}

func notesOf(notes []prices.Note) []noteView {
	views := make([]noteView, len(notes))
	for i, n := range notes {
		views[i] = noteView{n.Provider, n.Model, n.Field, n.Detail}
	}
	return views
}

type importAnswer struct {
	Revision  *uint32    `json:"revision"`
	Added     int        `json:"added"`
	Changed   int        `json:"changed"`
	Removed   int        `json:"removed"`
	Unchanged int        `json:"unchanged"`
	Rounded   []noteView `json:"rounded"`
	Skipped   []noteView `json:"skipped"`
}

// importPrices is POST /v1/prices/import: a price file becomes the next revision.
func (a *API) importPrices(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := httpapi.PlatformOnly(scope); err != nil {
		return err
	}
	q := r.URL.Query()
	from, err := dayQuery(r, "from", a.Now())
	if err != nil {
		return err
	}
	all, err := boolQuery(r, "all")
	if err != nil {
		return err
	}
	dryRun, err := boolQuery(r, "dry_run")
	if err != nil {
		return err
	}
	format := q.Get("format")
	if !slices.Contains(prices.Formats(), format) {
		return schemas.Invalid("/format", schemas.CodeUnknown, "%q is not a format of price files; use one of %s",
			format, strings.Join(prices.Formats(), ", "))
	}
	imported, err := prices.Parse(format, http.MaxBytesReader(w, r.Body, prices.FileBytesMax))
	if err != nil {
		return err
	}
	book, err := a.Prices.Current(r.Context())
	if err != nil {
		return err
	}
	next, changes, err := prices.Merge(book.Revision(), imported, prices.MergeOptions{From: from, All: all})
	if err != nil {
		return err
	}
	answer := importAnswer{
		Unchanged: changes.Unchanged,
		Rounded:   notesOf(imported.Report.Rounded), Skipped: notesOf(imported.Report.Skipped),
	}
	for _, c := range changes.Models {
		switch c.Kind {
		case prices.ChangeAdded:
			answer.Added++
		case prices.ChangeChanged:
			answer.Changed++
		case prices.ChangeEnded:
			answer.Removed++
		}
	}
	if dryRun {
		return writeJSON(w, answer)
	}
	if len(changes.Models) == 0 {
		// The same file once more: it may have been decided by a request that ended
		// before its answer.
		if err := a.Prices.Announce(r.Context()); err != nil {
			return err
		}
		return writeJSON(w, answer)
	}
	next.Created, next.Actor, next.Note = a.Now().UTC(), scope.Actor(), q.Get("note")
	next.Source = format + " file"
	number, err := a.Prices.Publish(r.Context(), book.Number(), next)
	if err != nil {
		return err
	}
	answer.Revision = &number
	return writeJSON(w, answer)
}
