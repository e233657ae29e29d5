package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/rule"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// ruleSource says what the metrics of alert rules are: from the registry and the live
// totals, and from the warehouse where a window or a past day is asked for.
type ruleSource struct {
	limits *alertSource
	// reader returns what reads a tenant's warehouse, or why there is none yet.
	reader func(tenant string) (*aggregate.Reader, error)
	// behind is how long the oldest event waits to be counted.
	behind func(now time.Time) time.Duration
	now    func() time.Time
}

var _ rule.Source = (*ruleSource)(nil)

func newRuleSource(p *pipeline, limits *alertSource) *ruleSource {
	return &ruleSource{limits: limits, now: time.Now,
		behind: func(now time.Time) (most time.Duration) {
			for _, s := range p.shards {
				most = max(most, s.lag.behind(now))
			}
			return most
		},
		reader: func(tenant string) (*aggregate.Reader, error) {
			if err := p.ready(); err != nil {
				return nil, err
			}
			return p.of(tenant).reader, nil
		}}
}

// Tenants returns all tenants that are not erased.
func (s *ruleSource) Tenants() []string { return s.limits.Tenants() }

// Values answers a question.
func (s *ruleSource) Values(ctx context.Context, q rule.Question) (rule.Answer, error) {
	now := s.now().UTC()
	if q.Scope == rule.OfPlatform {
		return rule.Answer{Groups: []rule.Group{{Values: map[string]rule.Value{"ingest_lag": rule.OfDuration(s.behind(now))}}}}, nil
	}
	t, ok := s.limits.registry.ByID(q.Tenant)
	if !ok || t.Status == tenancy.StatusErased {
		return rule.Answer{}, fmt.Errorf("read the metrics of %s: %w", q.Tenant, alerting.ErrGone)
	}
	reading, err := s.limits.Reading(ctx, q.Tenant)
	if err != nil {
		return rule.Answer{}, err
	}
	reader, err := s.reader(q.Tenant)
	if err != nil {
		return rule.Answer{}, err
	}
	a := &ruleAnswer{q: &q, now: now, tenant: &t, reading: &reading, reader: reader, groups: map[place]*rule.Group{}}
	if q.GroupBy == "" {
		a.group(place{}) // there is one, whatever it has
	}
	for _, fill := range []func(context.Context) error{a.ofLimits, a.ofPeriods, a.ofWindow, a.ofPast} {
		if err := fill(ctx); err != nil {
			return rule.Answer{}, err
		}
	}
	answer := rule.Answer{TenantName: t.Name, TenantSlug: t.Slug, AsOf: reading.AsOf, Quiet: reading.Quiet}
	for at, g := range a.groups {
		if (q.Scope == rule.OfQuota) != (at.limit != "") || (q.GroupBy != "") != (at.name != "") {
			continue // a rule by quota has no alert of the tenant as a whole, and one by name none without
		}
		answer.Groups = append(answer.Groups, *g)
	}
	if q.Scope == rule.OfQuota {
		s.share(a, &answer)
	}
	return answer, nil
}

// share gives every quota the values that the tenant has as a whole.
func (s *ruleSource) share(a *ruleAnswer, answer *rule.Answer) {
	for _, g := range answer.Groups {
		for name, v := range a.group(place{}).Values {
			g.Values[name] = v
		}
	}
}

// place says what a group is of.
type place struct{ limit, name string }

// ruleAnswer is an answer in the making.
type ruleAnswer struct {
	q       *rule.Question
	now     time.Time
	tenant  *tenancy.Tenant
	reading *alerting.Reading
	reader  *aggregate.Reader
	groups  map[place]*rule.Group
}

func (a *ruleAnswer) group(at place) *rule.Group {
	g := a.groups[at]
	if g == nil {
		g = &rule.Group{Name: at.name, Limit: at.limit, Values: map[string]rule.Value{}}
		a.groups[at] = g
	}
	return g
}

func (a *ruleAnswer) wants(metrics ...string) bool {
	return slices.ContainsFunc(metrics, func(m string) bool { return slices.Contains(a.q.Metrics, m) })
}

// ofLimits fills in quotas and budgets of the present month.
func (a *ruleAnswer) ofLimits(context.Context) error {
	month := schemas.WindowOf(schemas.GrainMonth, a.now).String()
	for i := range a.reading.Limits {
		l := &a.reading.Limits[i]
		switch {
		case l.Period != month:
		case l.Max.Unit != alerting.UnitUSD:
			v := a.group(place{limit: l.Limit}).Values
			v["quota"] = rule.Of(l.Max.Count)
			if !l.Used.IsZero() {
				v["usage"] = rule.Of(l.Used.Count)
				v["percent_used"] = rule.ShareOf(v["usage"], v["quota"])
			}
			if l.Limit == alerting.LimitTokens {
				a.group(place{}).Values["max_monthly_tokens"] = rule.Of(l.Max.Count)
			}
		case a.q.GroupBy == partOf(l.Limit):
			v := a.group(place{name: l.Name}).Values
			v["budget"] = rule.OfMoney(l.Max.Money)
			if !l.Used.IsZero() {
				v["budget_used"] = rule.ShareOf(rule.OfMoney(l.Used.Money), v["budget"])
			}
		}
	}
	return nil
}

