package main

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// alertSource says what tenants use and may use, for alerts: the live totals and the
// registry, put together.
type alertSource struct {
	registry *tenancy.Registry
	// live returns the live totals of a tenant's shard, or why there are none yet.
	live func(tenant string) (*aggregate.Live, error)
	// calls returns the calls that count against a tenant's present minute.
	calls func(tenant string) int64
	peaks callPeaks
	now   func() time.Time
}

var _ alerting.Source = (*alertSource)(nil)

// newAlertSource returns the source of a pipeline. It answers once the pipeline is open.
func newAlertSource(p *pipeline) *alertSource {
	return &alertSource{
		registry: p.registry, calls: p.calls, now: time.Now,
		live: func(tenant string) (*aggregate.Live, error) {
			if err := p.ready(); err != nil {
				return nil, err
			}
			return p.of(tenant).live, nil
		},
	}
}

// lateMonths is how long usage of a month that is over still fires its alerts: what is
// acknowledged right before midnight is counted after it, and an agent that was offline
// sends late. It is as long as statements wait. Of days, it is as long as live totals hold
// them, until the next midnight.
const lateMonths = 72 * time.Hour

// Tenants returns all tenants that are not erased.
func (s *alertSource) Tenants() []string {
	var ids []string
	for _, t := range s.registry.List() {
		ids = append(ids, t.ID)
	}
	return ids
}

// Reading returns a tenant's limits and what is used of them, as of one commit.
func (s *alertSource) Reading(_ context.Context, tenant string) (alerting.Reading, error) {
	live, err := s.live(tenant)
	if err != nil {
		return alerting.Reading{}, err
	}
	control := s.registry.Position() // at most what the limits are as of
	t, held, ok := s.registry.Limits(tenant)
	if !ok || t.Status == tenancy.StatusErased {
		return alerting.Reading{}, fmt.Errorf("read the limits of %s: %w", tenant, alerting.ErrGone)
	}
	now := s.now().UTC()
	r := alerting.Reading{Tenant: tenant, Control: control, At: now, Quiet: !t.Served()}
	var accounts []aggregate.Account
	for i := range held {
		h := &held[i]
		if h.Quota != "" && h.Max == tenancy.Unlimited {
			continue
		}
		for _, w := range windowsOf(h, now) {
			l := limitOf(h)
			l.Period = w.String()
			r.Limits = append(r.Limits, l)
			accounts = append(accounts, accountOf(h, w))
		}
	}
	standing, err := live.Standing(tenant, accounts)
	if err != nil {
		return alerting.Reading{}, err
	}
	r.AsOf = standing.AsOf.Seq
	for i := range r.Limits {
		s.use(&r.Limits[i], &standing, &standing.Spent[i], tenant, now)
	}
	return r, nil
}

// windowsOf returns the periods in which a limit is judged: the present one, and of sums
// the one before while usage of it may come, if the limit was then what it is now.
func windowsOf(h *tenancy.HeldLimit, now time.Time) []schemas.Window {
	grain, late := schemas.GrainMonth, lateMonths
	if h.Daily {
		grain, late = schemas.GrainDay, 24*time.Hour
	}
	present := schemas.WindowOf(grain, now)
	windows := []schemas.Window{present}
	sum := h.Quota == "" || h.Quota == tenancy.MaxMonthlyTokens
	if sum && now.Sub(present.Start) < late && h.Since.Before(present.Start) {
		windows = append(windows, schemas.WindowOf(grain, present.Start.Add(-1)))
	}
	return windows
}

// accountOf returns whose cost counts against a limit.
func accountOf(h *tenancy.HeldLimit, w schemas.Window) aggregate.Account {
	a := aggregate.Account{Window: w, Kind: aggregate.OfTenant, Name: h.Name}
	switch h.Of {
	case tenancy.BudgetDepartment:
		a.Kind = aggregate.OfDepartment
	case tenancy.BudgetCostCenter:
		a.Kind = aggregate.OfCostCenter
	case tenancy.BudgetAgent:
		a.Kind = aggregate.OfAgent
	}
	return a
}

