package stripe

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Limits of an invoice and of what is written on it.
const (
	// linesMax is how many lines we put on an invoice; the rest is one more line. Stripe
	// takes 250, of which a subscription may bring some.
	linesMax = 200
	// stripeLinesMax is Stripe's own limit, everything on the invoice counted.
	stripeLinesMax = 250
	// metadataMax is the longest value of Stripe's metadata, descriptionMax that of a
	// line, with room to spare.
	metadataMax    = 500
	descriptionMax = 500
	restLine       = "rest"
)

// A Bill is a sealed statement on its way to Stripe.
type Bill struct {
	Tenant string `json:"tenant"`
	Month  string `json:"month"` // "2026-02"
	// Sequence tells bills of one month apart. The first is 0.
	Sequence int `json:"sequence,omitempty"`
	// Statement and Checksum name the document that is billed.
	Statement string `json:"statement"`
	Checksum  string `json:"checksum"`
	Currency  string `json:"currency"` // ISO 4217
	Customer  string `json:"customer"` // Stripe's id of the tenant, cus_…
	// Invoice is the subscription's draft that the lines go on (mode B); empty for an
	// invoice of our own.
	Invoice string    `json:"invoice,omitempty"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Lines   []Line    `json:"lines"`
	Total   int64     `json:"total"` // minor units, the sum of the lines
}

// A Line is one thing on a Bill.
type Line struct {
	ID          string `json:"id"` // unique on the bill, the same for ever
	Description string `json:"description"`
	Amount      int64  `json:"amount"` // minor units, may be negative
	// Quantity and Exact are for people: what was counted, and the amount before rounding.
	Quantity string `json:"quantity,omitempty"`
	Exact    string `json:"exact,omitempty"`
}

// ref names the bill in metadata and in the bucket.
func (b Bill) ref(mode Mode) string {
	return string(mode) + "." + b.Tenant + "." + b.Month + "." + strconv.Itoa(b.Sequence)
}

// quantum is the step of a currency's minor unit that Stripe takes: 10 for the currencies
// of three decimals, 100 for the króna, whose cents exist on paper only
// (docs.stripe.com/currencies).
func quantum(currency string) int64 {
	switch currency {
	case "BHD", "JOD", "KWD", "OMR", "TND":
		return 10
	case "ISK":
		return 100
	}
	return 1
}

// check says what is wrong with a bill, with the pointer to it.
func (b Bill) check() error {
	currency := strings.ToUpper(b.Currency)
	switch {
	case b.Tenant == "" || b.Month == "" || strings.ContainsAny(b.Tenant+b.Month, ".*> "):
		return schemas.Invalid("/tenant", schemas.CodeMalformed, "a bill needs a tenant and a month, without dots or spaces, not %q and %q", b.Tenant, b.Month)
	case b.Customer == "":
		return schemas.Invalid("/customer", schemas.CodeMissing, "tenant %s has no Stripe customer; set one before the month is pushed", b.Tenant)
	case len(currency) != 3:
		return schemas.Invalid("/currency", schemas.CodeMalformed, "%q is not a currency such as USD", b.Currency)
	case currency == "UGX":
		// Stripe lists it as a currency without decimals and as one with; a mistake is a
		// hundredfold.
		return schemas.Invalid("/currency", schemas.CodeUnsupported, "UGX is not billed: Stripe's lists disagree on its decimals")
	case !b.End.After(b.Start):
		return schemas.Invalid("/end", schemas.CodeOutOfRange, "the period of %s ends before it begins", b.Month)
	}
	var sum int64
	seen := map[string]bool{}
	for i, l := range b.Lines {
		at := "/lines/" + strconv.Itoa(i)
		switch step := quantum(currency); {
		case l.ID == "" || len(l.ID) > metadataMax || l.ID == restLine:
			return schemas.Invalid(at+"/id", schemas.CodeMalformed, "%q cannot be the id of a line", l.ID)
		case seen[l.ID]:
			return schemas.Invalid(at+"/id", schemas.CodeRepeated, "line %s is on the bill twice", l.ID)
		case l.Amount%step != 0:
			return schemas.Invalid(at+"/amount", schemas.CodeOutOfRange, "%d is not a multiple of %d, the least step of %s", l.Amount, step, currency)
		}
		seen[l.ID] = true
		next := sum + l.Amount
		if (next > sum) != (l.Amount > 0) && l.Amount != 0 {
			return schemas.Invalid(at+"/amount", schemas.CodeOutOfRange, "the sum of the lines leaves 64 bits")
		}
		sum = next
	}
	if sum != b.Total {
		return schemas.Invalid("/total", schemas.CodeBadTotal, "the lines sum to %d, the total says %d", sum, b.Total)
	}
	return nil
}

// collapsed puts the lines beyond linesMax together, the least amounts first, so that
// what is worth reading keeps a line of its own. The statement has the detail.
func (b Bill) collapsed() Bill {
	if len(b.Lines) <= linesMax {
		return b
	}
	byWeight := slices.Clone(b.Lines)
	slices.SortStableFunc(byWeight, func(x, y Line) int { return compareWeight(y.Amount, x.Amount) })
	kept := map[string]bool{}
	for _, l := range byWeight[:linesMax-1] {
		kept[l.ID] = true
	}
	rest := Line{ID: restLine}
	var lines []Line
	for _, l := range b.Lines {
		if kept[l.ID] {
			lines = append(lines, l)
		} else {
			rest.Amount += l.Amount
		}
	}
	rest.Description = "Other usage (" + strconv.Itoa(len(b.Lines)-len(lines)) + " lines, see statement " + b.Statement + ")"
	b.Lines = append(lines, rest)
	return b
}

// compareWeight compares amounts by their size without sign. It takes the negative of
// both, which exists for every int64.
func compareWeight(x, y int64) int {
	if x > 0 {
		x = -x
	}
	if y > 0 {
		y = -y
	}
	switch {
	case x < y:
		return 1
	case x > y:
		return -1
	}
	return 0
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "…"
}
