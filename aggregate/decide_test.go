package aggregate

import (
	"strings"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

func usd(t testing.TB, s string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// with returns no limits but those that set sets.
func with(set ...func(*Limits)) Limits {
	limits := NoLimits()
	for _, f := range set {
		f(&limits)
	}
	return limits
}

func TestDecideOnSpending(t *testing.T) {
	tokens := func(quota int64) func(*Limits) { return func(l *Limits) { l.MonthlyTokens = quota } }
	budget := func(amount string) func(*Limits) {
		return func(l *Limits) { l.MonthlyBudget = Budget{usd(t, amount), true} }
	}
	huge := schemas.Mul(1<<62, 1<<60)
	for name, c := range map[string]struct {
		limits  Limits
		tokens  int64
		cost    schemas.Money
		verdict Verdict
		limit   string
		percent int
		step    int
	}{
		"no limits":                    {with(), 1 << 50, huge, Allow, "", 0, 0},
		"suspended, whatever is left":  {with(tokens(100), func(l *Limits) { l.Access = Suspended }), 0, usd(t, "0"), Deny, LimitSuspended, 0, 0},
		"deleted, whatever is left":    {with(func(l *Limits) { l.Access = Deleted }), 0, usd(t, "0"), Deny, LimitDeleted, 0, 0},
		"nothing used":                 {with(tokens(100)), 0, usd(t, "0"), Allow, LimitTokens, 0, 0},
		"just below the warning":       {with(tokens(1000)), 799, usd(t, "0"), Allow, LimitTokens, 79, 0},
		"at the warning":               {with(tokens(1000)), 800, usd(t, "0"), Warn, LimitTokens, 80, 80},
		"at the second warning":        {with(tokens(1000)), 900, usd(t, "0"), Warn, LimitTokens, 90, 90},
		"one token below the limit":    {with(tokens(1_000_000_000_000)), 999_999_999_999, usd(t, "0"), Warn, LimitTokens, 99, 90},
		"at the limit":                 {with(tokens(1000)), 1000, usd(t, "0"), Throttle, LimitTokens, 100, 100},
		"beyond the limit":             {with(tokens(1000)), 2570, usd(t, "0"), Throttle, LimitTokens, 257, 100},
		"a quota of nothing":           {with(tokens(0)), 0, usd(t, "0"), Throttle, LimitTokens, 100, 100},
		"less than nothing used":       {with(tokens(100)), -50, usd(t, "0"), Allow, LimitTokens, 0, 0},
		"the guide's example":          {with(budget("1000")), 0, usd(t, "847.32"), Warn, LimitBudget, 84, 80},
		"a pico-dollar below":          {with(budget("1000")), 0, usd(t, "999.999999999999"), Warn, LimitBudget, 99, 90},
		"budget used up":               {with(budget("1000")), 0, usd(t, "1000"), Throttle, LimitBudget, 100, 100},
		"a budget of nothing":          {with(budget("0")), 0, usd(t, "0"), Throttle, LimitBudget, 100, 100},
		"beyond 64 bits":               {with(budget("100000000")), 0, usd(t, "80000000"), Warn, LimitBudget, 80, 80},
		"beyond 64 bits, below":        {with(budget("100000000")), 0, usd(t, "79999999.999999999999"), Allow, LimitBudget, 79, 0},
		"far beyond a small budget":    {with(budget("0.000001")), 0, huge, Throttle, LimitBudget, PercentMax, 100},
		"far beyond, within 64 bits":   {with(budget("0.000000000001")), 0, usd(t, "1000"), Throttle, LimitBudget, PercentMax, 100},
		"the stricter one: tokens":     {with(tokens(100), budget("10")), 100, usd(t, "9"), Throttle, LimitTokens, 100, 100},
		"the stricter one: budget":     {with(tokens(100), budget("10")), 95, usd(t, "10"), Throttle, LimitBudget, 100, 100},
		"the nearer one of two alike":  {with(tokens(100), budget("10")), 81, usd(t, "8.5"), Warn, LimitBudget, 85, 80},
		"the nearer one, first is far": {with(tokens(100), budget("10")), 60, usd(t, "5"), Allow, LimitTokens, 60, 0},
	} {
		d := Decide(&c.limits, &Usage{Tokens: c.tokens, Cost: c.cost}, &Request{})
		if d.Verdict != c.verdict || d.Limit != c.limit || d.Percent != c.percent || d.Step != c.step {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestDecideOnWhatIsAsked(t *testing.T) {
	const gb = 1_000_000_000
	limits := with(func(l *Limits) {
		l.Agents, l.StorageBytes, l.Sessions, l.CallsPerMinute, l.MonthlyTokens = 100, 10*gb, 25, 500, 5_000_000
		l.MonthlyBudget = Budget{usd(t, "1000"), true}
		l.Budgets = [budgetKinds]Budget{OfDepartment: {usd(t, "50"), true}, OfAgent: {usd(t, "20"), true}, OfCostCenter: {usd(t, "30"), true}}
	})
	about := Request{Department: "sales", Agent: "Closer", CostCenter: "CC-1001"}
	ask := func(action Action, more func(*Request)) Request {
		r := about
		r.Action = action
		if more != nil {
			more(&r)
		}
		return r
	}
	opus := func(r *Request) { r.Model = "claude-opus-4-6" }
	free := func(r *Request) { r.Model, r.FreeModel = "llama-local", true }
	upload := func(bytes int64) func(*Request) { return func(r *Request) { r.Bytes = bytes } }
	for name, c := range map[string]struct {
		usage   Usage
		ask     Request
		verdict Verdict
		limit   string
		step    int
		message string
	}{
		"one more agent": {Usage{Agents: 79}, ask(ActionCreateAgent, nil), Allow, LimitAgents, 0, ""},
		"agents are near": {Usage{Agents: 87}, ask(ActionCreateAgent, nil), Warn, LimitAgents, 80,
			"Agent quota at 87%. Current: 87, Max: 100. Upgrade your plan."},
		"the last agent": {Usage{Agents: 99}, ask(ActionCreateAgent, nil), Warn, LimitAgents, 90,
			"Agent quota at 99%. Current: 99, Max: 100. Upgrade your plan."},
		"no more agents": {Usage{Agents: 100}, ask(ActionCreateAgent, nil), Deny, LimitAgents, 100,
			"Agent quota exceeded. Current: 100, Max: 100. Upgrade your plan."},
		"agents do not bound calls":  {Usage{Agents: 200}, ask(ActionCall, opus), Allow, LimitTokens, 0, ""},
		"tokens do not bound agents": {Usage{Tokens: 6_000_000}, ask(ActionCreateAgent, nil), Allow, LimitAgents, 0, ""},
		"no more sessions": {Usage{Sessions: 25}, ask(ActionStartSession, nil), Deny, LimitSessions, 100,
			"Session quota exceeded. Current: 25, Max: 25. Upgrade your plan."},
		"the last session": {Usage{Sessions: 24}, ask(ActionStartSession, nil), Warn, LimitSessions, 90,
			"Session quota at 96%. Current: 24, Max: 25. Upgrade your plan."},
		"an upload that fits to the byte": {Usage{StorageBytes: 9 * gb}, ask(ActionUpload, upload(gb)), Warn, LimitStorage, 90,
			"Storage quota at 90%. Current: 9 GB, Max: 10 GB. Upgrade your plan."},
		"an upload one byte too large": {Usage{StorageBytes: 9 * gb}, ask(ActionUpload, upload(gb+1)), Deny, LimitStorage, 90,
			"Storage quota exceeded. Current: 9 GB, Max: 10 GB, Upload: 1.000000001 GB. Upgrade your plan."},
		"an upload larger than all": {Usage{}, ask(ActionUpload, upload(1<<62)), Deny, LimitStorage, 0,
			"Storage quota exceeded. Current: 0 GB, Max: 10 GB, Upload: 4611686018.427387904 GB. Upgrade your plan."},
		"no more storage": {Usage{StorageBytes: 10*gb + 250_000_000}, ask(ActionUpload, nil), Deny, LimitStorage, 100,
			"Storage quota exceeded. Current: 10.25 GB, Max: 10 GB. Upgrade your plan."},
		"tokens used up, another model": {Usage{Tokens: 5_000_000}, ask(ActionCall, opus), Deny, LimitTokens, 100,
			"Token quota exceeded. Current: 5000000, Max: 5000000. Only free models may be called. Upgrade your plan."},
		"tokens used up, a free model": {Usage{Tokens: 5_000_000}, ask(ActionCall, free), Throttle, LimitTokens, 100,
			"Token quota exceeded. Current: 5000000, Max: 5000000. Only free models may be called. Upgrade your plan."},
		"tokens used up, no model yet": {Usage{Tokens: 5_000_000}, ask(ActionCall, nil), Throttle, LimitTokens, 100,
			"Token quota exceeded. Current: 5000000, Max: 5000000. Only free models may be called. Upgrade your plan."},
		"a budget that is near": {Usage{Cost: usd(t, "847.32")}, ask(ActionCall, opus), Warn, LimitBudget, 80,
			"Monthly budget at 84%. Current: $847.32, Max: $1000.00. Raise the budget."},
		"the department's budget": {Usage{Spent: [budgetKinds]schemas.Money{OfDepartment: usd(t, "50.000001")}}, ask(ActionCall, opus), Deny, LimitDepartmentBudget, 100,
			"Monthly budget of department sales exceeded. Current: $50.000001, Max: $50.00. Only free models may be called. Raise the budget."},
		"the agent's budget": {Usage{Spent: [budgetKinds]schemas.Money{OfAgent: usd(t, "18")}}, ask(ActionCall, opus), Warn, LimitAgentBudget, 90,
			"Monthly budget of agent Closer at 90%. Current: $18.00, Max: $20.00. Raise the budget."},
		"the cost center's budget": {Usage{Spent: [budgetKinds]schemas.Money{OfCostCenter: usd(t, "30")}}, ask(ActionCall, free), Throttle, LimitCostCenterBudget, 100,
			"Monthly budget of cost center CC-1001 exceeded. Current: $30.00, Max: $30.00. Only free models may be called. Raise the budget."},
		"API calls are near": {Usage{Calls: 450}, ask(ActionCall, free), Warn, LimitCalls, 90,
			"API rate limit at 90%. Current: 450, Max: 500. Upgrade your plan."},
		"API calls bound everything": {Usage{Calls: 500}, ask(ActionCreateAgent, nil), Deny, LimitCalls, 100,
			"API rate limit exceeded. Current: 500, Max: 500. Upgrade your plan."},
	} {
		d := Decide(&limits, &c.usage, &c.ask)
		if d.Verdict != c.verdict || d.Limit != c.limit || d.Step != c.step {
			t.Errorf("%s: %+v", name, d)
		}
		if got := d.Message(&c.ask); got != c.message {
			t.Errorf("%s:\n%s\nnot\n%s", name, got, c.message)
		}
		for _, access := range []Access{Suspended, Deleted} {
			closed := limits
			closed.Access = access
			if d := Decide(&closed, &c.usage, &c.ask); d.Verdict != Deny || !strings.HasPrefix(d.Message(&c.ask), "Tenant ") {
				t.Errorf("%s, not served: %+v", name, d)
			}
		}
	}
}

func TestParseAction(t *testing.T) {
	for word, want := range map[string]Action{"": ActionCall, "call": ActionCall, "create_agent": ActionCreateAgent,
		"upload": ActionUpload, "start_session": ActionStartSession, "Call": ""} {
		if got, err := ParseAction(word); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", word, got, err)
		}
	}
}

func TestGigabytes(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0", 1: "0.000000001", 47_300_000_000: "47.3", -1_500_000_000: "-1.5", 10_000_000_000: "10"} {
		if got := Gigabytes(bytes); got != want {
			t.Errorf("%d: %s, not %s", bytes, got, want)
		}
	}
}

// fullLimits has every limit that can apply to a call.
func fullLimits(t testing.TB) (Limits, Usage, Request) {
	limits := with(func(l *Limits) {
		l.MonthlyTokens, l.CallsPerMinute, l.MonthlyBudget = 1<<40, 5000, Budget{usd(t, "1000"), true}
		for kind := range l.Budgets {
			l.Budgets[kind] = Budget{usd(t, "100"), true}
		}
	})
	usage := Usage{Tokens: 1 << 39, Cost: usd(t, "847"), Calls: 100, Spent: [budgetKinds]schemas.Money{usd(t, "1"), usd(t, "2"), usd(t, "3")}}
	return limits, usage, Request{Department: "sales", Agent: "Closer", CostCenter: "CC-1001", Model: "opus"}
}

func TestDecideAllocatesNothing(t *testing.T) {
	limits, usage, ask := fullLimits(t)
	if n := testing.AllocsPerRun(100, func() { Decide(&limits, &usage, &ask) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	limits, usage, ask := fullLimits(b)
	for b.Loop() {
		Decide(&limits, &usage, &ask)
	}
}
