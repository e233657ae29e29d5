package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// sharesMax is how many models and agents a message names.
const sharesMax = 3

// Facts returns what a message about a limit says beside its numbers.
func (s *alertSource) Facts(_ context.Context, tenant string, l alerting.Limit) (alerting.Facts, error) {
	t, ok := s.registry.ByID(tenant)
	if !ok {
		return alerting.Facts{}, fmt.Errorf("describe an alert of %s: %w", tenant, alerting.ErrGone)
	}
	f := alerting.Facts{TenantName: t.Name, TenantSlug: t.Slug, Next: nextOf(&l)}
	window, err := schemas.ParseWindow(l.Period)
	if err != nil || unitOf(l.Limit) != alerting.UnitUSD && l.Limit != alerting.LimitTokens {
		return f, nil // of a level nobody's cost is a share
	}
	live, err := s.live(tenant)
	if err != nil {
		return alerting.Facts{}, err
	}
	within := partOf(l.Limit)
	f.Models = sharesOf(live, tenant, window, &l, within, schemas.ByModel)
	if within != schemas.ByAgent {
		f.Agents = sharesOf(live, tenant, window, &l, within, schemas.ByAgent)
	}
	return f, nil
}

// partOf returns the dimension whose name a limit is of, "" for the tenant as a whole.
func partOf(limit string) schemas.Dimension {
	switch limit {
	case alerting.LimitDepartmentBudget, alerting.LimitDepartmentDailyBudget:
		return schemas.ByDepartment
	case alerting.LimitCostCenterBudget, alerting.LimitCostCenterDailyBudget:
		return schemas.ByCostCenter
	case alerting.LimitAgentBudget, alerting.LimitAgentDailyBudget:
		return schemas.ByAgent
	}
	return ""
}

// sharesOf returns the names of a dimension that used most of a limit, with their share;
// none if live totals do not keep them apart.
func sharesOf(live *aggregate.Live, tenant string, w schemas.Window, l *alerting.Limit, within, of schemas.Dimension) []alerting.Share {
	by := []schemas.Dimension{of}
	if within != "" {
		by = append(by, within)
	}
	groups, _, _, ok := live.Groups(tenant, w, by)
	if !ok {
		return nil
	}
	measure := func(g *aggregate.Group) schemas.Money {
		if l.Limit == alerting.LimitTokens {
			return schemas.Pico(g.Tokens.Total()) // a count; only its share is looked at
		}
		return g.Cost
	}
	var whole schemas.Money
	groups = slices.DeleteFunc(groups, func(g aggregate.Group) bool { return within != "" && g.Names[1] != l.Name })
	for i := range groups {
		whole = whole.Add(measure(&groups[i]))
	}
	slices.SortStableFunc(groups, func(a, b aggregate.Group) int { return measure(&b).Cmp(measure(&a)) })
	var shares []alerting.Share
	for i := range groups {
		g := &groups[i]
		if part := measure(g); g.Names[0] != "" && part.Sign() > 0 && len(shares) < sharesMax {
			share := alerting.Share{Name: g.Names[0], Cost: g.Cost}
			if whole.Sign() > 0 { // voids may leave nothing of it
				share.Percent = int(percentOf(part, whole).Int64())
			}
			shares = append(shares, share)
		}
	}
	return shares
}

// nextOf says what happens at a limit, and what already does.
func nextOf(l *alerting.Limit) string {
	reached := false
	if !l.Used.IsZero() {
		if l.Max.Unit == alerting.UnitUSD {
			reached = l.Used.Money.Cmp(l.Max.Money) >= 0
		} else {
			reached = l.Used.Count >= l.Max.Count
		}
	}
	say := func(now, then string) string {
		if reached {
			return now
		}
		return then
	}
	switch l.Limit {
	case alerting.LimitMonthlyBudget:
		return say("Only models that cost nothing may be called until the budget is raised or the month ends.",
			"At 100 % only models that cost nothing may be called.")
	case alerting.LimitTokens:
		return say("Only models that cost nothing may be called until the quota is raised or the month ends.",
			"At 100 % only models that cost nothing may be called.")
	case alerting.LimitDepartmentBudget:
		return say("The department may only call models that cost nothing until the budget is raised or the month ends.",
			"At 100 % the department may only call models that cost nothing.")
	case alerting.LimitCostCenterBudget:
		return say("On this cost center only models that cost nothing may be called until the budget is raised or the month ends.",
			"At 100 % only models that cost nothing may be called on this cost center.")
	case alerting.LimitAgentBudget:
		return say("The agent may only call models that cost nothing until the budget is raised or the month ends.",
			"At 100 % the agent may only call models that cost nothing.")
	case alerting.LimitAgents:
		return say("No further agent can be created.", "At 100 % no further agent can be created.")
	case alerting.LimitStorage:
		return say("Nothing further can be uploaded.", "What would not fit any more is refused.")
	case alerting.LimitSessions:
		return say("No further session can be started until one ends.", "At 100 % no further session can be started until one ends.")
	case alerting.LimitCalls:
		return say("Further calls are refused until the minute has passed.", "At 100 % further calls are refused until the minute has passed.")
	}
	return "Nothing is stopped: a daily budget alerts and does not throttle."
}
