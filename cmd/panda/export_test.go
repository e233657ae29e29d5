package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/agentik-os/panda/internal/export"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// exported is an export as a reader without this program sees it.
type exported struct {
	Sections map[string][]json.RawMessage
	Manifest export.Manifest
}

// sums are the manifest's, made again from the records.
func (x *exported) sums() map[string]export.ManifestSection {
	sums := map[string]export.ManifestSection{}
	for name := range x.Manifest.Sections {
		h := sha256.New()
		for _, record := range x.Sections[name] {
			h.Write(append(slices.Clone(record), '\n'))
		}
		sums[name] = export.ManifestSection{Records: int64(len(x.Sections[name])), SHA256: hex.EncodeToString(h.Sum(nil))}
	}
	return sums
}

// An export holds everything about its tenant and nothing about another, fits its
// schema, proves that it is whole, and says the same in every format.
func TestExport(t *testing.T) {
	t.Parallel()
	e := startErasing(t)
	e.fill()
	if _, err := e.registry.CreateKey(t.Context(), tenancy.Actor{ID: "system:test"}, tenancy.NewKey{ID: "abcdefgh", TenantID: e.acme.ID,
		Name: "ci", Scopes: []tenancy.Permission{tenancy.PermissionRead}, Hash: [32]byte{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	exporter := export.New(export.Config{Registry: e.registry, Warehouse: e.exported, PageRows: 7})
	own := tenancy.ScopeOf(e.acme.ID, "user:test", tenancy.PermissionRead)
	texts := map[export.Format][]byte{}
	for _, format := range []export.Format{export.JSON, export.NDJSON, export.Zip} {
		var out bytes.Buffer
		if err := exporter.Write(t.Context(), own, "", &out, format); err != nil {
			t.Fatal(err)
		}
		texts[format] = out.Bytes()
	}
	checkSchema(t, texts[export.JSON])
	documents := map[export.Format]exported{export.JSON: readJSON(t, texts[export.JSON]), export.NDJSON: readNDJSON(t, texts[export.NDJSON]),
		export.Zip: readZip(t, texts[export.Zip])}
	for format, d := range documents {
		if diff := cmp.Diff(d.Manifest.Sections, d.sums()); diff != "" {
			t.Errorf("%s: the records are not what the manifest says: %s", format, diff)
		}
		if diff := cmp.Diff(documents[export.JSON].Sections, d.Sections); diff != "" {
			t.Errorf("%s differs from json: %s", format, diff)
		}
	}
	for kind, secret := range e.secrets {
		if !bytes.Contains(texts[export.NDJSON], []byte(secret)) {
			t.Errorf("the tenant's %s is missing", kind)
		}
	}
	for _, word := range []string{"globex", "homer", e.globex.ID, "AQID", "010203"} { // of another tenant; of a key's hash
		if bytes.Contains(texts[export.JSON], []byte(word)) {
			t.Errorf("the export holds %q", word)
		}
	}
	d := documents[export.JSON]
	counts := map[string]int64{}
	for name, s := range d.Manifest.Sections {
		counts[name] = s.Records
	}
	want := map[string]int64{"tenant": 1, "configuration": 1, "members": 1, "invitations": 0, "keys": 1, "alert_channels": 0, "alert_mutes": 0,
		"audit": counts["audit"], "agents": 1,
		"costs": counts["costs"], "messages": 62, "conflicts": 1, "quarantine": 1}
	if diff := cmp.Diff(want, counts); diff != "" || counts["audit"] < 3 || counts["costs"] < 1 {
		t.Errorf("records: %s", diff)
	}
	messages, costs := sumOf(t, d.Sections["messages"]), sumOf(t, d.Sections["costs"])
	if messages != costs || messages.Sign() <= 0 {
		t.Errorf("messages cost $%s, the months $%s", messages, costs)
	}

	other := tenancy.ScopeOf(e.globex.ID, "user:other", tenancy.PermissionRead)
	for name, err := range map[string]error{
		"another tenant's": exporter.Write(t.Context(), other, e.acme.ID, io.Discard, export.JSON),
		"no tenant":        exporter.Write(t.Context(), own, "nobody", io.Discard, export.JSON),
	} {
		if !errors.Is(err, tenancy.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := exporter.Write(t.Context(), own, "", io.Discard, "xml"); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an unknown format: %v", err)
	}
	full := errors.New("the disk is full")
	if err := exporter.Write(t.Context(), own, "", failingWriter{full}, export.JSON); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func sumOf(t *testing.T, records []json.RawMessage) (sum schemas.Money) {
	t.Helper()
	for _, text := range records {
		var r struct {
			Cost *schemas.Money `json:"cost"`
		}
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		if r.Cost != nil {
			sum = sum.Add(*r.Cost)
		}
	}
	return sum
}

func checkSchema(t *testing.T, text []byte) {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("../../schemas/export.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("the export does not fit its schema: %v", err)
	}
}

func readJSON(t *testing.T, text []byte) exported {
	t.Helper()
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(text, &sections); err != nil {
		t.Fatal(err)
	}
	x := exported{Sections: map[string][]json.RawMessage{}}
	if err := json.Unmarshal(sections["manifest"], &x.Manifest); err != nil {
		t.Fatal(err)
	}
	for name := range x.Manifest.Sections {
		var records []json.RawMessage
		if sections[name][0] == '{' {
			records = append(records, sections[name])
		} else if err := json.Unmarshal(sections[name], &records); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(records) > 0 {
			x.Sections[name] = records
		}
	}
	return x
}

func readNDJSON(t *testing.T, text []byte) exported {
	t.Helper()
	x := exported{Sections: map[string][]json.RawMessage{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var line struct {
			Section  string          `json:"section"`
			Record   json.RawMessage `json:"record"`
			Manifest *export.Manifest
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || x.Manifest.Format != "" {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		if line.Manifest != nil {
			x.Manifest = *line.Manifest
			continue
		}
		x.Sections[line.Section] = append(x.Sections[line.Section], line.Record)
	}
	return x
}

func readZip(t *testing.T, text []byte) exported {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	x := exported{Sections: map[string][]json.RawMessage{}}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == "manifest.json" {
			if err := json.Unmarshal(content, &x.Manifest); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for line := range bytes.Lines(content) {
			name := strings.TrimSuffix(f.Name, ".ndjson")
			x.Sections[name] = append(x.Sections[name], json.RawMessage(bytes.TrimSuffix(line, []byte("\n"))))
		}
	}
	return x
}
