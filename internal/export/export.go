package export

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// Format is how an export is written.
type Format string

// The formats.
const (
	JSON   Format = "json"
	NDJSON Format = "ndjson"
	Zip    Format = "zip"
)

// Known reports whether f is one of the formats.
func (f Format) Known() bool { return f == JSON || f == NDJSON || f == Zip }

// ContentType is the format's media type.
func (f Format) ContentType() string {
	switch f {
	case NDJSON:
		return "application/x-ndjson"
	case Zip:
		return "application/zip"
	}
	return "application/json"
}

// The name and version of the document, in its manifest. A change that a reader of an
// older one would read wrongly raises the version.
const (
	formatName    = "panda.tenant-export"
	formatVersion = 1
)

// Manifest says what an export holds.
type Manifest struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	TenantID  string    `json:"tenant_id"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	// Position is that of the usage log as of which messages, agents and costs are.
	Position uint64                     `json:"position"`
	Sections map[string]ManifestSection `json:"sections"`
}

// ManifestSection is what a section holds.
type ManifestSection struct {
	Records int64  `json:"records"`
	SHA256  string `json:"sha256"`
}

// DB is the warehouse as this package uses it; *warehouse.DB is one.
type DB interface {
	Query(ctx context.Context, sql string, params ...warehouse.Param) (*warehouse.Rows, error)
}

// Config is what an Exporter needs to know.
type Config struct {
	Registry *tenancy.Registry
	// Warehouse returns the shard that a tenant is in, its warehouse, and in which of
	// the databases there tenants' rows lie.
	Warehouse func(tenantID string) (schemas.Shard, DB, *placement.Map, error)
	// PageRows is how many rows one query returns, 20,000: a page takes well under the
	// time that a query may take, however large the tenant is.
	PageRows int
	// Now is the clock; time.Now.
	Now func() time.Time
}

// Exporter writes exports.
type Exporter struct{ cfg Config }

// New returns an Exporter.
func New(cfg Config) *Exporter {
	if cfg.PageRows == 0 {
		cfg.PageRows = 20_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Exporter{cfg}
}

// Write writes all that is held about a tenant, by its id or slug; "" is the scope's
// own. A tenant's scope reaches its own alone.
//
// Errors: schemas.ErrInvalid (no such format), tenancy.ErrNotFound,
// schemas.ErrUnavailable, and what w returns. After an error the document has no
// manifest.
func (x *Exporter) Write(ctx context.Context, scope tenancy.Scope, idOrSlug string, w io.Writer, format Format) error {
	if !format.Known() {
		return fmt.Errorf("export as %q: %w: use json, ndjson or zip", format, schemas.ErrInvalid)
	}
	if idOrSlug == "" {
		idOrSlug = scope.TenantID()
	}
	tenant, err := x.cfg.Registry.Find(scope, idOrSlug)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, 1<<16)
	d := &document{format: format, out: buffered}
	if format == Zip {
		d.zip = zip.NewWriter(buffered)
	}
	d.manifest = Manifest{Format: formatName, Version: formatVersion, TenantID: tenant.ID, CreatedAt: x.cfg.Now().UTC(),
		CreatedBy: scope.Actor(), Sections: map[string]ManifestSection{}}
	if err := x.write(ctx, scope, &tenant, d); err != nil {
		return fmt.Errorf("export tenant %s: %w", tenant.ID, err)
	}
	if err := errors.Join(d.end(), buffered.Flush()); err != nil {
		return fmt.Errorf("export tenant %s: %w", tenant.ID, err)
	}
	return nil
}

// document is an export that is being written.
type document struct {
	format   Format
	out      *bufio.Writer
	zip      *zip.Writer
	manifest Manifest

	// The section under way.
	name    string
	single  bool // an object, not a list
	records int64
	sum     hash.Hash
	into    io.Writer
}

// section begins one and ends the one before. A single one is an object.
func (d *document) section(name string, single bool) (err error) {
	if err := d.endSection(); err != nil {
		return err
	}
	first := len(d.manifest.Sections) == 0
	d.name, d.single, d.records, d.sum, d.into = name, single, 0, sha256.New(), d.out
	switch d.format {
	case Zip:
		d.into, err = d.zip.CreateHeader(&zip.FileHeader{Name: name + ".ndjson", Method: zip.Deflate, Modified: d.manifest.CreatedAt})
	case JSON:
		_, err = fmt.Fprintf(d.out, "%s%q: %s", map[bool]string{true: "{\n", false: ",\n"}[first], name, map[bool]string{true: "", false: "["}[single])
	}
	return err
}

// record writes one record of the section.
func (d *document) record(value any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	_, _ = d.sum.Write(text.Bytes()) // a hash does not fail
	line := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	var err error
	switch {
	case d.format == Zip:
		_, err = d.into.Write(text.Bytes())
	case d.format == NDJSON:
		_, err = fmt.Fprintf(d.out, "{\"section\":%q,\"record\":%s}\n", d.name, line)
	case d.single:
		_, err = d.out.Write(line)
	default:
		_, err = fmt.Fprintf(d.out, "%s\n  %s", map[bool]string{true: ",", false: ""}[d.records > 0], line)
	}
	d.records++
	return err
}

func (d *document) endSection() error {
	if d.name == "" {
		return nil
	}
	d.manifest.Sections[d.name] = ManifestSection{Records: d.records, SHA256: hex.EncodeToString(d.sum.Sum(nil))}
	d.name = ""
	if d.format != JSON || d.single {
		return nil
	}
	_, err := d.out.WriteString("\n]")
	return err
}

// end writes the manifest.
func (d *document) end() error {
	if err := d.endSection(); err != nil {
		return err
	}
	text, err := json.Marshal(&d.manifest)
	if err != nil {
		return err
	}
	switch d.format {
	case NDJSON:
		_, err = fmt.Fprintf(d.out, "{\"manifest\":%s}\n", text)
	case JSON:
		_, err = fmt.Fprintf(d.out, ",\n\"manifest\": %s\n}\n", text)
	case Zip:
		into, createErr := d.zip.CreateHeader(&zip.FileHeader{Name: "manifest.json", Method: zip.Deflate, Modified: d.manifest.CreatedAt})
		if createErr != nil {
			return createErr
		}
		if _, err = into.Write(text); err == nil {
			err = d.zip.Close()
		}
	}
	return err
}
