package aggregate

import (
	"math/big"
	"math/bits"

	"github.com/agentik-os/panda/schemas"
)

// A Verdict says whether an agent runtime may do what it asks for.
type Verdict string

// The verdicts, from the mildest.
const (
	// Allow: nothing is in the way.
	Allow Verdict = "allow"
	// Warn: allowed; a limit is near. People should be told.
	Warn Verdict = "warn"
	// Throttle: only models that cost nothing may be called. If the request named
	// such a model, it may run.
	Throttle Verdict = "throttle"
	// Deny: this must not run.
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
	LimitAgents           = "agents"
	LimitTokens           = "monthly_tokens"
	LimitStorage          = "storage_gb" // usage and value are bytes
	LimitSessions         = "concurrent_sessions"
	LimitCalls            = "api_calls_per_minute"
	LimitBudget           = "monthly_budget"
	LimitDepartmentBudget = "department_budget"
	LimitAgentBudget      = "agent_budget"
	LimitCostCenterBudget = "cost_center_budget"
	LimitSuspended        = "suspended"
	LimitDeleted          = "deleted"
)

// An Action is what a runtime is about to do.
type Action string

// The actions.
const (
	ActionCall         Action = "call" // of a model
	ActionCreateAgent  Action = "create_agent"
	ActionUpload       Action = "upload" // of Request.Bytes
	ActionStartSession Action = "start_session"
)

// ParseAction returns the action of a word, ActionCall for none.
func ParseAction(word string) (Action, error) {
	switch a := Action(word); a {
	case "":
		return ActionCall, nil
	case ActionCall, ActionCreateAgent, ActionUpload, ActionStartSession:
		return a, nil
	}
	return "", schemas.Invalid("/action", schemas.CodeUnknown,
		"%q is not an action; use call, create_agent, upload or start_session", word)
}

// A Request is what a runtime asks to do.
type Request struct {
	Action Action
	// Department, CostCenter and Agent are on whose account a call runs; "" is
	// nobody's in particular, and then no budget but the tenant's is looked at.
	Department, CostCenter, Agent string
	// Model is the model of a call, "" if the runtime has not chosen one. FreeModel
	// says that it costs nothing.
	Model     string
	FreeModel bool
	// Bytes is the size of an upload.
	Bytes int64
}

// Access says whether a tenant is served at all.
type Access uint8

// The states of access.
const (
	Served Access = iota
	Suspended
	Deleted
)

// Unlimited is a limit that nothing reaches.
const Unlimited = -1

// A Budget is the greatest cost of a month. It is meaningless unless Set; one of
// nothing is a budget.
type Budget struct {
	Max schemas.Money
	Set bool
}

// The kinds of budgets beside the tenant's own, as places in Limits.Budgets and
// Usage.Spent.
const (
	OfDepartment = iota
	OfAgent
	OfCostCenter
	budgetKinds
)

// Limits are a tenant's limits. A count is a limit, 0 included, unless it is
// negative: see NoLimits.
type Limits struct {
	Access         Access
	Agents         int64
	MonthlyTokens  int64 // of all buckets
	StorageBytes   int64
	Sessions       int64 // at once
	CallsPerMinute int64 // of this API
	MonthlyBudget  Budget
	// Budgets are those of the names in the Request.
	Budgets [budgetKinds]Budget
}

// NoLimits returns the limits of a tenant that has none.
func NoLimits() Limits {
	return Limits{Agents: Unlimited, MonthlyTokens: Unlimited, StorageBytes: Unlimited, Sessions: Unlimited, CallsPerMinute: Unlimited}
}

// Usage is what is used of the limits.
type Usage struct {
	// Tokens and Cost are the month's sums, Spent the month's cost of the names in
	// the Request.
	Tokens int64
	Cost   schemas.Money
	Spent  [budgetKinds]schemas.Money
	// These are the newest levels known; 0 if none was ever reported.
	Agents, StorageBytes, Sessions int64
	// Calls are the API calls that count against the present minute.
	Calls int64
}

