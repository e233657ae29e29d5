package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// exportTypes are the formats of an export and their media types.
var exportTypes = map[string]string{"json": "application/json", "ndjson": "application/x-ndjson", "zip": "application/zip"}

// export streams everything of a tenant. It takes as long as there is data, as long as
// the client reads.
func (t *Tenants) export(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	found, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	format := r.URL.Query().Get("format")
	if format == "" {
		format = "json"
	}
	media := exportTypes[format]
	if media == "" {
		return schemas.Invalid("/format", schemas.CodeUnknown, "use json, ndjson or zip")
	}
	if t.Export == nil {
		return Problem{Status: http.StatusNotImplemented, Code: "not_implemented", Detail: "this server cannot export"}
	}
	ctx, err := Unbounded(w, r)
	if err != nil {
		return err
	}
	out := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w), media: media,
		name: fmt.Sprintf("%s-%s.%s", found.Slug, t.Now().UTC().Format(time.DateOnly), format)}
	return t.Export(ctx, scope, found.ID, out, format)
}

// patientWriter writes an answer whose client may take its time, but not stop reading.
type patientWriter struct {
	http.ResponseWriter
	control     *http.ResponseController
	media, name string
	began       bool
}

// readMax is how long a client may take to read one write of an export.
const readMax = time.Minute

// Write implements io.Writer. The headers go out with the first bytes: what fails
// before them is answered as a problem.
func (p *patientWriter) Write(b []byte) (int, error) {
	if !p.began {
		p.began = true
		p.Header().Set("Content-Type", p.media)
		p.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", p.name))
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(readMax)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// eraseUser takes a person out of a tenant's events.
func (t *Tenants) eraseUser(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	found, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body struct {
		User string `json:"user"`
	}
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	if body.User == "" || len(body.User) > schemas.NameBytesMax {
		return schemas.Invalid("/user", schemas.CodeMissing, "name the user as it is in the events, in 1 to %d bytes", schemas.NameBytesMax)
	}
	if t.EraseUser == nil {
		return Problem{Status: http.StatusNotImplemented, Code: "not_implemented", Detail: "this server cannot erase"}
	}
	by := actorOf(scope, r)
	return t.Operations.Do(w, r, "erase-user", found.ID, body.User, func(ctx context.Context, step Step) (any, error) {
		return t.EraseUser(ctx, by, found.ID, body.User, step)
	})
}
