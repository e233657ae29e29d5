package rule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what comes by itself.
const patience = 30 * time.Second

// meter is a Source of values that a test sets.
type meter struct {
	mu      sync.Mutex
	asOf    uint64
	groups  map[string][]Group // by tenant; "" is the platform
	quiet   bool
	fail    error
	asked   []Question
	changed chan struct{} // closed and replaced when it was asked
}

func newMeter() *meter { return &meter{groups: map[string][]Group{}, changed: make(chan struct{})} }

// set sets what a tenant's groups have of one metric, as one commit.
func (m *meter) set(tenant, metric string, values map[string]Value) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asOf++
	m.groups[tenant] = nil
	for name, v := range values {
		m.groups[tenant] = append(m.groups[tenant], Group{Name: name, Values: map[string]Value{metric: v}})
	}
}

func (m *meter) Tenants() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for id := range m.groups {
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *meter) Values(_ context.Context, q Question) (Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, q)
	close(m.changed)
	m.changed = make(chan struct{})
	if m.fail != nil {
		return Answer{}, m.fail
	}
	return Answer{TenantName: "Tenant " + q.Tenant, TenantSlug: q.Tenant, Groups: slices.Clone(m.groups[q.Tenant]), AsOf: m.asOf, Quiet: m.quiet}, nil
}

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func parsed(t *testing.T, rules string) *Set {
	t.Helper()
	set, err := Parse("rules.yaml", []byte("alerts:\n"+rules))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// ground is a log with a book that runs, and numbers.
type ground struct {
	t     *testing.T
	log   *eventlog.Log
	meter *meter
	clock *clock
}

func newGround(t *testing.T) *ground {
	return &ground{t: t, log: eventlogtest.Open(t), meter: newMeter(), clock: &clock{now: time.Date(2026, 2, 14, 8, 0, 0, 0, time.UTC)}}
}

// node is a book that runs and a runner that does not run by itself.
func (g *ground) node(rules *Set, change func(*RunnerConfig)) (r *Runner, stop func()) {
	g.t.Helper()
	logger := zerolog.New(zerolog.NewTestWriter(g.t)).Level(zerolog.ErrorLevel)
	book := alerting.NewBook(alerting.BookConfig{RetryEvery: time.Millisecond, Logger: logger}, g.log)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := book.Run(ctx); err != nil {
			g.t.Errorf("run the book: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); work.Wait() })
	g.t.Cleanup(stop)
	<-book.Ready()
	cfg := RunnerConfig{Rules: rules, Now: g.clock.Now, Logger: logger}
	if change != nil {
		change(&cfg)
	}
	return NewRunner(cfg, g.log, book, g.meter), stop
}

func (g *ground) look(r *Runner, tenant string) {
	g.t.Helper()
	if err := r.Look(g.t.Context(), tenant, Daily); err != nil {
		g.t.Fatal(err)
	}
}

// told lists the records of a tenant: rule, group, episode, kind and cause.
func (g *ground) told(tenant string) []string {
	g.t.Helper()
	var lines []string
	_, err := g.log.Find(context.Background(), schemas.StreamDecisions, []string{"decision." + tenant + ".alert.>"}, ^uint64(0), func(rec *eventlog.Record) error {
		var r alerting.Record
		if err := json.Unmarshal(rec.Data, &r); err != nil {
			return err
		}
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(r.Identity.Rule, " ", r.Identity.Name, " ", r.Episode, " ", r.Kind, " ", r.Cause)), " "))
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return lines
}

func (g *ground) want(tenant string, lines ...string) {
	g.t.Helper()
	if diff := cmp.Diff(lines, g.told(tenant)); diff != "" {
		g.t.Errorf("%s was told otherwise (-want +got):\n%s", tenant, diff)
	}
}

const errorRule = "  - {name: errors, condition: error_rate > 5%, action: slack}\n"

func rate(percent int64) map[string]Value { return map[string]Value{"": OfRatio(percent, 100)} }

// An episode is told once: also when it is looked at again, by a new process, and by
// another node; and the next one is another.
func TestAnEpisodeIsToldOnce(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	rules := parsed(t, errorRule)
	one, stop := g.node(rules, nil)
	two, _ := g.node(rules, nil)
	g.meter.set("t1", "error_rate", rate(5))
	g.look(one, "t1")
	g.want("t1")
	g.meter.set("t1", "error_rate", rate(6))
	g.look(one, "t1")
	g.look(one, "t1")
	g.look(two, "t1")
	stop()
	three, _ := g.node(rules, nil)
	g.look(three, "t1")
	g.want("t1", "errors 0 fired")
	g.meter.set("t1", "error_rate", map[string]Value{"": {}}) // no calls any more
	g.look(three, "t1")
	g.look(three, "t1")
	g.meter.set("t1", "error_rate", rate(7))
	g.look(three, "t1")
	g.want("t1", "errors 0 fired", "errors 0 resolved condition_over", "errors 1 fired")
	g.meter.set("t1", "error_rate", nil) // the group is gone altogether
	g.look(three, "t1")
	g.want("t1", "errors 0 fired", "errors 0 resolved condition_over", "errors 1 fired", "errors 1 resolved condition_over")
}

// What is not known changes nothing, nor do numbers that are older than the decision.
func TestOldAndMissingNumbersDecideNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	r, _ := g.node(parsed(t, errorRule), nil)
	g.meter.set("t1", "error_rate", rate(6))
	g.look(r, "t1")
	g.meter.fail = fmt.Errorf("the warehouse: %w", schemas.ErrUnavailable)
	if err := r.Look(t.Context(), "t1", Daily); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	g.meter.fail = nil
	g.meter.set("t1", "error_rate", rate(0))
	g.meter.asOf = 0
	g.look(r, "t1")
	g.want("t1", "errors 0 fired")
}

func TestAConditionHasToHoldForAsLongAsForSays(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	rules := parsed(t, "  - {name: errors, condition: error_rate > 5%, action: slack, for: 5m, group_by: model}\n")
	r, _ := g.node(rules, nil)
	look := func(after time.Duration, values map[string]Value) {
		g.clock.add(after)
		g.meter.set("t1", "error_rate", values)
		g.look(r, "t1")
	}
	high := OfRatio(1, 10)
	look(0, map[string]Value{"opus": high, "haiku": high, "gone": high})
	look(4*time.Minute, map[string]Value{"opus": high, "haiku": OfRatio(0, 1)})
	look(time.Minute-time.Nanosecond, map[string]Value{"opus": high, "haiku": high, "gone": high})
	g.want("t1")
	look(time.Nanosecond, map[string]Value{"opus": high, "haiku": high, "gone": high})
	g.want("t1", "errors opus 0 fired")
	look(-time.Hour, map[string]Value{"opus": high, "haiku": high, "gone": high}) // the clock is set back
	look(4*time.Minute, map[string]Value{"opus": high, "haiku": high, "gone": high})
	g.want("t1", "errors opus 0 fired")
	look(time.Minute, map[string]Value{"opus": high, "haiku": high, "gone": high})
	g.want("t1", "errors opus 0 fired", "errors gone 0 fired", "errors haiku 0 fired")
	another, _ := g.node(rules, nil)
	g.look(another, "t1")
	g.want("t1", "errors opus 0 fired", "errors gone 0 fired", "errors haiku 0 fired")
}

// A rule that is gone, or fires on other grounds, ends its alerts; other words do not.
func TestARuleThatIsTakenAwayEndsItsAlerts(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	r, _ := g.node(parsed(t, errorRule), nil)
	g.meter.set("t1", "error_rate", rate(50))
	g.look(r, "t1")
	r, _ = g.node(parsed(t, "  - {name: errors, condition: error_rate > 5.0%, action: page-oncall}\n"), nil)
	g.look(r, "t1")
	g.want("t1", "errors 0 fired")
	r, _ = g.node(parsed(t, "  - {name: errors, condition: error_rate > 6%, action: slack}\n"), nil)
	g.look(r, "t1")
	g.want("t1", "errors 0 fired", "errors 0 resolved rule_removed", "errors 0 fired")
	r, _ = g.node(&Set{}, nil)
	g.look(r, "t1")
	g.look(r, "t1")
	g.want("t1", "errors 0 fired", "errors 0 resolved rule_removed", "errors 0 fired", "errors 0 resolved rule_removed")
}

// A tenant is suspended once in an episode: who resumes it is not overruled, and what a
// node left undone is done by the next look.
func TestATenantIsSuspendedOnceInAnEpisode(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	var calls []string
	fail := errors.New("the node died")
	suspend := func(cfg *RunnerConfig) {
		cfg.Suspend = func(_ context.Context, tenant string, r *Rule) error {
			calls = append(calls, tenant+" by "+r.Name)
			return fail
		}
	}
	rules := parsed(t, "  - {name: payment-failed, condition: stripe.payment.failed, action: suspend-tenant}\n")
	r, _ := g.node(rules, suspend)
	g.meter.set("t1", "stripe.payment.failed", map[string]Value{"": OfBool(true)})
	if err := r.Look(t.Context(), "t1", Live); !errors.Is(err, fail) {
		t.Errorf("got %v", err)
	}
	fail = nil
	r, _ = g.node(rules, suspend)
	g.look(r, "t1")
	g.look(r, "t1")
	r, _ = g.node(rules, suspend)
	g.look(r, "t1")
	if want := []string{"t1 by payment-failed", "t1 by payment-failed"}; !slices.Equal(calls, want) { // one failed
		t.Errorf("suspended: %v", calls)
	}
	g.meter.set("t1", "stripe.payment.failed", map[string]Value{"": OfBool(false)})
	g.look(r, "t1")
	g.meter.quiet = true
	g.meter.set("t1", "stripe.payment.failed", map[string]Value{"": OfBool(true)})
	g.look(r, "t1")
	g.want("t1", "payment-failed 0 fired", "payment-failed 0 resolved condition_over")
	g.meter.quiet = false
	g.look(r, "t1")
	if len(calls) != 3 {
		t.Errorf("the next episode suspended %d times, with the one before", len(calls))
	}
}

func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	r, _ := g.node(parsed(t, "  - {name: errors, condition: error_rate > 5%, action: slack, group_by: agent}\n"), func(cfg *RunnerConfig) { cfg.GroupsMax = 3 })
	values := map[string]Value{}
	for i := range 10 {
		values[fmt.Sprint("a", i)] = OfRatio(1, 2)
	}
	g.meter.set("t1", "error_rate", values)
	g.look(r, "t1")
	g.look(r, "t1")
	g.want("t1", "errors a0 0 fired", "errors a1 0 fired", "errors a2 0 fired")
	delete(values, "a1")
	g.meter.set("t1", "error_rate", values)
	g.look(r, "t1")
	g.look(r, "t1")
	g.want("t1", "errors a0 0 fired", "errors a1 0 fired", "errors a2 0 fired", "errors a1 0 resolved condition_over", "errors a3 0 fired")
}

