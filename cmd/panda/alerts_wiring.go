package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/alerting/outbox"
	"github.com/agentik-os/panda/alerting/rule"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// alerts are the parts that decide which alerts there are, and tell people.
type alerts struct {
	source    *alertSource
	book      *alerting.Book
	evaluator *alerting.Evaluator
	outbox    *outbox.Outbox
	runner    *rule.Runner
}

func (p *pipeline) newAlerts(channels channel.Config) (*alerts, error) {
	thresholds, err := parseThresholds(p.cfg.AlertThresholds)
	if err != nil {
		return nil, err
	}
	rules, err := p.cfg.rules()
	if err != nil {
		return nil, err
	}
	if rules.Thresholds != nil {
		thresholds = rules.Thresholds
	}
	a := &alerts{source: newAlertSource(p)}
	a.book = alerting.NewBook(alerting.BookConfig{Logger: p.logger.With().Str("part", "alerts").Logger()}, p.log)
	a.evaluator = alerting.NewEvaluator(alerting.EvaluatorConfig{
		Thresholds: thresholds, Lease: alertLease{p.log}, Metrics: alerting.NewEvaluatorMetrics(p.metrics),
		Logger: p.logger.With().Str("part", "alerts").Logger(),
	}, p.log, a.book, a.source)
	a.outbox = outbox.New(outbox.Config{
		Contacts: alertContacts{p.registry, channels}, Render: alerting.RenderConfig{PublicURL: channels.PublicURL},
		Lease: alertLease{p.log}, Metrics: outbox.NewMetrics(p.metrics), Logger: p.logger.With().Str("part", "outbox").Logger(),
	}, p.log)
	a.runner = rule.NewRunner(rule.RunnerConfig{
		Rules: rules, Lease: alertLease{p.log}, Suspend: p.suspendBy, Metrics: rule.NewRunnerMetrics(p.metrics),
		Logger: p.logger.With().Str("part", "alert-rules").Logger(),
	}, p.log, a.book, newRuleSource(p, a.source))
	return a, nil
}

// rules returns the alert rules of the settings: the built-in ones, and those of the file,
// which take the places of built-in ones of their names.
func (c *Config) rules() (*rule.Set, error) {
	base := &rule.Set{}
	if c.AlertHealth {
		base = rule.Health()
	}
	if c.AlertRules == "" {
		return base, nil
	}
	own, err := readRules(c.AlertRules, nil)
	if err != nil {
		return nil, err
	}
	return own.Over(base), nil
}

// suspendBy ends a tenant's access because a rule says so. Of one that is suspended
// nothing is recorded.
func (p *pipeline) suspendBy(ctx context.Context, tenant string, r *rule.Rule) error {
	_, err := p.registry.Suspend(ctx, tenancy.Actor{ID: "rule " + r.Name}, tenant, 0, "alert rule "+r.Name+": "+strings.Join(strings.Fields(r.Condition.String()), " "))
	return err
}

// sweep has everybody looked at, because totals were made anew.
func (a *alerts) sweep() {
	a.evaluator.Sweep()
	a.runner.Touch(a.source.Tenants())
}

// run keeps the book, decides and tells, until ctx ends.
func (a *alerts) run(ctx context.Context) error {
	select {
	case <-a.source.registry.Ready():
	case <-ctx.Done():
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.book.Run(ctx) })
	group.Go(func() error { return a.evaluator.Run(ctx) })
	group.Go(func() error { return a.outbox.Run(ctx) })
	group.Go(func() error { return a.runner.Run(ctx) })
	group.Go(func() error {
		return a.source.follow(ctx, func(ids []string) {
			a.evaluator.Touch(ids, time.Time{})
			a.runner.Touch(ids)
		}, a.book.Forget)
	})
	return group.Wait()
}

// committed tells of what was counted, and when the oldest of it was acknowledged; zero
// if that is not known.
func (a *alerts) committed(rows []schemas.Accepted, acked time.Time) {
	tenants := tenantsOf(rows)
	a.evaluator.Touch(tenants, acked)
	a.runner.Touch(tenants)
}

// parseThresholds reads the setting: percents with commas between.
func parseThresholds(text string) ([]int, error) {
	var list []int
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(word), "%"))
		if err != nil {
			return nil, schemas.Invalid("/alert_thresholds", schemas.CodeMalformed, "%q is no list of percents such as 80,90,100", text)
		}
		list = append(list, n)
	}
	if err := alerting.CheckThresholds(list); err != nil {
		return nil, err
	}
	return list, nil
}
