package rule

import (
	"context"
	"errors"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// A look is one look at a tenant, or at the platform.
type look struct {
	*Runner
	tenant string
	now    time.Time
	held   map[string]alerting.Held
	unread map[string]bool
	newest uint64 // position of the newest record that stands for it
}

// Look looks at the rules of a tenant, or of the platform for "", of a schedule and of the
// more frequent ones, and decides what is due. After an error what was not decided is
// found again by the next look.
func (r *Runner) Look(ctx context.Context, tenant string, schedule Schedule) error {
	l := &look{Runner: r, tenant: tenant, now: r.cfg.Now().UTC()}
	l.held, l.unread = r.book.Episodes(tenant)
	rules := r.rulesOf(tenant, schedule)
	answers, err := r.ask(ctx, tenant, rules)
	if err != nil {
		return err
	}
	err = l.removed(ctx)
	for _, rule := range rules {
		answer := answers[questionOf(rule)]
		err = errors.Join(err, l.rule(ctx, rule, &answer))
	}
	if l.newest > 0 {
		// A book that is behind costs decisions that are refused, and nothing else.
		_ = r.book.WaitFor(ctx, l.newest)
	}
	return err
}

// removed ends the alerts of rules that there are no more, or that are others now.
func (l *look) removed(ctx context.Context) error {
	hashes := map[string]string{}
	for i := range l.cfg.Rules.Rules {
		hashes[l.cfg.Rules.Rules[i].Name] = l.cfg.Rules.Rules[i].Hash()
	}
	var errs []error
	for id, h := range l.held {
		if h.State == alerting.Firing && hashes[h.Identity.Rule] != h.Identity.RuleHash && !l.unread[id] {
			errs = append(errs, l.decide(ctx, &alerting.Record{Alert: id, Episode: h.Episode, Kind: alerting.Resolved, Identity: h.Identity,
				Severity: alerting.SeverityInfo, Cause: alerting.ByRule, At: l.now, AsOf: h.AsOf}))
		}
	}
	return errors.Join(errs...)
}

// rule looks at one rule: at each group of the answer, and at the alerts that fire for
// groups that it has no more.
func (l *look) rule(ctx context.Context, rule *Rule, answer *Answer) error {
	hash := rule.Hash()
	seen, waits := map[string]bool{}, map[string]bool{}
	room := l.cfg.GroupsMax
	for id, h := range l.held {
		if h.State == alerting.Firing && h.Identity.Rule == rule.Name && h.Identity.RuleHash == hash && !l.unread[id] {
			room-- // what fires is looked at in any case
		}
	}
	var errs []error
	for i := range answer.Groups {
		g := &answer.Groups[i]
		identity := alerting.Identity{Tenant: l.tenant, Rule: rule.Name, RuleHash: hash, Limit: g.Limit, Name: g.Name}
		id := identity.ID()
		seen[id] = true
		if l.unread[id] {
			continue
		}
		h, known := l.held[id]
		firing := known && h.State == alerting.Firing
		holds := rule.Condition.Holds(g.Values)
		if holds && !firing {
			if room--; room < 0 {
				l.cfg.Metrics.left.Inc()
				continue
			}
			waits[id] = !answer.Quiet
		}
		errs = append(errs, l.group(ctx, rule, answer, g, &identity, h, known, holds))
	}
	for id, h := range l.held {
		if h.State == alerting.Firing && h.Identity.Rule == rule.Name && h.Identity.RuleHash == hash && !seen[id] && !l.unread[id] {
			errs = append(errs, l.group(ctx, rule, answer, &Group{Name: h.Identity.Name, Limit: h.Identity.Limit}, &h.Identity, h, true, false))
		}
	}
	l.forget(rule, waits)
	return errors.Join(errs...)
}

// group decides about one alert.
func (l *look) group(ctx context.Context, rule *Rule, answer *Answer, g *Group, identity *alerting.Identity, h alerting.Held, known, holds bool) error {
	id := identity.ID()
	firing := known && h.State == alerting.Firing
	record := alerting.Record{Alert: id, Episode: h.Episode, Identity: *identity, Severity: rule.Severity, At: l.now, AsOf: answer.AsOf,
		Facts: alerting.Facts{TenantName: answer.TenantName, TenantSlug: answer.TenantSlug, Condition: rule.Condition.String(),
			Values: rule.Condition.Shown(g.Values), Actions: rule.Actions}}
	switch {
	case known && answer.AsOf < h.AsOf:
		return nil // these numbers are older than those that it was decided by
	case holds && firing:
		return l.effects(ctx, rule, identity, h.Episode)
	case firing:
		record.Kind, record.Cause = alerting.Resolved, alerting.ByCondition
		return l.decide(ctx, &record)
	case !holds:
		return nil
	case answer.Quiet, !l.longEnough(rule, id):
		return nil
	}
	record.Kind = alerting.Fired
	if known {
		record.Episode = h.Episode + 1
	}
	return l.fire(ctx, rule, &record)
}

// fire decides a new episode. Where one stands that the book has forgotten, because it is
// old, the one after it is tried.
func (l *look) fire(ctx context.Context, rule *Rule, record *alerting.Record) error {
	const triesMax = 100 // the next look goes on
	l.mu.Lock()
	record.Episode = max(record.Episode, l.floor[record.Alert])
	l.mu.Unlock()
	for range triesMax {
		decided, seq, err := l.decider.DecideAt(ctx, *record)
		if err != nil {
			return err
		}
		l.newest = max(l.newest, seq)
		if decided {
			l.cfg.Metrics.decided.WithLabelValues(string(record.Kind)).Inc()
			return l.effects(ctx, rule, &record.Identity, record.Episode)
		}
		if err := l.book.WaitFor(ctx, seq); err != nil {
			return err
		}
		newest, _ := l.book.Episodes(l.tenant)
		if h, known := newest[record.Alert]; known && h.Episode >= record.Episode {
			return nil // another node was first; the next look knows
		}
		record.Episode++
		l.mu.Lock()
		l.floor[record.Alert] = record.Episode
		l.mu.Unlock()
	}
	return nil
}

// decide decides a record; one that stands already is no error.
func (l *look) decide(ctx context.Context, record *alerting.Record) error {
	decided, seq, err := l.decider.DecideAt(ctx, *record)
	if err != nil {
		return err
	}
	l.newest = max(l.newest, seq)
	if decided {
		l.cfg.Metrics.decided.WithLabelValues(string(record.Kind)).Inc()
	}
	return nil
}

// effects does what a rule does beside telling people.
func (l *look) effects(ctx context.Context, rule *Rule, identity *alerting.Identity, episode int) error {
	if !rule.Does(alerting.SuspendTenant) || l.cfg.Suspend == nil || l.tenant == "" {
		return nil
	}
	return alerting.Once(ctx, l.log, identity, episode, alerting.SuspendTenant, func(ctx context.Context) error {
		err := l.cfg.Suspend(ctx, l.tenant, rule)
		if errors.Is(err, schemas.ErrConflict) {
			return nil // it is deleted: it has no access
		}
		return err
	})
}

// longEnough notes that a condition holds, and reports whether it has for d. A clock that
// was set back begins anew.
func (l *look) longEnough(rule *Rule, id string) bool {
	if rule.For == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.since[pending{l.tenant, rule.Name}]
	if of == nil {
		of = map[string]time.Time{}
		l.since[pending{l.tenant, rule.Name}] = of
	}
	since, ok := of[id]
	if !ok || since.After(l.now) {
		since = l.now
		of[id] = since
	}
	if due := since.Add(rule.For); l.now.Before(due) {
		if l.due.IsZero() || due.Before(l.due) {
			l.due = due
		}
		return false
	}
	return true
}

// forget drops since when conditions hold, but those of some alerts.
func (l *look) forget(rule *Rule, but map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := pending{l.tenant, rule.Name}
	for id := range l.since[key] {
		if !but[id] {
			delete(l.since[key], id)
		}
	}
	if len(l.since[key]) == 0 {
		delete(l.since, key)
	}
}
