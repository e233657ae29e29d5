package tenancy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/agentik-os/panda/schemas"
)

// A BudgetKind says what a budget below the tenant's own is for.
type BudgetKind string

// The kinds of budgets.
const (
	BudgetDepartment BudgetKind = "department"
	BudgetCostCenter BudgetKind = "cost_center"
	BudgetAgent      BudgetKind = "agent"
)

// A Budget is what a department, a cost centre or an agent may cost in a UTC month, in a
// UTC day, or both.
type Budget struct {
	Kind BudgetKind
	Name string
	// MonthlyBudget is meaningless if DailyOnly.
	MonthlyBudget schemas.Money
	DailyOnly     bool
	// DailyBudget is meaningless unless HasDaily. It alerts and does not throttle.
	DailyBudget schemas.Money
	HasDaily    bool
}

// budgetBody is a Budget on the wire.
type budgetBody struct {
	Kind          BudgetKind     `json:"kind"`
	Name          string         `json:"name"`
	MonthlyBudget *schemas.Money `json:"monthly_budget,omitempty"`
	DailyBudget   *schemas.Money `json:"daily_budget,omitempty"`
}

// MarshalJSON writes a budget with the amounts that it has.
func (b Budget) MarshalJSON() ([]byte, error) {
	body := budgetBody{Kind: b.Kind, Name: b.Name}
	if !b.DailyOnly {
		body.MonthlyBudget = &b.MonthlyBudget
	}
	if b.HasDaily {
		body.DailyBudget = &b.DailyBudget
	}
	return json.Marshal(body)
}

// UnmarshalJSON reads a budget. One without an amount is refused: it would be one of
// nothing. Errors are *schemas.FieldError with the pointer within the budget.
func (b *Budget) UnmarshalJSON(text []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return schemas.Invalid("", schemas.CodeWrongType, "a budget is an object with kind, name and an amount")
	}
	var body budgetBody
	into := map[string]any{"kind": &body.Kind, "name": &body.Name, "monthly_budget": &body.MonthlyBudget, "daily_budget": &body.DailyBudget}
	for _, name := range slices.Sorted(maps.Keys(fields)) { // the same error every time
		field, known := into[name]
		if !known {
			return schemas.Invalid("/"+name, schemas.CodeUnknown, "there is no such field here")
		}
		if err := json.Unmarshal(fields[name], field); err != nil {
			return invalidAt("/"+name, err)
		}
	}
	if body.MonthlyBudget == nil && body.DailyBudget == nil {
		return schemas.Invalid("/monthly_budget", schemas.CodeMissing, "a budget needs an amount: monthly_budget, daily_budget or both")
	}
	*b = Budget{Kind: body.Kind, Name: body.Name, DailyOnly: body.MonthlyBudget == nil, HasDaily: body.DailyBudget != nil}
	if body.MonthlyBudget != nil {
		b.MonthlyBudget = *body.MonthlyBudget
	}
	if body.DailyBudget != nil {
		b.DailyBudget = *body.DailyBudget
	}
	return nil
}

// invalidAt says where the value is that could not be read.
func invalidAt(pointer string, err error) error {
	var field *schemas.FieldError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &field):
		return schemas.Invalid(pointer+field.Pointer, field.Code, "%s", field.Detail)
	case errors.As(err, &wrong):
		return schemas.Invalid(pointer, schemas.CodeWrongType, "a %s does not belong here", wrong.Value)
	}
	return schemas.Invalid(pointer, schemas.CodeMalformed, "%s", err)
}

// budgetsMax bounds the budgets of a tenant: every decision looks at those it names,
// and a registry record holds all of them.
const budgetsMax = 1000

func validateBudgets(budgets []Budget) (errs []error) {
	if len(budgets) > budgetsMax {
		return []error{schemas.Invalid("/budgets", schemas.CodeTooLong, "%d budgets; at most %d", len(budgets), budgetsMax)}
	}
	seen := map[[2]string]bool{}
	for i, b := range budgets {
		at := fmt.Sprintf("/budgets/%d", i)
		switch b.Kind {
		case BudgetDepartment, BudgetCostCenter, BudgetAgent:
		default:
			errs = append(errs, schemas.Invalid(at+"/kind", schemas.CodeUnknown, "use department, cost_center or agent"))
		}
		if b.Name == "" || len(b.Name) > schemas.NameBytesMax || !printable(b.Name) {
			errs = append(errs, schemas.Invalid(at+"/name", schemas.CodeMalformed, "1 to %d bytes of printable text", schemas.NameBytesMax))
		}
		if !b.DailyOnly && b.MonthlyBudget.Sign() < 0 {
			errs = append(errs, schemas.Invalid(at+"/monthly_budget", schemas.CodeOutOfRange, "a budget is not negative"))
		}
		if b.HasDaily && b.DailyBudget.Sign() < 0 {
			errs = append(errs, schemas.Invalid(at+"/daily_budget", schemas.CodeOutOfRange, "a budget is not negative"))
		}
		if b.DailyOnly && !b.HasDaily {
			errs = append(errs, schemas.Invalid(at+"/monthly_budget", schemas.CodeMissing, "a budget needs an amount: monthly_budget, daily_budget or both"))
		}
		if key := [2]string{string(b.Kind), b.Name}; seen[key] {
			errs = append(errs, schemas.Invalid(at, schemas.CodeRepeated, "%s %q has a budget above", b.Kind, b.Name))
		} else {
			seen[key] = true
		}
	}
	return errs
}
