package bill

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/schemas"
)

// A Mode says how tokens over the included ones are charged.
type Mode string

// The modes; schemas/plans.yaml says what each means.
const (
	Graduated Mode = "graduated"
	Volume    Mode = "volume"
	Package   Mode = "package"
)

// A Tier is a price for tokens. Its tokens are counted from the first one over the
// included.
type Tier struct {
	// UpTo is the last token of the tier; 0 is without end, and only the last tier's.
	UpTo int64 `json:"up_to,omitempty"`
	// PerMillion is the price of a million tokens, or of a package. A token's is a whole
	// number of pico-USD.
	PerMillion schemas.Money `json:"per_million"`
}

// Rates are what a plan costs in a month, in USD.
type Rates struct {
	BaseFee schemas.Money `json:"base_fee"`
	// HasTokens: tokens over Included are charged by Mode and Tiers.
	HasTokens    bool          `json:"has_tokens,omitempty"`
	Included     int64         `json:"included_tokens,omitempty"`
	Mode         Mode          `json:"mode,omitempty"`
	Tiers        []Tier        `json:"tiers,omitempty"`
	PackageSize  int64         `json:"package_size,omitempty"`
	StoragePerGB schemas.Money `json:"storage_per_gb"`
	// PassThrough: what providers charged is passed on, with MarkupBasisPoints on top.
	PassThrough       bool          `json:"pass_through,omitempty"`
	MarkupBasisPoints int64         `json:"markup_basis_points,omitempty"`
	Commitment        schemas.Money `json:"commitment"`
	Credits           schemas.Money `json:"credits"`
}

// A RateCard holds the rates of every plan that has some, under the version that a
// statement names.
type RateCard struct {
	Version int
	Plans   map[string]Rates
}

// Limits of rates: wide enough for any price list, narrow enough that no month of
// 2^63 tokens leaves 128 bits.
const (
	tiersMax       = 50
	markupMax      = 1_000_000     // 100 times the cost
	rateDollarsMax = 1_000_000_000 // of every amount
	picoPerMillion = 1_000_000     // a token costs a whole number of pico-USD
	bytesPerGB     = 1_000_000_000 // and so does a byte
	includedMax    = 1_000_000_000_000_000_000
)

// yamlMoney is Money in YAML, written as text.
type yamlMoney struct{ schemas.Money }

// UnmarshalYAML refuses numbers: 0.1 would have been a float before it got here.
func (m *yamlMoney) UnmarshalYAML(node *yaml.Node) (err error) {
	if node.Tag != "!!str" {
		return fmt.Errorf("line %d: write money as text, \"%s\"", node.Line, node.Value)
	}
	if m.Money, err = schemas.ParseMoney(node.Value); err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	return nil
}

type yamlBilling struct {
	BaseFee *yamlMoney `yaml:"base_fee"`
	Tokens  *struct {
		Included int64
		Mode     Mode
		Package  int64
		Tiers    []struct {
			UpTo       int64      `yaml:"up_to"`
			PerMillion *yamlMoney `yaml:"per_million"`
			Price      *yamlMoney `yaml:"price"`
		}
	}
	StoragePerGB yamlMoney `yaml:"storage_per_gb"`
	PassThrough  *struct {
		MarkupBasisPoints int64 `yaml:"markup_basis_points"`
	} `yaml:"pass_through"`
	Commitment, Credits yamlMoney
}

// DefaultRates are those of schemas/plans.yaml.
func DefaultRates() (*RateCard, error) { return ParseRates(schemas.PlansYAML()) }

