package prices

import (
	_ "embed"
	"fmt"
	"io"

	"github.com/agentik-os/panda/schemas"
)

//go:embed catalog.json
var catalogJSON []byte

// Catalog returns the revision that ships with the binary. It has the number 1
// and is what a new installation starts from.
func Catalog() (schemas.PriceRevision, error) {
	rev, err := schemas.ParsePriceRevision(catalogJSON)
	if err != nil {
		return schemas.PriceRevision{}, fmt.Errorf("read built-in catalog: %w", err)
	}
	return rev, nil
}

// The formats of price files.
const (
	FormatPanda   = "panda"
	FormatGenAI   = "genai-prices"
	FormatLiteLLM = "litellm"
)

// Formats lists the formats that Parse reads.
func Formats() []string { return []string{FormatPanda, FormatGenAI, FormatLiteLLM} }

// Parse reads a price file of a named format.
func Parse(format string, r io.Reader) (Import, error) {
	switch format {
	case FormatPanda:
		return ParsePanda(r)
	case FormatGenAI:
		return ParseGenAIPrices(r)
	case FormatLiteLLM:
		return ParseLiteLLM(r)
	}
	return Import{}, schemas.Invalid("", schemas.CodeUnknown, "%q is not a price format; use one of %v", format, Formats())
}

// ParsePanda reads Panda's own format: the JSON of a schemas.PriceRevision, as
// `panda prices list -o json` prints it. Only its rows and providers count.
func ParsePanda(r io.Reader) (Import, error) {
	text, err := readFile(r)
	if err != nil {
		return Import{}, err
	}
	rev, err := schemas.ParsePriceRevision(text)
	if err != nil {
		return Import{}, err
	}
	imported := Import{Providers: rev.Providers, Report: newReport()}
	imported.Report.Models = len(byModel(rev.Rows))
	imported.Rows = imported.Report.finish(rev.Rows)
	return imported, nil
}