// limitOf returns a limit without its period and what is used of it.
func limitOf(h *tenancy.HeldLimit) alerting.Limit {
	l := alerting.Limit{Limit: wordOf(h), Name: h.Name, Revision: h.Revision()}
	l.Max = alerting.Amount{Unit: unitOf(l.Limit), Money: h.Amount}
	switch {
	case h.Quota == tenancy.MaxStorageGB:
		l.Max.Count = int64(tenancy.Quotas{MaxStorageGB: h.Max}.StorageBytes())
	case h.Quota != "":
		l.Max.Count = int64(h.Max)
	}
	return l
}

// wordOf is a limit's word in alerts.
func wordOf(h *tenancy.HeldLimit) string {
	switch h.Quota {
	case tenancy.MaxAgents:
		return alerting.LimitAgents
	case tenancy.MaxMonthlyTokens:
		return alerting.LimitTokens
	case tenancy.MaxStorageGB:
		return alerting.LimitStorage
	case tenancy.MaxConcurrentSessions:
		return alerting.LimitSessions
	case tenancy.MaxAPICallsPerMinute:
		return alerting.LimitCalls
	}
	words := map[tenancy.BudgetKind][2]string{
		"":                       {alerting.LimitMonthlyBudget, alerting.LimitDailyBudget},
		tenancy.BudgetDepartment: {alerting.LimitDepartmentBudget, alerting.LimitDepartmentDailyBudget},
		tenancy.BudgetCostCenter: {alerting.LimitCostCenterBudget, alerting.LimitCostCenterDailyBudget},
		tenancy.BudgetAgent:      {alerting.LimitAgentBudget, alerting.LimitAgentDailyBudget},
	}[h.Of]
	if h.Daily {
		return words[1]
	}
	return words[0]
}

func unitOf(word string) alerting.Unit {
	switch word {
	case alerting.LimitAgents:
		return alerting.UnitAgents
	case alerting.LimitTokens:
		return alerting.UnitTokens
	case alerting.LimitStorage:
		return alerting.UnitBytes
	case alerting.LimitSessions:
		return alerting.UnitSessions
	case alerting.LimitCalls:
		return alerting.UnitCalls
	}
	return alerting.UnitUSD
}

// use fills in what is used of a limit. What is not known stays without a unit.
func (s *alertSource) use(l *alerting.Limit, standing *aggregate.Standing, spent *aggregate.Spending, tenant string, now time.Time) {
	used := alerting.Amount{Unit: l.Max.Unit}
	switch l.Limit {
	case alerting.LimitAgents:
		used.Count = standing.Agents
	case alerting.LimitStorage:
		used.Count = standing.StorageBytes
	case alerting.LimitSessions:
		used.Count = standing.Sessions
	case alerting.LimitCalls:
		used.Count = max(s.calls(tenant), s.peaks.of(tenant, now))
	default:
		if !spent.Known {
			return
		}
		used.Money, used.Count = spent.Cost, 0
		if l.Limit == alerting.LimitTokens {
			used.Money, used.Count = schemas.Money{}, spent.Tokens
		}
	}
	l.Used = used
}

// follow tells of tenants whose limits or state were changed, and of those that are
// erased, until ctx ends.
func (s *alertSource) follow(ctx context.Context, changed func(tenants []string), erased func(tenant string)) error {
	position := s.registry.Position()
	for {
		tenants, at, more := s.registry.ChangedSince(position)
		var left []string
		for _, id := range tenants {
			if t, ok := s.registry.ByID(id); ok && t.Status == tenancy.StatusErased {
				erased(id)
			} else {
				left = append(left, id)
			}
		}
		if len(left) > 0 {
			changed(left)
		}
		position = max(position, at)
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}