// ParseRates reads the billing sections of plans in the form of schemas/plans.yaml. A
// plan without one has no rates. Unknown fields, and rates that charge in no definite
// way, are errors that match schemas.ErrInvalid and name the plan.
func ParseRates(text []byte) (*RateCard, error) {
	var file struct {
		Version  int
		Defaults yaml.Node
		Plans    []struct {
			Name, Title, Isolation string
			Quotas                 yaml.Node
			Billing                *yamlBilling
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("read rates: %w: %w", schemas.ErrInvalid, err)
	}
	var errs []error
	if file.Version < 1 {
		errs = append(errs, schemas.Invalid("/version", schemas.CodeMissing, "read rates: version is missing; it goes up with every change"))
	}
	card := &RateCard{Version: file.Version, Plans: map[string]Rates{}}
	for _, p := range file.Plans {
		if p.Billing == nil {
			continue
		}
		rates, err := p.Billing.rates()
		if err != nil {
			errs = append(errs, fmt.Errorf("read rates of plan %s: %w", p.Name, err))
		}
		card.Plans[p.Name] = rates
	}
	return card, errors.Join(errs...)
}

func (b *yamlBilling) rates() (Rates, error) {
	if b.BaseFee == nil {
		return Rates{}, schemas.Invalid("/base_fee", schemas.CodeMissing, "base_fee is missing; write \"0\" if there is none")
	}
	r := Rates{BaseFee: b.BaseFee.Money, StoragePerGB: b.StoragePerGB.Money, Commitment: b.Commitment.Money, Credits: b.Credits.Money}
	if b.PassThrough != nil {
		r.PassThrough, r.MarkupBasisPoints = true, b.PassThrough.MarkupBasisPoints
	}
	if t := b.Tokens; t != nil {
		r.HasTokens, r.Included, r.Mode, r.PackageSize = true, t.Included, t.Mode, t.Package
		for i, tier := range t.Tiers {
			price := tier.PerMillion
			if r.Mode == Package {
				price = tier.Price
			}
			if price == nil || tier.PerMillion != nil && tier.Price != nil {
				return Rates{}, schemas.Invalid(fmt.Sprintf("/tokens/tiers/%d", i), schemas.CodeMissing,
					"tier %d needs a price: per_million, or price if tokens come in packages", i+1)
			}
			r.Tiers = append(r.Tiers, Tier{UpTo: tier.UpTo, PerMillion: price.Money})
		}
	}
	return r, r.Check()
}

// Check returns an error that matches schemas.ErrInvalid for rates that charge in no
// definite way.
func (r *Rates) Check() error {
	for _, amount := range []struct {
		name string
		schemas.Money
	}{{"base_fee", r.BaseFee}, {"storage_per_gb", r.StoragePerGB}, {"commitment", r.Commitment}, {"credits", r.Credits}} {
		if amount.Sign() < 0 || amount.Cmp(schemas.Mul(schemas.PicoPerUSD, rateDollarsMax)) > 0 {
			return schemas.Invalid("/"+amount.name, schemas.CodeOutOfRange, "%s is %s; it must be 0 to %d", amount.name, amount.Money, rateDollarsMax)
		}
	}
	if n, fits := r.StoragePerGB.Int64(); !fits || n%bytesPerGB != 0 {
		return schemas.Invalid("/storage_per_gb", schemas.CodeOutOfRange, "%s per GB is too much, or has more than three decimals, so that a byte has no exact price", r.StoragePerGB)
	}
	if r.MarkupBasisPoints < 0 || r.MarkupBasisPoints > markupMax {
		return schemas.Invalid("/pass_through/markup_basis_points", schemas.CodeOutOfRange, "a markup of %d basis points is not 0 to %d", r.MarkupBasisPoints, markupMax)
	}
	if !r.HasTokens {
		return nil
	}
	return r.checkTokens()
}

func (r *Rates) checkTokens() error {
	switch {
	case !slices.Contains([]Mode{Graduated, Volume, Package}, r.Mode):
		return schemas.Invalid("/tokens/mode", schemas.CodeUnknown, "%q is no way to charge tokens; use graduated, volume or package", string(r.Mode))
	case r.Included < 0 || r.Included > includedMax:
		return schemas.Invalid("/tokens/included", schemas.CodeOutOfRange, "%d included tokens are not 0 to %d", r.Included, int64(includedMax))
	case len(r.Tiers) == 0 || len(r.Tiers) > tiersMax:
		return schemas.Invalid("/tokens/tiers", schemas.CodeOutOfRange, "there are %d tiers; 1 to %d can be read", len(r.Tiers), tiersMax)
	case (r.Mode == Package) != (r.PackageSize > 0):
		return schemas.Invalid("/tokens/package", schemas.CodeOutOfRange, "packages have a size of 1 token or more, and other modes have none; this is %s with %d", r.Mode, r.PackageSize)
	case r.Mode == Package && len(r.Tiers) != 1:
		return schemas.Invalid("/tokens/tiers", schemas.CodeOutOfRange, "packages have one price, not %d", len(r.Tiers))
	}
	after := int64(0)
	for i, t := range r.Tiers {
		last := i == len(r.Tiers)-1
		pointer := fmt.Sprintf("/tokens/tiers/%d", i)
		if last != (t.UpTo == 0) || !last && t.UpTo <= after {
			return schemas.Invalid(pointer+"/up_to", schemas.CodeOutOfRange, "tier %d ends at %d after %d; ends rise, and the last tier has none", i+1, t.UpTo, after)
		}
		after = t.UpTo
		pico, fits := t.PerMillion.Int64()
		if t.PerMillion.Sign() < 0 || !fits || pico > 1_000_000*schemas.PicoPerUSD || r.Mode != Package && pico%picoPerMillion != 0 {
			return schemas.Invalid(pointer+"/per_million", schemas.CodeOutOfRange, "tier %d: %s is not 0 to 1000000 with at most six decimals", i+1, t.PerMillion)
		}
	}
	return nil
}
