package rule

import (
	"math/big"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// A Schedule is how often a rule is looked at.
type Schedule string

// The schedules, from the most to the least frequent.
const (
	// Live: when usage was counted or a limit was changed, and every minute.
	Live Schedule = "live"
	// Minute: every minute.
	Minute Schedule = "minute"
	// Daily: at 09:00 UTC.
	Daily Schedule = "daily"
)

// rank orders schedules, the most frequent first.
func (s Schedule) rank() int { return slices.Index([]Schedule{Live, Minute, Daily}, s) }

// A Scope is whose values a metric has.
type Scope uint8

// The scopes. A rule has metrics of one scope, but for those of a quota, which stand
// with those of a tenant.
const (
	OfTenant   Scope = iota + 1
	OfQuota          // of each quota of a tenant: a rule with it is one for each of them
	OfPlatform       // of the installation
)

// Units that Value.Show knows. Any other is a word after a count.
const (
	UnitPercent = "%"
	UnitFactor  = "x"
)

// A Metric is a name that conditions may use.
type Metric struct {
	Name string
	// Aliases mean the same; they are the words of the platform's guide.
	Aliases []string
	Kind    Kind
	Unit    string
	Scope   Scope
	// Max is the greatest value that it can have, nil if there is none.
	Max *big.Rat
	// Signed: voids can bring it below 0. Of others 0 is the least.
	Signed bool
	// Finest is how often it may be looked at; more often shows nothing new, or costs too
	// much.
	Finest Schedule
	// Windowed: it is of the events of the rule's window, those of the last five minutes
	// if the rule names none.
	Windowed bool
	// Bare is what a plain number that it is compared with counts, in seconds; 0 for
	// metrics that want a unit.
	Bare int64
	// Groups are the dimensions that it can be grouped by.
	Groups []schemas.Dimension
	// Doc says what it is, and when it is absent.
	Doc string
}

// Metrics returns the names that conditions may use. It is the one list of them.
func Metrics() []Metric {
	whole := big.NewRat(1, 1)
	budgets := []schemas.Dimension{schemas.ByDepartment, schemas.ByCostCenter, schemas.ByAgent}
	all := []schemas.Dimension{schemas.ByDepartment, schemas.ByCostCenter, schemas.ByAgent, schemas.ByModel, schemas.ByProvider}
	return []Metric{
		{Name: "usage", Kind: Count, Scope: OfQuota, Finest: Live, Signed: true, Doc: "what is used of a quota: tokens of the month, storage in bytes, agents, sessions, calls of the minute"},
		{Name: "quota", Kind: Count, Scope: OfQuota, Finest: Live, Doc: "how much of it the plan allows; absent where it is unlimited"},
		{Name: "percent_used", Kind: Number, Unit: UnitPercent, Scope: OfQuota, Finest: Live, Signed: true, Doc: "usage ÷ quota"},

		{Name: "cost", Kind: Money, Scope: OfTenant, Finest: Live, Groups: all, Signed: true, Doc: "of this month, in UTC"},
		{Name: "budget", Kind: Money, Scope: OfTenant, Finest: Live, Groups: budgets, Doc: "of the month; absent without one"},
		{Name: "budget_used", Kind: Number, Unit: UnitPercent, Scope: OfTenant, Finest: Live, Groups: budgets, Signed: true, Doc: "cost ÷ budget"},
		{Name: "tokens", Aliases: []string{"usage.tokens"}, Kind: Count, Unit: "tokens", Scope: OfTenant, Finest: Live, Groups: all, Signed: true, Doc: "of this month"},
		{Name: "max_monthly_tokens", Aliases: []string{"tenant.maxMonthlyTokens"}, Kind: Count, Unit: "tokens", Scope: OfTenant, Finest: Live, Doc: "the quota of tokens; absent where it is unlimited"},
		{Name: "cost_today", Kind: Money, Scope: OfTenant, Finest: Live, Groups: all, Signed: true, Doc: "of this day, in UTC"},
		{Name: "tokens_today", Aliases: []string{"usage.todayTokens"}, Kind: Count, Unit: "tokens", Scope: OfTenant, Finest: Live, Groups: all, Signed: true, Doc: "of this day"},
		{Name: "cost_daily_average", Kind: Money, Scope: OfTenant, Finest: Minute, Signed: true, Doc: "of the days with calls among the 30 before this one; absent without such a day"},
		{Name: "tokens_daily_average", Aliases: []string{"usage.avgDailyTokens"}, Kind: Count, Unit: "tokens", Scope: OfTenant, Finest: Minute, Signed: true, Doc: "of the days with calls among the 30 before this one; absent without such a day"},

		{Name: "calls", Kind: Count, Unit: "calls", Scope: OfTenant, Finest: Minute, Windowed: true, Groups: all, Signed: true, Doc: "of the window"},
		{Name: "errors", Kind: Count, Unit: "calls", Scope: OfTenant, Finest: Minute, Windowed: true, Groups: all, Signed: true, Doc: "calls of the window that ended in an error"},
		{Name: "error_rate", Kind: Number, Unit: UnitPercent, Scope: OfTenant, Max: whole, Finest: Minute, Windowed: true, Groups: all, Doc: "errors ÷ calls; absent without calls"},
		{Name: "latency_p95", Kind: Duration, Scope: OfTenant, Finest: Minute, Windowed: true, Groups: all, Doc: "95 of 100 calls of the window took no longer; absent without calls"},
		{Name: "unpriced_share", Kind: Number, Unit: UnitPercent, Scope: OfTenant, Max: whole, Finest: Minute, Windowed: true, Groups: all, Doc: "calls without a price ÷ calls; absent without calls"},
		{Name: "burn_rate", Kind: Number, Unit: UnitFactor, Scope: OfTenant, Finest: Minute, Windowed: true, Signed: true, Doc: "cost of the window ÷ what an even spending of the month's budget allows for it; absent without a budget"},
		{Name: "time_to_exhaustion", Kind: Duration, Scope: OfTenant, Finest: Minute, Windowed: true, Doc: "until the budget is spent at the window's rate, 0 once it is; absent without a budget, or when nothing is spent"},
		{Name: "days_since_last_event", Aliases: []string{"usage.daysSinceLastMessage"}, Kind: Duration, Scope: OfTenant, Finest: Minute, Bare: 86400, Doc: "since the newest call, or since the tenant was made if it never had one"},

		{Name: "stripe.payment.failed", Kind: Bool, Scope: OfTenant, Finest: Live, Doc: "an invoice could not be collected, and is not paid since; absent while Stripe is not connected"},

		{Name: "ingest_lag", Kind: Duration, Scope: OfPlatform, Finest: Minute, Doc: "how long the oldest acknowledged event waits to be counted"},
		{Name: "stripe_push_age", Kind: Duration, Scope: OfPlatform, Finest: Minute, Doc: "since usage was last handed to Stripe; absent while Stripe is not connected"},
	}
}

// span is the values that it can have.
func (m *Metric) span() span {
	if m.Signed {
		return span{nil, m.Max}
	}
	return span{new(big.Rat), m.Max}
}

// findMetric returns the metric of a name or an alias.
func findMetric(name string) (Metric, bool) {
	for _, m := range Metrics() {
		if m.Name == name || slices.Contains(m.Aliases, name) {
			return m, true
		}
	}
	return Metric{}, false
}

// metricNames lists what may be written.
func metricNames() []string {
	var names []string
	for _, m := range Metrics() {
		names = append(append(names, m.Name), m.Aliases...)
	}
	return names
}

// didYouMean returns ", did you mean …?" with the nearest of some words, "" if none is
// near.
func didYouMean(word string, among []string) string {
	best, distance := "", 1+len(word)/3
	lower := strings.ToLower(word)
	for _, candidate := range among {
		if d := editDistance(lower, strings.ToLower(candidate)); d < distance || d == distance && best == "" {
			best, distance = candidate, d
		}
	}
	if best == "" {
		for _, candidate := range among {
			if len(lower) >= 4 && (strings.HasPrefix(candidate, lower) || strings.HasSuffix(candidate, "_"+lower)) {
				best = candidate
				break
			}
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// editDistance is how many letters have to be put in, taken out, exchanged or swapped
// with their neighbour.
func editDistance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	var older []int
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, before, row = before, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(before[j]+1, row[j-1]+1, before[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// String is what there is one value for.
func (s Scope) String() string {
	switch s {
	case OfTenant:
		return "tenant"
	case OfQuota:
		return "quota"
	case OfPlatform:
		return "platform"
	}
	return ""
}