func TestThePlatformHasRulesOfItsOwn(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	r, _ := g.node(parsed(t, errorRule+"  - {name: lag, condition: ingest_lag > 1m, action: page-oncall}\n"), nil)
	g.meter.set("", "ingest_lag", map[string]Value{"": OfDuration(time.Hour)})
	g.meter.set("t1", "error_rate", rate(0))
	r.Sweep(t.Context(), Minute)
	g.want(alerting.Platform, "lag 0 fired")
	for _, q := range g.meter.asked {
		if (q.Tenant == "") != (q.Scope == OfPlatform) {
			t.Errorf("asked %+v", q)
		}
	}
}

// Two runners that run at once, without a lease, and are killed again and again, tell
// what one would: every episode once, in order, and the last state is that of the numbers.
func TestTwoRunnersAndKills(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	g := newGround(t)
	rules := parsed(t, "  - {name: errors, condition: error_rate > 5%, action: slack, group_by: model}\n")
	run := func() (r *Runner, kill func()) {
		r, stop := g.node(rules, func(cfg *RunnerConfig) { cfg.Now, cfg.TickEvery = time.Now, 4*time.Millisecond })
		ctx, cancel := context.WithCancel(context.Background())
		var work sync.WaitGroup
		work.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
		kill = sync.OnceFunc(func() { cancel(); work.Wait(); stop() })
		t.Cleanup(kill)
		return r, kill
	}
	models := []string{"opus", "haiku", "sonnet"}
	kills := make([]func(), 2)
	for i := range kills {
		_, kills[i] = run()
	}
	for range 40 {
		values := map[string]Value{}
		for _, m := range models {
			values[m] = OfRatio(rng.Int64N(11), 100)
		}
		g.meter.set("t1", "error_rate", values)
		g.await(2)
		if rng.IntN(4) == 0 {
			i := rng.IntN(2)
			kills[i]()
			_, kills[i] = run()
		}
	}
	values := map[string]Value{"opus": OfRatio(1, 2), "haiku": OfRatio(0, 1), "sonnet": OfRatio(1, 2)}
	g.meter.set("t1", "error_rate", values)
	for _, kill := range kills {
		kill()
	}
	last, _ := g.node(rules, nil)
	g.look(last, "t1")
	g.look(last, "t1")

	episode, firing := map[string]int{}, map[string]bool{}
	fired := 0
	for _, line := range g.told("t1") {
		var rule, model, kind, cause string
		var n int
		_, _ = fmt.Sscan(line, &rule, &model, &n, &kind, &cause) // fired has no cause
		switch kind {
		case "fired":
			fired++
			if firing[model] || n != episode[model] {
				t.Errorf("%s: episode %d is told when %d is due, one fires: %t", model, n, episode[model], firing[model])
			}
			firing[model] = true
		case "resolved":
			if !firing[model] || n != episode[model] {
				t.Errorf("%s: episode %d is over when %d is, one fires: %t", model, n, episode[model], firing[model])
			}
			firing[model] = false
			episode[model]++
		}
	}
	if !firing["opus"] || firing["haiku"] || !firing["sonnet"] || fired < 3 {
		t.Errorf("after %d episodes these fire: %v", fired, firing)
	}
}

