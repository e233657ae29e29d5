package rule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// A Question asks for values of one tenant, or of the platform.
type Question struct {
	Tenant  string // a tenant's id, "" for the platform
	Scope   Scope
	GroupBy schemas.Dimension // "" for the tenant as a whole
	Window  time.Duration     // of windowed metrics
	Metrics []string
}

// A Group is what there is one value of each metric for.
type Group struct {
	// Name is of the dimension asked for, "" for the tenant as a whole. Limit is the
	// quota's word, of questions with the scope OfQuota.
	Name, Limit string
	Values      map[string]Value // absent ones may be left out
}

// An Answer has values as of one commit.
type Answer struct {
	TenantName, TenantSlug string
	Groups                 []Group
	AsOf                   uint64
	// Quiet: the tenant is suspended or deleted. Nothing new fires.
	Quiet bool
}

// A Source knows the values of metrics.
type Source interface {
	// Tenants returns the ids of all tenants that are not erased.
	Tenants() []string
	// Values answers a question. Errors match alerting.ErrGone, or schemas.ErrUnavailable.
	Values(ctx context.Context, q Question) (Answer, error)
}

// RunnerLog is what a Runner needs of the event log; *eventlog.Log has it.
type RunnerLog interface{ alerting.EffectLog }

// RunnerConfig is what a Runner needs to know. The zero value of a limit takes the
// default.
type RunnerConfig struct {
	Rules *Set
	// TickEvery is how often rules by the minute are looked at. Default one minute.
	TickEvery time.Duration
	// Daily is when daily rules are looked at, as cron says it, in UTC. Default 09:00.
	Daily string
	// GroupsMax bounds the groups of one rule and tenant. Default 500: what a person can
	// act on.
	GroupsMax int
	// Workers is how many tenants are looked at side by side. Default 4: beside what
	// people ask of the warehouse.
	Workers int
	// RetryEvery is the pause before a tenant is looked at again whose values could not be
	// had. Default 5 seconds: a server that starts has them by then.
	RetryEvery time.Duration
	// LeaseEvery is the pause before the lease is asked for again. Default one second.
	LeaseEvery time.Duration
	// Lease says who decides; nil is this node, always.
	Lease alerting.Lease
	// Suspend ends a tenant's access for a rule; it must be harmless twice. nil does
	// nothing.
	Suspend func(ctx context.Context, tenant string, r *Rule) error
	Now     func() time.Time // default time.Now
	Metrics *RunnerMetrics
	Logger  zerolog.Logger
}

func (c RunnerConfig) withDefaults() RunnerConfig {
	if c.TickEvery == 0 {
		c.TickEvery = time.Minute
	}
	if c.Daily == "" {
		c.Daily = "0 9 * * *"
	}
	if c.GroupsMax == 0 {
		c.GroupsMax = 500
	}
	if c.Workers == 0 {
		c.Workers = 4
	}
	if c.RetryEvery == 0 {
		c.RetryEvery = 5 * time.Second
	}
	if c.LeaseEvery == 0 {
		c.LeaseEvery = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewRunnerMetrics(nil)
	}
	return c
}

// pending is a rule of a tenant whose condition holds and has not for long enough.
type pending struct{ tenant, rule string }

// A Runner looks at rules on their schedules, and decides which of their alerts fire and
// which are over. Two that run at once decide what one would.
type Runner struct {
	cfg     RunnerConfig
	daily   cron.Schedule
	decider *alerting.Decider
	log     RunnerLog
	book    *alerting.Book
	source  Source

	mu sync.Mutex
	// touched are tenants with something to look at.
	touched map[string]bool
	// since is when a condition began to hold that has to hold for a while, by tenant and
	// rule, and then by alert.
	since map[pending]map[string]time.Time
	// floor is the least episode that is free, of alerts whose episodes the book has
	// forgotten.
	floor map[string]int
	// failed are tenants whose values could not be had, with the schedule that they were
	// looked at on, and retry when to look again.
	failed map[string]Schedule
	retry  time.Time
	// due is when the first of since may fire.
	due  time.Time
	wake chan struct{} // has an item when there may be something to look at
}

