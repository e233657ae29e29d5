package aggregate

import (
	"math/big"
	"math/bits"

	"github.com/agentik-os/panda/schemas"
)

// A Verdict says whether an agent runtime may make its next call.
type Verdict string

// The verdicts, from the mildest.
const (
	// Allow: nothing is in the way.
	Allow Verdict = "allow"
	// Warn: allowed; a limit is near. People should be told.
	Warn Verdict = "warn"
	// Throttle: only models that cost nothing may be called.
	Throttle Verdict = "throttle"
	// Deny: nothing may be called.
	Deny Verdict = "deny"
)

func (v Verdict) rank() int {
	switch v {
	case Deny:
		return 3
	case Throttle:
		return 2
	case Warn:
		return 1
	}
	return 0
}

// The names of limits in a Decision.
const (
	LimitTokens    = "monthly_tokens"
	LimitBudget    = "monthly_budget"
	LimitSuspended = "suspended"
)

// Limits are a tenant's limits for a month.
type Limits struct {
	// Suspended: the tenant may not do anything.
	Suspended bool
	// MonthlyTokens is the quota of tokens of all buckets; meaningless unless
	// HasTokens. A quota of 0 allows no tokens.
	MonthlyTokens int64
	HasTokens     bool
	// MonthlyBudget is the greatest cost; meaningless unless HasBudget.
	MonthlyBudget schemas.Money
	HasBudget     bool
}

// The thresholds in percent. At 80 and 90 people are warned, at 100 a tenant is
// throttled to free models. The guide to the product, soft and hard limits, has
// the first and the last; budgets are announced at all three.
const (
	stepNotice = 80
	stepUrgent = 90
	stepFull   = 100
)

// A Decision is the strictest verdict of a tenant's limits and the limit that
// led to it.
type Decision struct {
	Verdict Verdict
	// Limit is one of the Limit constants: the one that led to the verdict, or
	// that is nearest. It is empty when the tenant has no limits.
	Limit string
	// Value and Usage are the limit and what is used of it, in tokens; of a
	// budget they are ValueCost and UsageCost.
	Value, Usage         int64
	ValueCost, UsageCost schemas.Money
	// Percent is usage in percent of the limit, rounded down, so that 100 means
	// reached; at most PercentMax, and 0 when usage is negative.
	Percent int
	// Step is the highest threshold at or below Percent (80, 90, 100), or 0.
	Step int
}

// PercentMax caps Percent: a million percent says all there is to say.
const PercentMax = 1_000_000

// Decide judges a month's usage by the limits. It is pure, and exact: a share is
// compared in whole numbers, never rounded up to a threshold.
func Decide(limits Limits, usage *Totals) Decision {
	if limits.Suspended {
		return Decision{Verdict: Deny, Limit: LimitSuspended}
	}
	best := Decision{Verdict: Allow}
	if limits.HasTokens {
		used := usage.Tokens.Total()
		d := judge(schemas.Pico(used), schemas.Pico(limits.MonthlyTokens))
		d.Limit, d.Value, d.Usage = LimitTokens, limits.MonthlyTokens, used
		best = d
	}
	if limits.HasBudget {
		d := judge(usage.Cost, limits.MonthlyBudget)
		d.Limit, d.ValueCost, d.UsageCost = LimitBudget, limits.MonthlyBudget, usage.Cost
		if best.Limit == "" || d.Verdict.rank() > best.Verdict.rank() ||
			d.Verdict == best.Verdict && d.Percent > best.Percent {
			best = d
		}
	}
	return best
}

func judge(usage, limit schemas.Money) Decision {
	d := Decision{Verdict: Allow, Percent: percent(usage, limit)}
	switch {
	case d.Percent >= stepFull:
		d.Verdict, d.Step = Throttle, stepFull
	case d.Percent >= stepUrgent:
		d.Verdict, d.Step = Warn, stepUrgent
	case d.Percent >= stepNotice:
		d.Verdict, d.Step = Warn, stepNotice
	}
	return d
}

// percent returns usage in whole percent of limit, rounded down, between 0 and
// PercentMax. A limit of nothing is reached by nothing.
func percent(usage, limit schemas.Money) int {
	if limit.Sign() <= 0 {
		if usage.Sign() >= 0 {
			return 100
		}
		return 0
	}
	if usage.Sign() <= 0 {
		return 0
	}
	// Up to 64 bits, 18 million USD, need no memory; a decision is made for every
	// call an agent makes.
	uh, ul := usage.Words()
	lh, ll := limit.Words()
	if uh == 0 && lh == 0 {
		high, low := bits.Mul64(ul, 100)
		if high >= ll {
			return PercentMax
		}
		q, _ := bits.Div64(high, low, ll)
		return int(min(q, PercentMax))
	}
	q := new(big.Int).Mul(usage.Big(), big.NewInt(100))
	q.Quo(q, limit.Big())
	if q.Cmp(big.NewInt(PercentMax)) > 0 {
		return PercentMax
	}
	return int(q.Int64())
}
