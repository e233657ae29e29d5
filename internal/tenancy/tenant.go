package tenancy

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

var (
	// ErrNotFound: there is no such tenant or key within the caller's reach. What
	// belongs to somebody else is not found either, so that nobody learns which
	// ids exist.
	ErrNotFound = errors.New("not found")
	// ErrRequestReused: an idempotency key came back with other content. It
	// matches schemas.ErrConflict.
	ErrRequestReused = &conflict{"this idempotency key was used for another request"}
)

// conflict is a schemas.ErrConflict with a sentence for the client.
type conflict struct{ sentence string }

func (c *conflict) Error() string        { return c.sentence }
func (c *conflict) Public() string       { return c.sentence }
func (c *conflict) Is(target error) bool { return target == schemas.ErrConflict }

// A Plan is what a tenant pays for.
type Plan string

// The plans.
const (
	PlanStarter    Plan = "starter"
	PlanPro        Plan = "pro"
	PlanEnterprise Plan = "enterprise"
)

// Plans lists the plans from small to large.
func Plans() []Plan { return []Plan{PlanStarter, PlanPro, PlanEnterprise} }

// A Status says whether a tenant is served.
type Status string

// The states of a tenant. Trial and active tenants are served. Deleted is soft:
// access ends, data is kept until it is erased.
const (
	StatusTrial     Status = "trial"
	StatusActive    Status = "active"
	StatusSuspended Status = "suspended"
	StatusDeleted   Status = "deleted"
)

// Tenant is an organisation whose usage is metered.
type Tenant struct {
	// ID is "ten_" and 12 characters of a-z and 2-7. It never changes.
	ID   string
	Name string
	// Slug is the name in addresses and on the command line, unique, and fixed.
	Slug         string
	Plan         Plan
	Status       Status
	BillingEmail string // "" if none was given
	// MonthlyBudget is meaningless unless HasBudget. A budget of zero is a budget.
	MonthlyBudget schemas.Money
	HasBudget     bool
	// MaxMonthlyTokens bounds the tokens of a UTC month; 0 leaves it to the plan.
	MaxMonthlyTokens int64
	CreatedAt        time.Time
	UpdatedAt        time.Time
	// Revision is the position in CONTROL of the newest event about the tenant
	// itself. It changes with every change, so it serves as an ETag.
	Revision uint64
}

// Served reports whether the tenant's keys work.
func (t *Tenant) Served() bool { return t.Status == StatusTrial || t.Status == StatusActive }

// Limits of a tenant's fields.
const (
	nameBytesMax  = 200 // fits a table column and an invoice line
	emailBytesMax = 254 // RFC 5321 path without brackets
	requestKeyMax = 255 // an Idempotency-Key is a header, not a document
)

var slugPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,62}$`)

// ValidSlug reports whether s may be a slug: 2 to 63 of a-z, 0-9 and dashes,
// not starting with a dash. Such a name is also a token of a log subject.
func ValidSlug(s string) bool { return slugPattern.MatchString(s) }

// validate returns every field that is wrong, joined.
func (t *Tenant) validate() error {
	var errs []error
	refuse := func(pointer, code, format string, args ...any) {
		errs = append(errs, schemas.Invalid(pointer, code, format, args...))
	}
	switch {
	case strings.TrimSpace(t.Name) == "":
		refuse("/name", schemas.CodeMissing, "a tenant needs a name")
	case len(t.Name) > nameBytesMax:
		refuse("/name", schemas.CodeTooLong, "%d bytes; at most %d", len(t.Name), nameBytesMax)
	case !printable(t.Name):
		refuse("/name", schemas.CodeMalformed, "the name holds control characters or is not UTF-8")
	}
	switch {
	case t.Slug == "":
		refuse("/slug", schemas.CodeMissing, "a tenant needs a slug such as \"acme-corp\"")
	case !ValidSlug(t.Slug):
		refuse("/slug", schemas.CodeMalformed,
			"a slug is 2 to 63 of a-z, 0-9 and dashes and starts with a letter or digit")
	}
	switch t.Plan {
	case PlanStarter, PlanPro, PlanEnterprise:
	default:
		refuse("/plan", schemas.CodeUnknown, "use starter, pro or enterprise")
	}
	switch t.Status {
	case StatusTrial, StatusActive, StatusSuspended, StatusDeleted:
	default:
		refuse("/status", schemas.CodeUnknown, "use trial, active, suspended or deleted")
	}
	if t.BillingEmail != "" && !validEmail(t.BillingEmail) {
		refuse("/billing_email", schemas.CodeMalformed, "this is not an e-mail address such as billing@acme.com")
	}
	if t.HasBudget && t.MonthlyBudget.Sign() < 0 {
		refuse("/monthly_budget", schemas.CodeOutOfRange, "a budget is not negative; leave it out for none")
	}
	if t.MaxMonthlyTokens < 0 {
		refuse("/max_monthly_tokens", schemas.CodeOutOfRange, "a limit is not negative; leave it out for the plan's own")
	}
	return errors.Join(errs...)
}

func validEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= emailBytesMax && printable(s)
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// idAlphabet is RFC 4648 base32 in lower case: safe in subjects, paths, and over
// the telephone.
var idAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID returns n random characters of a-z and 2-7, 5 bits each.
func NewID(n int) string {
	buf := make([]byte, (n*5+7)/8)
	_, _ = rand.Read(buf) // never fails: it ends the process instead
	return idAlphabet.EncodeToString(buf)[:n]
}

const (
	tenantIDPrefix = "ten_"
	tenantIDChars  = 12
)

// ValidTenantID reports whether s has the form of a tenant id.
func ValidTenantID(s string) bool {
	rest, ok := strings.CutPrefix(s, tenantIDPrefix)
	return ok && len(rest) == tenantIDChars && validID(rest)
}

func validID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return s != ""
}