// The thresholds in percent. At 80 and 90 people are warned, at 100 a limit is
// reached. The guide to the product, soft and hard limits, has the first for
// tokens and the second for storage; all limits announce all three.
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
	// that is nearest. It is empty when no limit applies.
	Limit string
	// Value and Usage are the limit and what is used of it: tokens, bytes, or a
	// number of things. Of a budget they are ValueCost and UsageCost.
	Value, Usage         int64
	ValueCost, UsageCost schemas.Money
	// Percent is usage in percent of the limit, rounded down, so that 100 means
	// reached; at most PercentMax, and 0 when usage is negative.
	Percent int
	// Step is the highest threshold at or below Percent (80, 90, 100), or 0. A
	// Deny of what would not fit any more can come at any Step.
	Step int
}

// PercentMax caps Percent: a million percent says all there is to say.
const PercentMax = 1_000_000

// Decide judges a request by the limits. It is pure, and exact: a share is
// compared in whole numbers, never rounded up to a threshold. It allocates
// nothing; what people read is Decision.Message.
//
// Which limits apply depends on the action. Tokens and budgets bound model calls
// and leave free models alone; agents, storage and sessions bound what adds to
// them, by what is there plus what is asked for. API calls bound everything.
func Decide(limits *Limits, usage *Usage, ask *Request) Decision {
	switch limits.Access {
	case Suspended:
		return Decision{Verdict: Deny, Limit: LimitSuspended}
	case Deleted:
		return Decision{Verdict: Deny, Limit: LimitDeleted}
	}
	best := Decision{Verdict: Allow}
	switch ask.Action {
	case ActionCreateAgent:
		best.add(LimitAgents, limits.Agents, usage.Agents, 1)
	case ActionStartSession:
		best.add(LimitSessions, limits.Sessions, usage.Sessions, 1)
	case ActionUpload:
		best.add(LimitStorage, limits.StorageBytes, usage.StorageBytes, ask.Bytes)
	default:
		best.spend(limits, usage, ask)
	}
	best.add(LimitCalls, limits.CallsPerMinute, usage.Calls, 0)
	return best
}

// add judges by a limit that what is asked for adds to: what reaches it or would
// not fit is denied.
func (best *Decision) add(name string, limit, used, more int64) {
	if limit < 0 {
		return
	}
	d := share(schemas.Pico(used), schemas.Pico(limit))
	d.Limit, d.Value, d.Usage = name, limit, used
	if d.Step == stepFull || more > 0 && used > limit-more {
		d.Verdict = Deny
	}
	best.take(&d)
}

// spend judges a model call by the month's tokens and budgets.
func (best *Decision) spend(limits *Limits, usage *Usage, ask *Request) {
	if limits.MonthlyTokens >= 0 {
		d := share(schemas.Pico(usage.Tokens), schemas.Pico(limits.MonthlyTokens))
		d.Limit, d.Value, d.Usage = LimitTokens, limits.MonthlyTokens, usage.Tokens
		best.takeSpent(&d, ask)
	}
	best.budget(LimitBudget, &limits.MonthlyBudget, usage.Cost, ask)
	best.budget(LimitDepartmentBudget, &limits.Budgets[OfDepartment], usage.Spent[OfDepartment], ask)
	best.budget(LimitAgentBudget, &limits.Budgets[OfAgent], usage.Spent[OfAgent], ask)
	best.budget(LimitCostCenterBudget, &limits.Budgets[OfCostCenter], usage.Spent[OfCostCenter], ask)
}

func (best *Decision) budget(name string, budget *Budget, spent schemas.Money, ask *Request) {
	if !budget.Set {
		return
	}
	d := share(spent, budget.Max)
	d.Limit, d.ValueCost, d.UsageCost = name, budget.Max, spent
	best.takeSpent(&d, ask)
}

// takeSpent takes a limit of calls: when it is reached, models that cost nothing
// go on, and a call that names another one does not.
func (best *Decision) takeSpent(d *Decision, ask *Request) {
	if d.Step == stepFull {
		d.Verdict = Throttle
		if ask.Model != "" && !ask.FreeModel {
			d.Verdict = Deny
		}
	}
	best.take(d)
}

// take keeps the stricter of two decisions, of equal ones the nearer limit.
func (best *Decision) take(d *Decision) {
	if best.Limit == "" || d.Verdict.rank() > best.Verdict.rank() ||
		d.Verdict == best.Verdict && d.Percent > best.Percent {
		*best = *d
	}
}

// share says how much of a limit is used and which threshold that is.
func share(usage, limit schemas.Money) Decision {
	d := Decision{Verdict: Allow, Percent: percent(usage, limit)}
	switch {
	case d.Percent >= stepFull:
		d.Verdict, d.Step = Warn, stepFull
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
