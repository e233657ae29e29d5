package aggregate

import (
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// Totals are sums over events: of a window, or of a group in it. The package
// comment defines each. They may be negative, for instance in a month that holds
// only the void of an earlier event.
type Totals struct {
	Calls    int64
	Errors   int64
	Unpriced int64
	// LatencyMS is the sum over calls in milliseconds; divide by Calls for the
	// mean.
	LatencyMS int64
	Tokens    schemas.Tokens
	Cost      schemas.Money
}

// Add adds o to t. It panics when tokens leave 64 or cost leaves 128 bits, which
// the limits on events rule out.
func (t *Totals) Add(o *Totals) {
	t.Calls += o.Calls
	t.Errors += o.Errors
	t.Unpriced += o.Unpriced
	t.LatencyMS += o.LatencyMS
	t.Tokens.Add(&o.Tokens)
	t.Cost = t.Cost.Add(o.Cost)
}

// IsZero reports whether every sum is zero.
func (t *Totals) IsZero() bool { return *t == Totals{} }

// totalsOf returns what one row adds to its windows.
func totalsOf(a *schemas.Accepted) Totals {
	calls := int64(a.Calls)
	t := Totals{Calls: calls, LatencyMS: calls * a.Event.LatencyMS, Tokens: a.Event.Tokens}
	if a.Event.Status == schemas.StatusError {
		t.Errors = calls
	}
	if a.Priced {
		t.Cost = a.Cost
	} else {
		t.Unpriced = calls
	}
	return t
}

// A Group is the share of one combination of names in a window's totals.
type Group struct {
	// Names are the values of the dimensions asked for, in the order asked. An
	// empty name is usage that came without one.
	Names []string
	Totals
}

// sortGroups puts the most expensive group first; equal costs are in the order
// of their names, so that the same totals always list the same way.
func sortGroups(groups []Group) {
	slices.SortFunc(groups, func(a, b Group) int {
		if c := b.Cost.Cmp(a.Cost); c != 0 {
			return c
		}
		return slices.CompareFunc(a.Names, b.Names, strings.Compare)
	})
}

// dimensionCount is the number of dimensions; dimensionIndex their places.
const dimensionCount = 5

func dimensionIndex(d schemas.Dimension) (int, bool) {
	switch d {
	case schemas.ByProvider:
		return 0, true
	case schemas.ByModel:
		return 1, true
	case schemas.ByDepartment:
		return 2, true
	case schemas.ByCostCenter:
		return 3, true
	case schemas.ByAgent:
		return 4, true
	}
	return 0, false
}

// checkDimensions returns the places of by, or an ErrInvalid for a dimension
// that is unknown or there twice.
func checkDimensions(by []schemas.Dimension) ([]int, error) {
	places := make([]int, 0, len(by))
	for _, d := range by {
		i, ok := dimensionIndex(d)
		if !ok {
			_, err := schemas.ParseDimension(string(d))
			return nil, err
		}
		if slices.Contains(places, i) {
			return nil, schemas.Invalid("/by", schemas.CodeRepeated, "%s is there twice", d)
		}
		places = append(places, i)
	}
	return places, nil
}
