package alerting

import (
	"context"
	"strconv"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// Episodes returns, by id, the newest episode of every rule's alert of a tenant, or of the
// platform for "", and the alerts with a record that this version cannot read: nothing
// more is decided about them.
func (b *Book) Episodes(tenant string) (newest map[string]Held, unread map[string]bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	newest, unread = map[string]Held{}, map[string]bool{}
	o := b.pages.owners[ownerOf(tenant)]
	if o == nil {
		return newest, unread
	}
	for id, of := range o.newest {
		if of.identity.Rule != RuleThreshold {
			newest[id] = Held{Identity: of.identity, State: of.state(), Episode: max(of.episode, 0), Since: of.since, AsOf: of.asOf}
		}
	}
	for id := range o.opaque {
		unread[id] = true
	}
	return newest, unread
}

// DecideAt is Decide with the position of the record that stands.
func (d *Decider) DecideAt(ctx context.Context, r Record) (decided bool, seq uint64, err error) {
	return d.decide(ctx, &r)
}

// EffectLog is what an effect of an alert needs of the event log; *eventlog.Log has it.
type EffectLog interface {
	DecisionLog
	LastForSubject(ctx context.Context, stream, subject string) (eventlog.Record, bool, error)
}

// Once runs an effect of one episode of an alert, and notes on the log that it was done.
// An effect that was noted is not run again, on any node. One that was run and could not
// be noted may be run again: it must be harmless twice.
func Once(ctx context.Context, log EffectLog, i *Identity, episode int, effect Action, run func(ctx context.Context) error) error {
	subject := "decision." + ownerOf(i.Tenant) + ".effect." + i.ID() + "." + strconv.Itoa(episode) + "." + string(effect)
	_, done, err := log.LastForSubject(ctx, schemas.StreamDecisions, subject)
	if err != nil || done {
		return err
	}
	if err := run(ctx); err != nil {
		return err
	}
	_, _, err = log.Decide(ctx, subject, []byte("{}"))
	return err
}
