package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// emptyStore is a warehouse without events.
type emptyStore struct{}

func (emptyStore) Position(context.Context, uint32) (aggregate.Position, error) {
	return aggregate.Position{}, nil
}

func (emptyStore) Totals(context.Context, aggregate.Keep, uint64, func(*aggregate.LiveRow)) error {
	return nil
}

func (emptyStore) Levels(context.Context, aggregate.Keep, uint64, func(string, aggregate.Level)) error {
	return nil
}

// alertBench is a source over a real registry and live totals, with an evaluator.
type alertBench struct {
	t         *testing.T
	log       *eventlog.Log
	registry  *tenancy.Registry
	live      *aggregate.Live
	source    *alertSource
	book      *alerting.Book
	evaluator *alerting.Evaluator
	seq       uint64
	stop      func()

	mu  sync.Mutex
	at  time.Time
	api int64
}

func newAlertBench(t *testing.T, at time.Time) *alertBench {
	b := &alertBench{t: t, log: eventlogtest.Open(t), at: at}
	b.registry = tenancy.New(tenancy.Config{Now: b.now}, b.log)
	b.live = aggregate.NewLive(aggregate.LiveConfig{Now: b.now}, emptyStore{})
	b.source = &alertSource{registry: b.registry, now: b.now, live: func(string) (*aggregate.Live, error) { return b.live, nil },
		calls: func(string) int64 { b.mu.Lock(); defer b.mu.Unlock(); return b.api }}
	b.book = alerting.NewBook(alerting.BookConfig{Now: b.now}, b.log)
	b.evaluator = alerting.NewEvaluator(alerting.EvaluatorConfig{Lease: alertLease{b.log}}, b.log, b.book, b.source)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for _, run := range []func(context.Context) error{b.registry.Run, b.book.Run} {
		work.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	b.stop = sync.OnceFunc(func() { cancel(); work.Wait() })
	t.Cleanup(b.stop)
	<-b.registry.Ready()
	if err := b.live.Rebuild(ctx); err != nil {
		t.Fatal(err)
	}
	for _, run := range []func(context.Context) error{b.evaluator.Run, func(ctx context.Context) error {
		return b.source.follow(ctx, func(ids []string) { b.evaluator.Touch(ids, time.Time{}) }, b.book.Forget)
	}} {
		work.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return b
}

func (b *alertBench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

func (b *alertBench) set(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = at
}

// spend counts a call, and tells the evaluator as the writer's commit does.
func (b *alertBench) spend(tenant string, at time.Time, cents int64, department, agent, model string) {
	b.seq++
	a := schemas.Accepted{Tenant: tenant, Seq: b.seq, Calls: 1, Priced: true, Cost: schemas.Mul(schemas.PicoPerCent, cents)}
	a.Event.Time, a.Event.Department, a.Event.Agent, a.Event.Model = at.UnixMilli(), department, agent, model
	a.Event.Tokens[schemas.Input] = cents
	rows := []schemas.Accepted{a}
	b.live.Apply(rows, b.seq)
	b.evaluator.Touch(tenantsOf(rows), b.now())
}

// fired returns the alerts of a tenant, once there are as many records of them as wanted.
func (b *alertBench) await(tenant string, records int) []alerting.Alert {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		alerts, _ := b.book.List(alerting.Query{Tenant: tenant})
		n := 0
		for _, a := range alerts {
			full, _ := b.book.Get(tenant, a.ID)
			n += len(full.History)
		}
		if n >= records {
			slices.Reverse(alerts)
			if n > records {
				b.t.Errorf("%d records, want %d: %s", n, records, alertsText(alerts))
			}
			return alerts
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%d records, want %d: %s", n, records, alertsText(alerts))
		}
		<-tick.C
	}
}

func alertsText(alerts []alerting.Alert) string {
	var lines []string
	for _, a := range alerts {
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %d%%", a.State, a.Limit, a.Name, a.Period, a.Threshold)), " "))
	}
	return strings.Join(lines, "\n")
}

// The whole way of an alert inside the process: a commit, the live totals, the registry,
// the decision, the book. A budget that changes while it is crossed fires each threshold
// once per revision.
func TestAlertsFollowUsageAndLimits(t *testing.T) {
	b := newAlertBench(t, time.Date(2026, 2, 14, 10, 0, 0, 0, time.UTC))
	usd := func(n int64) schemas.Money { return schemas.Mul(schemas.PicoPerUSD, n) }
	made, _, err := b.registry.CreateTenant(t.Context(), tenancy.Actor{ID: "system:test"}, tenancy.NewTenant{Name: "Acme Corporation", Slug: "acme-corp",
		Plan: tenancy.PlanPro, MonthlyBudget: usd(100), HasBudget: true, DailyBudget: usd(95), HasDailyBudget: true,
		Budgets: []tenancy.Budget{{Kind: tenancy.BudgetDepartment, Name: "Sales", DailyOnly: true, DailyBudget: usd(70), HasDaily: true}}})
	if err != nil {
		t.Fatal(err)
	}
	at := b.now()
	b.spend(made.ID, at, 4000, "Sales", "Closer", "opus")
	b.spend(made.ID, at, 3900, "Sales", "Opener", "haiku")
	first := b.await(made.ID, 4)
	want := "firing daily_budget 2026-02-14 80%\nfiring department_daily_budget Sales 2026-02-14 80%\n" +
		"firing department_daily_budget Sales 2026-02-14 90%\nfiring department_daily_budget Sales 2026-02-14 100%"
	if got := alertsText(first); got != want {
		t.Errorf("at 79 %%:\n%s", got)
	}
	f := first[3].Facts
	wantFacts := alerting.Facts{TenantName: "Acme Corporation", TenantSlug: "acme-corp", Percent: 112,
		Used: alerting.Amount{Unit: alerting.UnitUSD, Money: usd(79)}, Max: alerting.Amount{Unit: alerting.UnitUSD, Money: usd(70)},
		Forecast: f.Forecast, Next: "Nothing is stopped: a daily budget alerts and does not throttle.",
		Models: []alerting.Share{{Name: "opus", Cost: usd(40), Percent: 50}, {Name: "haiku", Cost: usd(39), Percent: 49}},
		Agents: []alerting.Share{{Name: "Closer", Cost: usd(40), Percent: 50}, {Name: "Opener", Cost: usd(39), Percent: 49}}}
	if diff := cmp.Diff(wantFacts, f, cmp.Comparer(func(x, y schemas.Money) bool { return x == y })); diff != "" {
		t.Error(diff)
	}
	if got := f.Forecast.Money; got != schemas.Mul(schemas.PicoPerCent, 18960) { // 79 after 10 of 24 hours
		t.Errorf("the forecast is %s", got)
	}
	b.spend(made.ID, at, 2200, "", "", "opus") // from 79 to 101
	b.await(made.ID, 9)
	// Raised: 90 and 100 % are not crossed any more, 80 % is one of the new revision.
	raise := func(amount schemas.Money) {
		t.Helper()
		if _, err := b.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "system:test"}, made.ID, 0, func(of *tenancy.Tenant) error {
			of.MonthlyBudget = amount
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	raise(usd(120))
	after := b.await(made.ID, 12)
	if got := b.book.Counts(made.ID).States; got[alerting.Firing] != 7 || got[alerting.Replaced] != 1 || got[alerting.Ended] != 2 {
		t.Errorf("after the raise: %v\n%s", got, alertsText(after))
	}
	// Midnight: the day's are over; what is counted late still fires yesterday's.
	b.set(at.Add(14*time.Hour + time.Minute))
	b.evaluator.Sweep()
	b.await(made.ID, 18)
	b.spend(made.ID, at, 1900, "Sales", "Late", "opus") // 120 of 120 in the month: 90 and 100 %
	b.await(made.ID, 20)
	// The tenant is suspended: nothing new fires. Erased: it is forgotten.
	if _, err := b.registry.Suspend(t.Context(), tenancy.Actor{ID: "system:test"}, made.ID, 0, ""); err != nil {
		t.Fatal(err)
	}
	reading, err := b.source.Reading(t.Context(), made.ID)
	if err != nil || !reading.Quiet || reading.AsOf != b.seq {
		t.Errorf("suspended, it reads %+v, %v", reading, err)
	}
	if _, err := b.registry.Delete(t.Context(), tenancy.Actor{ID: "system:test"}, made.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.registry.Erased(t.Context(), tenancy.Actor{ID: "system:test"}, made.ID, json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.source.Reading(t.Context(), made.ID); !errors.Is(err, alerting.ErrGone) {
		t.Errorf("erased, it reads %v", err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); len(b.book.Counts(made.ID).States) > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("an erased tenant has alerts")
		}
	}
}

// Every limit of a tenant is in its reading, in its own unit and period.
func TestReadingHasEveryLimit(t *testing.T) {
	b := newAlertBench(t, time.Date(2026, 1, 20, 10, 0, 0, 0, time.UTC))
	usd := func(n int64) schemas.Money { return schemas.Mul(schemas.PicoPerUSD, n) }
	made, _, err := b.registry.CreateTenant(t.Context(), tenancy.Actor{ID: "system:test"}, tenancy.NewTenant{Name: "Acme", Slug: "acme", Plan: tenancy.PlanPro,
		MonthlyBudget: usd(100), HasBudget: true, QuotaOverrides: tenancy.QuotaOverrides{tenancy.MaxConcurrentSessions: tenancy.Unlimited, tenancy.MaxStorageGB: 3},
		Budgets: []tenancy.Budget{{Kind: tenancy.BudgetAgent, Name: "bot", MonthlyBudget: usd(1), DailyBudget: usd(2), HasDaily: true},
			{Kind: tenancy.BudgetCostCenter, Name: "CC", MonthlyBudget: usd(3)}}})
	if err != nil {
		t.Fatal(err)
	}
	b.set(time.Date(2026, 2, 2, 10, 0, 0, 0, time.UTC)) // January is over for two days
	b.spend(made.ID, time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC), 500, "", "bot", "opus")
	b.spend(made.ID, time.Date(2026, 2, 1, 23, 0, 0, 0, time.UTC), 7, "", "bot", "opus")
	b.spend(made.ID, b.now(), 8, "", "", "opus")
	b.mu.Lock()
	b.api = 11
	b.mu.Unlock()
	b.source.peaks.note(made.ID, &ratelimit.State{Limited: true, Max: 100, Used: 30}, b.now())
	b.source.peaks.note(made.ID, &ratelimit.State{Limited: true, Max: 100, Used: 70}, b.now())
	b.source.peaks.note(made.ID, &ratelimit.State{Limited: true, Max: 100, Used: 60}, b.now())
	if _, err := b.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "system:test"}, made.ID, 0, func(of *tenancy.Tenant) error {
		of.MonthlyBudget = usd(90) // in February: January's usage is not held against it
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r, err := b.source.Reading(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range r.Limits {
		got = append(got, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s", l.Limit, l.Name, l.Period, used(l.Used), used(l.Max))), " "))
	}
	want := []string{
		"agents 2026-02 0_agents 100_agents", "monthly_tokens 2026-02 15_tokens 50000000_tokens", "monthly_tokens 2026-01 500_tokens 50000000_tokens",
		"storage_gb 2026-02 0_bytes 3000000000_bytes", "api_calls_per_minute 2026-02 70_calls 5000_calls",
		"monthly_budget 2026-02 $0.15 $90.00",
		"agent_budget bot 2026-02 $0.07 $1.00", "agent_budget bot 2026-01 $5.00 $1.00",
		"agent_daily_budget bot 2026-02-02 $0.00 $2.00", "agent_daily_budget bot 2026-02-01 $0.07 $2.00",
		"cost_center_budget CC 2026-02 $0.00 $3.00", "cost_center_budget CC 2026-01 $0.00 $3.00",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	b.set(b.now().Add(2 * peakFor))
	b.stop()
	if r, err := b.source.Reading(t.Context(), made.ID); err != nil || r.Limits[4].Used.Count != 11 {
		t.Errorf("later, calls are %+v, %v", r.Limits[4].Used, err)
	}
	// Before the warehouse is open, nothing is known.
	if _, err := newAlertSource(&pipeline{registry: b.registry}).Reading(t.Context(), made.ID); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("without live totals it reads %v", err)
	}
}

func used(a alerting.Amount) string {
	if a.Unit == alerting.UnitUSD {
		return a.Money.Display()
	}
	return fmt.Sprintf("%d_%s", a.Count, a.Unit)
}

// The words of limits are those of decisions, and each limit says what happens next.
func TestLimitsHaveTheWordsOfDecisions(t *testing.T) {
	for ours, theirs := range map[string]string{
		alerting.LimitMonthlyBudget: aggregate.LimitBudget, alerting.LimitDepartmentBudget: aggregate.LimitDepartmentBudget,
		alerting.LimitAgentBudget: aggregate.LimitAgentBudget, alerting.LimitCostCenterBudget: aggregate.LimitCostCenterBudget,
		alerting.LimitTokens: aggregate.LimitTokens, alerting.LimitAgents: aggregate.LimitAgents, alerting.LimitStorage: aggregate.LimitStorage,
		alerting.LimitSessions: aggregate.LimitSessions, alerting.LimitCalls: aggregate.LimitCalls,
	} {
		if ours != theirs {
			t.Errorf("a limit is %s in alerts and %s in decisions", ours, theirs)
		}
		l := alerting.Limit{Limit: ours, Max: alerting.Amount{Unit: unitOf(ours), Count: 10, Money: schemas.Pico(10)}}
		before := nextOf(&l)
		l.Used = l.Max
		if after := nextOf(&l); before == after || strings.Contains(before+after, "daily") {
			t.Errorf("%s: %q and then %q", ours, before, after)
		}
	}
}

func TestAckTimes(t *testing.T) {
	at := time.Date(2026, 2, 14, 10, 0, 0, 0, time.UTC)
	acks := newAckTimes(func() time.Time { at = at.Add(time.Second); return at })
	for seq := range uint64(3) {
		acks.appended(seq + 5)
		acks.appended(seq + 5) // a repeat: the first one counts
	}
	rows := func(seqs ...uint64) (rows []schemas.Accepted) {
		for _, seq := range seqs {
			rows = append(rows, schemas.Accepted{Seq: seq})
		}
		return rows
	}
	if got := acks.oldest(rows(4, 6, 7)); got.UTC().Format(time.TimeOnly) != "10:00:02" {
		t.Errorf("acknowledged at %s", got)
	}
	if got := acks.oldest(rows(1, 2)); !got.IsZero() {
		t.Errorf("what another process acknowledged is %s", got)
	}
	acks.appended(5 + ackTimesMax)
	if got := acks.oldest(rows(5)); !got.IsZero() {
		t.Errorf("what was forgotten is %s", got)
	}
}
