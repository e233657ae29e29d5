package aggregate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// Message says a decision to people: what is used up or nearly so, how much of
// how much, and what to do. It is empty when nothing is near. The form is that of
// the guide to the product: "Agent quota exceeded. Current: 100, Max: 100.
// Upgrade your plan."
func (d *Decision) Message(ask *Request) string {
	switch {
	case d.Limit == LimitSuspended:
		return "Tenant suspended. Nothing may run until it is resumed."
	case d.Limit == LimitDeleted:
		return "Tenant deleted. Nothing may run."
	case d.Verdict == Allow:
		return ""
	}
	subject, remedy := d.subject(ask)
	current, most := d.amounts()
	if d.Verdict == Warn {
		return fmt.Sprintf("%s at %d%%. Current: %s, Max: %s. %s", subject, d.Percent, current, most, remedy)
	}
	asked, free := "", ""
	if d.Limit == LimitStorage && d.Step != stepFull {
		asked = ", Upload: " + Gigabytes(ask.Bytes) + " GB"
	}
	if d.FreeModelsPass() {
		free = "Only free models may be called. "
	}
	return fmt.Sprintf("%s exceeded. Current: %s, Max: %s%s. %s%s", subject, current, most, asked, free, remedy)
}

// subject names a limit at the beginning of a sentence, and what raises it.
func (d *Decision) subject(ask *Request) (name, remedy string) {
	const upgrade, raise = "Upgrade your plan.", "Raise the budget."
	switch d.Limit {
	case LimitAgents:
		return "Agent quota", upgrade
	case LimitTokens:
		return "Token quota", upgrade
	case LimitStorage:
		return "Storage quota", upgrade
	case LimitSessions:
		return "Session quota", upgrade
	case LimitCalls:
		return "API rate limit", upgrade
	case LimitBudget:
		return "Monthly budget", raise
	case LimitDepartmentBudget:
		return "Monthly budget of department " + ask.Department, raise
	case LimitAgentBudget:
		return "Monthly budget of agent " + ask.Agent, raise
	case LimitCostCenterBudget:
		return "Monthly budget of cost center " + ask.CostCenter, raise
	}
	panic("decide: " + d.Limit + " is not a limit")
}

// FreeModelsPass reports whether the limit is one that stops no free model.
func (d *Decision) FreeModelsPass() bool { return d.Limit == LimitTokens || d.InMoney() }

// InMoney reports whether the limit is a budget: the figures are ValueCost and
// UsageCost then.
func (d *Decision) InMoney() bool {
	switch d.Limit {
	case LimitBudget, LimitDepartmentBudget, LimitAgentBudget, LimitCostCenterBudget:
		return true
	}
	return false
}

func (d *Decision) amounts() (current, most string) {
	switch {
	case d.InMoney():
		return "$" + plainUSD(d.UsageCost), "$" + plainUSD(d.ValueCost)
	case d.Limit == LimitStorage:
		return Gigabytes(d.Usage) + " GB", Gigabytes(d.Value) + " GB"
	}
	return strconv.FormatInt(d.Usage, 10), strconv.FormatInt(d.Value, 10)
}

// plainUSD writes an exact amount with at least two decimals.
func plainUSD(m schemas.Money) string {
	whole, frac, _ := strings.Cut(m.String(), ".")
	frac = strings.TrimRight(frac, "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return whole + "." + frac
}

// Gigabytes writes bytes as the exact decimal of GB (1e9 bytes) that a
// resource.sample's storage_gb has: "47.3", "0.000000001", "10".
func Gigabytes(bytes int64) string {
	const scale, decimals = 1_000_000_000, 9
	whole, rest, sign := bytes/scale, bytes%scale, ""
	if bytes < 0 {
		whole, rest, sign = -whole, -rest, "-"
	}
	text := sign + strconv.FormatInt(whole, 10)
	if rest == 0 {
		return text
	}
	return text + "." + strings.TrimRight(fmt.Sprintf("%0*d", decimals, rest), "0")
}