// Run looks at daily rules at nine, at live ones when it is told to, and again at what
// failed; and nothing that was due is lost while values cannot be had.
func TestSchedules(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	rules := parsed(t, "  - {name: idle, condition: days_since_last_event > 30, action: slack, every: daily}\n"+
		"  - {name: expensive, condition: cost > $10, action: slack}\n")
	r, _ := g.node(rules, func(cfg *RunnerConfig) { cfg.TickEvery, cfg.RetryEvery = 8*time.Millisecond, time.Millisecond })
	g.meter.set("t1", "cost", map[string]Value{"": OfMoney(schemas.Mul(schemas.PicoPerUSD, 9))})
	g.meter.fail = fmt.Errorf("the warehouse: %w", schemas.ErrUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { _ = r.Run(ctx) })
	defer func() { cancel(); work.Wait() }()
	asked := func(metric string) (n int) {
		g.meter.mu.Lock()
		defer g.meter.mu.Unlock()
		for _, q := range g.meter.asked {
			if slices.Contains(q.Metrics, metric) {
				n++
			}
		}
		return n
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for range int(patience / time.Millisecond) {
			if done() {
				return
			}
			g.clock.add(time.Millisecond)
			r.Touch(nil)
			<-time.After(time.Millisecond)
		}
		t.Fatalf("%s: not within %s", what, patience)
	}
	const daily, live = "days_since_last_event", "cost"
	until("what failed is tried again as a whole", func() bool { return asked(daily) >= 3 })
	g.meter.mu.Lock()
	g.meter.fail, g.meter.asked = nil, nil
	g.meter.mu.Unlock()
	until("and again when it is well", func() bool { return asked(daily) > 0 })
	before, all := asked(daily), asked(live)
	g.meter.set("t1", "cost", map[string]Value{"": OfMoney(schemas.Mul(schemas.PicoPerUSD, 11))})
	r.Touch([]string{"t1"})
	until("a live rule is looked at", func() bool { return asked(live) > all })
	if asked(daily) != before {
		t.Error("a daily rule was looked at because usage was counted")
	}
	g.clock.add(time.Hour) // it is past nine
	until("daily rules at nine", func() bool { return asked(daily) == before+1 })
	cancel()
	work.Wait()
	g.want("t1", "expensive 0 fired")
}

// await waits until the meter was asked some times.
func (g *ground) await(times int) {
	g.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for range times {
		g.meter.mu.Lock()
		changed := g.meter.changed
		g.meter.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			g.t.Fatal("nobody asked for values")
		}
	}
}