// NewRunner returns a Runner that does nothing before Run. It panics on a Daily that
// cron cannot read.
func NewRunner(cfg RunnerConfig, log RunnerLog, book *alerting.Book, source Source) *Runner {
	cfg = cfg.withDefaults()
	daily, err := cron.ParseStandard(cfg.Daily)
	if err != nil {
		panic("rule: the daily schedule is wrong: " + err.Error())
	}
	return &Runner{cfg: cfg, daily: daily, decider: alerting.NewDecider(log), log: log, book: book, source: source,
		touched: map[string]bool{}, since: map[pending]map[string]time.Time{}, floor: map[string]int{}, failed: map[string]Schedule{}, wake: make(chan struct{}, 1)}
}

// Rules are those that run.
func (r *Runner) Rules() *Set { return r.cfg.Rules }

// Touch says that usage of tenants was counted, or that their limits were changed. It
// never waits.
func (r *Runner) Touch(tenants []string) {
	r.mu.Lock()
	for _, t := range tenants {
		r.touched[t] = true
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// leaseName is the lease of the node that runs rules.
const leaseName = "alert-rules"

// Run runs the rules while this node has the lease, until ctx ends, and returns nil then.
// It returns an error only for a lease that waiting does not give.
func (r *Runner) Run(ctx context.Context) error {
	select {
	case <-r.book.Ready():
	case <-ctx.Done():
		return nil
	}
	for ctx.Err() == nil {
		held, release, err := r.hold(ctx)
		switch {
		case err == nil:
			r.lead(held)
			release()
			continue
		case ctx.Err() != nil:
		case !errors.Is(err, schemas.ErrConflict) && !errors.Is(err, schemas.ErrUnavailable):
			return fmt.Errorf("take the lease of alert rules: %w", err)
		}
		wait(ctx, r.cfg.LeaseEvery, nil)
	}
	return nil
}

func (r *Runner) hold(ctx context.Context) (context.Context, func(), error) {
	if r.cfg.Lease == nil {
		return ctx, func() {}, nil
	}
	return r.cfg.Lease.Hold(ctx, leaseName)
}

// wait waits for d, for an item of wake, or until ctx ends.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// lead looks at everything at once, since what another node did not do is not known here,
// and then on schedule, until ctx, the lease, ends. Between two looks at what is touched
// it waits a little, so that a stream of events costs looks and not a look for each.
func (r *Runner) lead(ctx context.Context) {
	const touchedEvery = 200 * time.Millisecond
	r.mu.Lock()
	r.since, r.due = map[pending]map[string]time.Time{}, time.Time{}
	r.mu.Unlock()
	r.Sweep(ctx, Daily)
	now := r.cfg.Now().UTC()
	tick, daily := now.Add(r.cfg.TickEvery), r.daily.Next(now)
	for ctx.Err() == nil {
		now = r.cfg.Now().UTC()
		switch {
		case !now.Before(daily), daily.Sub(now) > 25*time.Hour: // or the clock was set back
			daily, tick = r.daily.Next(now), now.Add(r.cfg.TickEvery)
			r.Sweep(ctx, Daily)
		case !now.Before(tick), tick.Sub(now) > 2*r.cfg.TickEvery:
			tick = now.Add(r.cfg.TickEvery)
			r.Sweep(ctx, Minute)
		}
		r.lookAtTouched(ctx)
		r.lookAtFailed(ctx)
		wait(ctx, r.next(now, tick, daily), r.wake)
		wait(ctx, min(touchedEvery, r.cfg.TickEvery/4), nil)
	}
}

// Sweep looks at every tenant and the platform, at the rules of a schedule and of the more
// frequent ones.
func (r *Runner) Sweep(ctx context.Context, schedule Schedule) {
	r.mu.Lock()
	r.touched, r.due = map[string]bool{}, time.Time{}
	r.mu.Unlock()
	r.lookAll(ctx, append(r.source.Tenants(), ""), schedule)
}

// lookAtTouched looks at live rules of tenants that were touched, and of those for which
// a condition may have held long enough.
func (r *Runner) lookAtTouched(ctx context.Context) {
	r.mu.Lock()
	var tenants []string
	for t := range r.touched {
		tenants = append(tenants, t)
	}
	r.touched = map[string]bool{}
	if !r.due.IsZero() && !r.cfg.Now().Before(r.due) {
		r.mu.Unlock()
		r.Sweep(ctx, Minute)
		return
	}
	r.mu.Unlock()
	r.lookAll(ctx, tenants, Live)
}

func (r *Runner) lookAll(ctx context.Context, tenants []string, schedule Schedule) {
	var group errgroup.Group
	group.SetLimit(r.cfg.Workers)
	for _, t := range tenants {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			err := r.Look(ctx, t, schedule)
			if err != nil && ctx.Err() == nil && !errors.Is(err, alerting.ErrGone) {
				r.cfg.Metrics.looks.WithLabelValues("failed").Inc()
				r.lookAgain(t, schedule)
				r.cfg.Logger.Warn().Err(err).Str("tenant", t).Msg("alert rules of a tenant cannot be looked at, trying again")
				return nil
			}
			r.cfg.Metrics.looks.WithLabelValues("ok").Inc()
			return nil // one tenant's trouble is no other's
		})
	}
	_ = group.Wait() // it has no errors
}

