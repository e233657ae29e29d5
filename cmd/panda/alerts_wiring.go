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
	"github.com/agentik-os/panda/schemas"
)

// alerts are the parts that decide which alerts there are, and tell people.
type alerts struct {
	source    *alertSource
	book      *alerting.Book
	evaluator *alerting.Evaluator
	outbox    *outbox.Outbox
}

func (p *pipeline) newAlerts(channels channel.Config) (*alerts, error) {
	thresholds, err := parseThresholds(p.cfg.AlertThresholds)
	if err != nil {
		return nil, err
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
	return a, nil
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
	group.Go(func() error {
		return a.source.follow(ctx, func(ids []string) { a.evaluator.Touch(ids, time.Time{}) }, a.book.Forget)
	})
	return group.Wait()
}

// committed tells of what was counted, and when the oldest of it was acknowledged; zero
// if that is not known.
func (a *alerts) committed(rows []schemas.Accepted, acked time.Time) {
	a.evaluator.Touch(tenantsOf(rows), acked)
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
