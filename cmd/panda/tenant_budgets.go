package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// A budgetChange is what one --budget says of a part of a tenant.
type budgetChange struct {
	kind       tenancy.BudgetKind
	name       string
	month, day amountChange
}

// amountChange is what becomes of an amount: nothing, another one, or none.
type amountChange struct {
	given, remove bool
	amount        schemas.Money
}

// budgetChanges reads --budget kind:name=amount. A name may hold colons and equal signs.
func (f *tenantFlags) budgetChanges() ([]budgetChange, error) {
	var changes []budgetChange
	for _, text := range f.budgets {
		kind, rest, named := strings.Cut(text, ":")
		at := strings.LastIndexByte(rest, '=')
		if !named || at < 1 {
			return nil, usagef("--budget %q: write kind:name=amount, such as department:Support=500", text)
		}
		c := budgetChange{kind: tenancy.BudgetKind(strings.ReplaceAll(kind, "-", "_")), name: rest[:at]}
		switch c.kind {
		case tenancy.BudgetDepartment, tenancy.BudgetAgent, tenancy.BudgetCostCenter:
		default:
			return nil, usagef("--budget %q: a budget is of a department, an agent or a cost_center, not of a %q", text, kind)
		}
		if err := c.read(rest[at+1:]); err != nil {
			return nil, usagef("--budget %q: %v", text, err)
		}
		if slices.ContainsFunc(changes, func(o budgetChange) bool { return o.kind == c.kind && o.name == c.name }) {
			return nil, usagef("--budget %q: this %s is there twice", text, kind)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// read reads "500", which is for the month, "20/day", "500/month,20/day", "none/day", or
// "none", which is both.
func (c *budgetChange) read(text string) error {
	if isNone(text) {
		c.month, c.day = amountChange{given: true, remove: true}, amountChange{given: true, remove: true}
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		word, per, _ := strings.Cut(part, "/")
		change := amountChange{given: true, remove: isNone(word)}
		if !change.remove {
			amount, err := budgetAmount(word)
			if err != nil {
				return err
			}
			change.amount = amount
		}
		of := &c.month
		switch per {
		case "", "month":
		case "day":
			of = &c.day
		default:
			return fmt.Errorf("%q is per month or per day: 500/month,20/day", part)
		}
		if of.given {
			return fmt.Errorf("%q is there twice", part)
		}
		*of = change
	}
	return nil
}

// on returns a budget with the change made, and whether anything is left of it.
func (c *budgetChange) on(b tenancy.Budget) (tenancy.Budget, bool) {
	if c.month.given {
		b.MonthlyBudget, b.DailyOnly = c.month.amount, c.month.remove
	}
	if c.day.given {
		b.DailyBudget, b.HasDaily = c.day.amount, !c.day.remove
	}
	return b, !b.DailyOnly || b.HasDaily
}

// withBudgets returns budgets with the changes made.
func withBudgets(budgets []tenancy.Budget, changes []budgetChange) []tenancy.Budget {
	next := append([]tenancy.Budget{}, budgets...)
	for i := range changes {
		c := &changes[i]
		at := slices.IndexFunc(next, func(b tenancy.Budget) bool { return b.Kind == c.kind && b.Name == c.name })
		was := tenancy.Budget{Kind: c.kind, Name: c.name, DailyOnly: true} // of nothing yet
		if at >= 0 {
			was = next[at]
		}
		switch b, left := c.on(was); {
		case at >= 0 && left:
			next[at] = b
		case at >= 0:
			next = slices.Delete(next, at, at+1)
		case left:
			next = append(next, b)
		}
	}
	return next
}