// lookAgain notes a tenant that could not be looked at.
func (r *Runner) lookAgain(tenant string, schedule Schedule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.failed[tenant]; !ok || was.rank() < schedule.rank() {
		r.failed[tenant] = schedule
	}
	if r.retry.IsZero() {
		r.retry = r.cfg.Now().Add(r.cfg.RetryEvery)
	}
}

// lookAtFailed looks at the tenants that could not be looked at, once it is time.
func (r *Runner) lookAtFailed(ctx context.Context) {
	r.mu.Lock()
	now := r.cfg.Now()
	if r.retry.IsZero() || now.Before(r.retry) && r.retry.Sub(now) <= r.cfg.RetryEvery {
		r.mu.Unlock()
		return
	}
	tenants := map[Schedule][]string{}
	for t, schedule := range r.failed {
		tenants[schedule] = append(tenants[schedule], t)
	}
	r.failed, r.retry = map[string]Schedule{}, time.Time{}
	r.mu.Unlock()
	for schedule, list := range tenants {
		r.lookAll(ctx, list, schedule)
	}
}

// next is how long until there is something to do, if nothing is touched.
func (r *Runner) next(now time.Time, at ...time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.cfg.TickEvery
	for _, t := range append(at, r.due, r.retry) {
		if !t.IsZero() {
			d = min(d, t.Sub(now))
		}
	}
	return max(d, time.Millisecond)
}

// rulesOf returns the rules to look at for a tenant or the platform.
func (r *Runner) rulesOf(tenant string, schedule Schedule) []*Rule {
	var rules []*Rule
	for i := range r.cfg.Rules.Rules {
		rule := &r.cfg.Rules.Rules[i]
		if (rule.Scope == OfPlatform) == (tenant == "") && rule.Every.rank() <= schedule.rank() {
			rules = append(rules, rule)
		}
	}
	return rules
}

// ask asks what some rules need, each question once.
func (r *Runner) ask(ctx context.Context, tenant string, rules []*Rule) (map[string]Answer, error) {
	questions := map[string]*Question{}
	var order []string
	for _, rule := range rules {
		key := questionOf(rule)
		q := questions[key]
		if q == nil {
			q = &Question{Tenant: tenant, Scope: rule.Scope, GroupBy: rule.GroupBy, Window: rule.Window}
			questions[key] = q
			order = append(order, key)
		}
		for _, m := range rule.Condition.metrics {
			if !slices.Contains(q.Metrics, m.Name) {
				q.Metrics = append(q.Metrics, m.Name)
			}
		}
	}
	answers := make(map[string]Answer, len(order))
	for _, key := range order {
		answer, err := r.source.Values(ctx, *questions[key])
		if err != nil {
			return nil, err
		}
		slices.SortFunc(answer.Groups, func(a, b Group) int {
			return strings.Compare(a.Limit+"\x00"+a.Name, b.Limit+"\x00"+b.Name)
		})
		answers[key] = answer
	}
	return answers, nil
}

// questionOf is the same for rules that are answered by one question.
func questionOf(r *Rule) string {
	return fmt.Sprintf("%d %s %s", r.Scope, r.GroupBy, r.Window)
}
