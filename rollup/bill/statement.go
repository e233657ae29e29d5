package bill

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Statement is what a tenant owes for a month. Its JSON is canonical: fields in this
// order, lists in the order that [Calculate] gives them, money as decimal text.
type Statement struct {
	// ID is "st_" and a hash of tenant and month.
	ID       string `json:"id"`
	Tenant   string `json:"tenant"`
	Month    string `json:"month"`    // "2026-02", UTC
	Currency string `json:"currency"` // upper case, ISO 4217
	// Rate says what a dollar is in Currency, and since when; nil for USD.
	Rate *Rate `json:"rate,omitempty"`

	PlanVersion int  `json:"plan_version"` // of schemas/plans.yaml, whose rates were applied
	Sealed      bool `json:"sealed"`       // nothing changes it any more
	// AsOf is the ledger position whose usage it holds: what came later is not in it.
	AsOf     uint64    `json:"as_of"`
	SealedAt time.Time `json:"sealed_at,omitzero"`

	// Spans are the plans of the month with their rates, in order.
	Spans []Span `json:"spans"`
	Lines []Line `json:"lines"`
	Total int64  `json:"total"` // minor units; the sum of the lines
	// Exact is before rounding, in USD.
	Exact schemas.Money `json:"exact"`
	// CreditIn is what earlier months left to the tenant, CreditOut what this one does.
	CreditIn  schemas.Money `json:"credit_in"`
	CreditOut schemas.Money `json:"credit_out"`
	// Tokens and Cost are the usage of the month, as the rollups show it; Unpriced are
	// calls whose cost is not known yet.
	Tokens   int64         `json:"tokens"`
	Cost     schemas.Money `json:"cost"`
	Unpriced int64         `json:"unpriced"`

	// Checksum is the hex SHA-256 of the JSON with this field empty.
	Checksum string `json:"checksum"`
}

// The kinds of lines.
const (
	KindBaseFee    = "base_fee"
	KindTokens     = "tokens"
	KindStorage    = "storage"
	KindUsageCost  = "usage_cost" // what a provider charged, with the markup
	KindCommitment = "commitment" // what is missing to the least of the month
	KindAdjustment = "adjustment" // of a month that was closed before
	KindCredit     = "credit"
	KindCarried    = "carried" // a month that came out below zero: what the next one has as credit
)

// A Line is one thing on a statement.
type Line struct {
	ID   string `json:"id"` // stable: hash of tenant, month, kind and key
	Kind string `json:"kind"`
	// Key tells lines of a kind apart: the plan and since when, then what it is about.
	Key         string `json:"key"`
	Description string `json:"description"`
	Model       string `json:"model,omitempty"`
	Department  string `json:"department,omitempty"`
	// Quantity is a decimal number of Unit.
	Quantity  string        `json:"quantity"`
	Unit      string        `json:"unit"`
	UnitPrice string        `json:"unit_price,omitempty"` // USD, for people
	Amount    int64         `json:"amount"`               // minor units, may be negative
	Exact     schemas.Money `json:"exact"`
	// Steps are the arithmetic of tiers.
	Steps []Step `json:"steps,omitempty"`
	// Origin is the month that an adjustment corrects, and Cause why: "late", "void" or
	// "adjustment", several with commas between.
	Origin string `json:"origin,omitempty"`
	Cause  string `json:"cause,omitempty"`
	Parts  []Part `json:"parts"`
}

// A Step is what one tier adds to a line.
type Step struct {
	Tokens   int64         `json:"tokens"`
	Packages int64         `json:"packages,omitempty"`
	Price    schemas.Money `json:"price"` // of a million, or of a package
	Exact    schemas.Money `json:"exact"`
}

// A Part is the share of a line that belongs to a department, model, cost centre and
// agent. The parts of a line sum to it, exactly and rounded. What nobody in particular
// used, a base fee for instance, is one part without names.
type Part struct {
	Department string        `json:"department,omitempty"`
	Model      string        `json:"model,omitempty"`
	CostCenter string        `json:"cost_center,omitempty"`
	Agent      string        `json:"agent,omitempty"`
	Amount     int64         `json:"amount"` // minor units
	Exact      schemas.Money `json:"exact"`
}

// lineID and statementID are hashes, so that they say nothing and never change.
func lineID(tenant, month, kind, key string) string {
	return "ln_" + shortHash(tenant+"\x00"+month+"\x00"+kind+"\x00"+key)
}

func statementID(tenant, month string) string { return "st_" + shortHash(tenant+"\x00"+month) }

// shortHash is 120 bits: no two lines ever share one.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:15])
}

// Seal makes a draft final: as it is, at a moment.
func Seal(s Statement, at time.Time) Statement {
	s.Sealed, s.SealedAt = true, at.UTC().Truncate(time.Second)
	return sign(s)
}

// sign fills the checksum.
func sign(s Statement) Statement {
	s.Checksum = ""
	sum := sha256.Sum256(s.Encode())
	s.Checksum = hex.EncodeToString(sum[:])
	return s
}

// Encode returns the canonical JSON.
func (s Statement) Encode() []byte {
	data, err := json.Marshal(s)
	if err != nil {
		panic("bill: a statement that does not encode: " + err.Error())
	}
	return data
}

// Decode reads what Encode wrote. It refuses a statement whose checksum is not its own,
// or whose lines do not add up: it was changed by hand or damaged.
func Decode(data []byte) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(data, &s); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w: %w", schemas.ErrInvalid, err)
	}
	if want := sign(s).Checksum; s.Checksum != want {
		return Statement{}, fmt.Errorf("read statement of %s for %s: %w: the checksum is %q, of the content %q",
			s.Tenant, s.Month, schemas.ErrInvalid, s.Checksum, want)
	}
	return s, s.CheckSums()
}

// CheckSums returns an error that matches schemas.ErrInvalid unless the lines sum to the
// total and the parts to their lines, rounded and exactly.
func (s Statement) CheckSums() error {
	total, exact := int64(0), schemas.Money{}
	for i := range s.Lines {
		l := &s.Lines[i]
		total, exact = total+l.Amount, exact.Add(l.Exact)
		amount, parts := int64(0), schemas.Money{}
		for _, p := range l.Parts {
			amount, parts = amount+p.Amount, parts.Add(p.Exact)
		}
		if amount != l.Amount || parts != l.Exact {
			return schemas.Invalid(fmt.Sprintf("/lines/%d/parts", i), schemas.CodeOutOfRange,
				"the parts of %s sum to %d (%s), the line is %d (%s)", l.ID, amount, parts, l.Amount, l.Exact)
		}
	}
	if total != s.Total || exact != s.Exact {
		return schemas.Invalid("/total", schemas.CodeOutOfRange, "the lines sum to %d (%s), the total is %d (%s)", total, exact, s.Total, s.Exact)
	}
	return nil
}
