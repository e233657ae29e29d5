package tenancy

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"maps"
	"net/mail"
	"regexp"
	"slices"
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

// A Status says whether a tenant is served.
type Status string

// The states of a tenant. Trial and active tenants are served. Deleted is soft:
// access ends, data is kept until it is erased, and it can be restored. Erased is
// final: nothing is left but the id and the certificate of its erasure.
const (
	StatusTrial     Status = "trial"
	StatusActive    Status = "active"
	StatusSuspended Status = "suspended"
	StatusDeleted   Status = "deleted"
	StatusErased    Status = "erased"
)

// Statuses lists the states of a tenant.
func Statuses() []Status {
	return []Status{StatusTrial, StatusActive, StatusSuspended, StatusDeleted, StatusErased}
}

// Tenant is an organisation whose usage is metered. What comes out of a Registry
// shares its maps and slices with it: they must not be changed.
type Tenant struct {
	// ID is "ten_" and 12 characters of a-z and 2-7. It never changes.
	ID   string
	Name string
	// Slug is the name in addresses and on the command line, unique, and fixed.
	Slug string
	// OrgID is the organisation's id at the identity provider, "" if people sign in
	// with the tenant's own id there, or not at all. Unique.
	OrgID        string
	Plan         Plan
	Status       Status
	BillingEmail string // "" if none was given
	// StripeCustomerID is "cus_…", "" while there is none.
	StripeCustomerID string
	// MonthlyBudget is meaningless unless HasBudget. A budget of zero is a budget.
	MonthlyBudget schemas.Money
	HasBudget     bool
	// DailyBudget is the same for a UTC day, meaningless unless HasDailyBudget. It alerts
	// and does not throttle.
	DailyBudget    schemas.Money
	HasDailyBudget bool
	// Budgets are those of departments, cost centres and agents.
	Budgets []Budget
	// QuotaOverrides are the quotas that differ from the plan's; Registry.Quotas has
	// what holds.
	QuotaOverrides QuotaOverrides
	// Isolation says where new rows of the tenant live, Database in which database;
	// "" is the one that is shared.
	Isolation Isolation
	Database  string

	CreatedAt time.Time
	UpdatedAt time.Time
	// TrialEndsAt is when a trial is over, whatever became of the tenant meanwhile.
	TrialEndsAt time.Time
	// SuspendedReason is why it is suspended, for people.
	SuspendedReason string
	// DeletedAt and EraseAt are zero unless the tenant is deleted: since when, and
	// when its data will be erased. ErasedAt is when that was done.
	DeletedAt time.Time
	EraseAt   time.Time
	ErasedAt  time.Time
	// ErasingAt is since when the erasure is decided: from there on a deleted tenant
	// cannot be restored.
	ErasingAt time.Time
	// StatusBefore is the state that Resume and Restore bring back.
	StatusBefore Status
	// Certificate is the record of the erasure, nil unless erased: JSON without
	// personal data.
	Certificate []byte

	// Revision is the position in CONTROL of the newest event about the tenant
	// itself. It changes with every change, so it serves as an ETag.
	Revision uint64
}

// clone returns a copy that shares nothing with t.
func (t *Tenant) clone() Tenant {
	c := *t
	c.Budgets, c.QuotaOverrides, c.Certificate = slices.Clone(t.Budgets), maps.Clone(t.QuotaOverrides), slices.Clone(t.Certificate)
	return c
}

// TrialDays is how long a trial lasts.
const TrialDays = 14

// EraseAfterDays is how long the data of a deleted tenant is kept.
const EraseAfterDays = 30

// Served reports whether the tenant's keys work.
func (t *Tenant) Served() bool { return t.Status == StatusTrial || t.Status == StatusActive }

// Limits of a tenant's fields.
const (
	nameBytesMax  = 200 // fits a table column and an invoice line
	emailBytesMax = 254 // RFC 5321 path without brackets
	requestKeyMax = 255 // an Idempotency-Key is a header, not a document
	orgIDBytesMax = 128
	// reasonBytesMax is a sentence.
	reasonBytesMax = 300
)

var stripeCustomerPattern = regexp.MustCompile(`^cus_[A-Za-z0-9]{1,250}$`)

var slugPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,62}$`)

// ValidSlug reports whether s may be a slug: 2 to 63 of a-z, 0-9 and dashes,
// not starting with a dash. Such a name is also a token of a log subject.
func ValidSlug(s string) bool { return slugPattern.MatchString(s) }

// validate returns every field that is wrong, joined.
func (t *Tenant) validate(plans *Catalog) error {
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
	if _, ok := plans.Find(t.Plan); !ok {
		refuse("/plan", schemas.CodeUnknown, "use %s", plans.names())
	}
	if !slices.Contains(Statuses(), t.Status) {
		panic("tenancy: a tenant with the status " + string(t.Status))
	}
	if t.BillingEmail != "" && !validEmail(t.BillingEmail) {
		refuse("/billing_email", schemas.CodeMalformed, "this is not an e-mail address such as billing@acme.com")
	}
	if t.HasBudget && t.MonthlyBudget.Sign() < 0 {
		refuse("/monthly_budget", schemas.CodeOutOfRange, "a budget is not negative; leave it out for none")
	}
	if t.HasDailyBudget && t.DailyBudget.Sign() < 0 {
		refuse("/daily_budget", schemas.CodeOutOfRange, "a budget is not negative; leave it out for none")
	}
	if t.StripeCustomerID != "" && !stripeCustomerPattern.MatchString(t.StripeCustomerID) {
		refuse("/stripe_customer_id", schemas.CodeMalformed, "a customer's id at Stripe begins with cus_")
	}
	if len(t.OrgID) > orgIDBytesMax || !printable(t.OrgID) {
		refuse("/org_id", schemas.CodeMalformed, "at most %d bytes of printable text", orgIDBytesMax)
	}
	if len(t.SuspendedReason) > reasonBytesMax || !printable(t.SuspendedReason) {
		refuse("/reason", schemas.CodeTooLong, "at most %d bytes of printable text", reasonBytesMax)
	}
	errs = append(errs, t.QuotaOverrides.validate()...)
	return errors.Join(append(errs, validateBudgets(t.Budgets)...)...)
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

// ErrStale: a change was asked for on the ground of a revision that is not the
// newest. It matches schemas.ErrConflict.
var ErrStale = &conflict{"it has changed since it was read; read it again"}