// ofPeriods fills in cost and tokens of this month and this day.
func (a *ruleAnswer) ofPeriods(ctx context.Context) error {
	var by []schemas.Dimension
	if a.q.GroupBy != "" {
		by = []schemas.Dimension{a.q.GroupBy}
	}
	for _, p := range []struct {
		grain        schemas.Grain
		cost, tokens string
	}{{schemas.GrainMonth, "cost", "tokens"}, {schemas.GrainDay, "cost_today", "tokens_today"}} {
		if !a.wants(p.cost, p.tokens) {
			continue
		}
		r, err := a.reader.Usage(ctx, aggregate.Query{Tenant: a.tenant.ID, Window: schemas.WindowOf(p.grain, a.now), By: by})
		if err != nil {
			return err
		}
		set := func(name string, t *aggregate.Totals) {
			v := a.group(place{name: name}).Values
			v[p.cost], v[p.tokens] = rule.OfMoney(t.Cost), rule.Of(t.Tokens.Total())
		}
		if by == nil {
			set("", &r.Total)
		}
		for i := range r.Groups {
			if by != nil && r.Groups[i].Names[0] != "" {
				set(r.Groups[i].Names[0], &r.Groups[i].Totals)
			}
		}
	}
	return nil
}

// ofWindow fills in what the calls of the rule's window say.
func (a *ruleAnswer) ofWindow(ctx context.Context) error {
	if a.q.Window == 0 {
		return nil
	}
	spans, err := a.reader.Span(ctx, a.tenant.ID, a.now.Add(-a.q.Window), a.now, a.q.GroupBy)
	if err != nil {
		return err
	}
	if len(spans) == 0 && a.q.GroupBy == "" {
		spans = []aggregate.SpanTotal{{}}
	}
	for i := range spans {
		t := &spans[i]
		if a.q.GroupBy != "" && t.Name == "" {
			continue
		}
		v := a.group(place{name: t.Name}).Values
		v["calls"], v["errors"] = rule.Of(t.Calls), rule.Of(t.Errors)
		if t.Calls > 0 {
			v["error_rate"], v["unpriced_share"] = rule.OfRatio(t.Errors, t.Calls), rule.OfRatio(t.Unpriced, t.Calls)
			v["latency_p95"] = rule.OfDuration(t.P95)
		}
		if a.q.GroupBy == "" {
			a.burn(v, t.Cost)
		}
	}
	return nil
}

// burn fills in how fast the month's budget goes.
func (a *ruleAnswer) burn(v map[string]rule.Value, spent schemas.Money) {
	month := schemas.WindowOf(schemas.GrainMonth, a.now)
	for i := range a.reading.Limits {
		l := &a.reading.Limits[i]
		if l.Limit != alerting.LimitMonthlyBudget || l.Period != month.String() || l.Used.IsZero() {
			continue
		}
		v["burn_rate"] = rule.BurnRate(spent, l.Max.Money, a.q.Window, month.End().Sub(month.Start))
		v["time_to_exhaustion"] = rule.TimeToExhaustion(l.Used.Money, spent, l.Max.Money, a.q.Window)
	}
}

// pastDays is how many days before this one an average day is of.
const pastDays = 30

// ofPast fills in the average day, and how long ago the newest call was.
func (a *ruleAnswer) ofPast(ctx context.Context) error {
	v := a.group(place{}).Values
	if a.wants("tokens_daily_average", "cost_daily_average") {
		today := schemas.WindowOf(schemas.GrainDay, a.now).Start
		points, err := a.reader.Days(ctx, a.tenant.ID, today.AddDate(0, 0, -pastDays), today)
		if err != nil {
			return err
		}
		var tokens, days int64
		var cost schemas.Money
		for i := range points {
			if points[i].Calls > 0 {
				tokens, cost, days = tokens+points[i].Tokens, cost.Add(points[i].Cost), days+1
			}
		}
		v["tokens_daily_average"], v["cost_daily_average"] = rule.Average(rule.Of(tokens), days), rule.Average(rule.OfMoney(cost), days)
	}
	if a.wants("days_since_last_event") {
		last, ok, err := a.reader.LastCall(ctx, a.tenant.ID)
		if err != nil {
			return err
		}
		if !ok {
			last = a.tenant.CreatedAt
		}
		v["days_since_last_event"] = rule.OfDuration(max(0, a.now.Sub(last)))
	}
	return nil
}
