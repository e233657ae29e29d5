package tenancy

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/schemas"
)

// A Plan is what a tenant pays for, by name.
type Plan string

// The plans of the guide. The list that holds is that of the Catalog.
const (
	PlanStarter    Plan = "starter"
	PlanPro        Plan = "pro"
	PlanEnterprise Plan = "enterprise"
)

// Isolation says where a tenant's rows live.
type Isolation string

// The isolation models of a single tenant. A plan names the one for new tenants;
// together that is the guide's hybrid model.
const (
	SharedDatabase   Isolation = "shared-database"
	IsolatedDatabase Isolation = "isolated-database"
)

// PlanTerms are what a plan allows.
type PlanTerms struct {
	Name      Plan      `json:"name"`
	Title     string    `json:"title"`
	Isolation Isolation `json:"isolation"`
	Quotas    Quotas    `json:"quotas"`
}

// Catalog holds the plans from small to large. It is not changed after it was made.
type Catalog struct {
	Version int
	Plans   []PlanTerms
}

// Find returns a plan's terms.
func (c *Catalog) Find(p Plan) (PlanTerms, bool) {
	for i := range c.Plans {
		if c.Plans[i].Name == p {
			return c.Plans[i], true
		}
	}
	return PlanTerms{}, false
}

// names is the list of plans for an error message: "starter, pro or enterprise".
func (c *Catalog) names() string {
	text := ""
	for i := range c.Plans {
		switch {
		case i == 0:
		case i == len(c.Plans)-1:
			text += " or "
		default:
			text += ", "
		}
		text += string(c.Plans[i].Name)
	}
	return text
}

// DefaultCatalog is schemas/plans.yaml.
func DefaultCatalog() (*Catalog, error) { return ParseCatalog(schemas.PlansYAML()) }

// yamlLimit is a Limit in YAML.
type yamlLimit struct{ Limit }

// UnmarshalYAML reads a whole number or the word unlimited.
func (l *yamlLimit) UnmarshalYAML(node *yaml.Node) (err error) {
	var n int64
	if node.Decode(&n) == nil {
		l.Limit, err = ParseLimit(fmt.Sprint(n))
	} else {
		l.Limit, err = ParseLimit(node.Value)
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	return nil
}

// ParseCatalog reads plans in the form of schemas/plans.yaml. Unknown fields, a plan
// that is there twice and limits that are none are errors with their line.
func ParseCatalog(text []byte) (*Catalog, error) {
	var file struct {
		Version  int
		Defaults map[QuotaName]yamlLimit
		Plans    []struct {
			Name      Plan
			Title     string
			Isolation Isolation
			Quotas    map[QuotaName]yamlLimit
			// Billing is read by rollup/bill.
			Billing yaml.Node
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("read plans: %w: %w", schemas.ErrInvalid, err)
	}
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("read plans: %w: %s", schemas.ErrInvalid, fmt.Sprintf(format, args...)))
	}
	if file.Version < 1 {
		wrong("version is missing; it goes up with every change")
	}
	set := func(q *Quotas, limits map[QuotaName]yamlLimit, where string) {
		for name, limit := range limits {
			if place := q.field(name); place != nil {
				*place = limit.Limit
			} else {
				wrong("%s: %s is no quota; they are %s", where, name, joinQuotaNames())
			}
		}
	}
	var defaults Quotas
	set(&defaults, file.Defaults, "defaults")
	if len(file.Defaults) != len(QuotaNames()) {
		wrong("defaults name %d of %d quotas", len(file.Defaults), len(QuotaNames()))
	}
	c := &Catalog{Version: file.Version}
	for _, p := range file.Plans {
		terms := PlanTerms{Name: p.Name, Title: p.Title, Isolation: p.Isolation, Quotas: defaults}
		set(&terms.Quotas, p.Quotas, "plan "+string(p.Name))
		if _, twice := c.Find(p.Name); twice || p.Name == "" || p.Title == "" {
			wrong("plan %q has no name or title, or is there twice", p.Name)
		}
		if p.Isolation != SharedDatabase && p.Isolation != IsolatedDatabase {
			wrong("plan %s: isolation is shared-database or isolated-database, not %q", p.Name, p.Isolation)
		}
		c.Plans = append(c.Plans, terms)
	}
	if len(c.Plans) == 0 {
		wrong("there is no plan")
	}
	return c, errors.Join(errs...)
}
