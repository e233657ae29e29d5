package outbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// tidyEvery is how often what ended long ago is taken away, and digests are looked after.
const tidyEvery = 10 * time.Minute

// deliver sends what is due until ctx ends.
func (o *Outbox) deliver(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	// Digests that the node before did not finish.
	if err := o.heal(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(o.cfg.LookEvery)
	defer tick.Stop()
	tidied := o.cfg.Now()
	for {
		now := o.cfg.Now().UTC()
		if now.Sub(tidied).Abs() >= tidyEvery {
			tidied = now
			if err := errors.Join(o.heal(ctx), o.prune(ctx, now)); err != nil {
				return err
			}
		}
		if err := o.bundle(ctx, now); err != nil {
			return err
		}
		for _, it := range o.store.take(now, o.cfg.PerChannelMax, o.cfg.TotalMax) {
			work.Go(func() {
				defer o.store.done(it)
				o.send(ctx, it)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-o.store.wake:
		}
	}
}

// take returns what is due, marked as busy. Of one incident at one place only the oldest
// is on its way: what is resolved must not overtake what fired.
func (s *store) take(now time.Time, perChannelMax, totalMax int) (list []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := make([]*item, 0, len(s.active))
	for it := range s.active {
		order = append(order, it)
	}
	busy, total := map[string]int{}, len(s.busy)
	for it := range s.busy {
		busy[it.Owner+"/"+it.Channel]++
	}
	slices.SortFunc(order, func(a, b *item) int { return inOrder(&a.Delivery, &b.Delivery) })
	before := map[string]bool{}
	for _, it := range order {
		incident, where := it.place()+"/"+it.Incident, it.Owner+"/"+it.Channel
		blocked := before[incident]
		before[incident] = true
		if blocked || s.busy[it] || it.Bundle && it.State == Waiting || !it.due(now) || now.Before(it.hold) && it.hold.Sub(now) < time.Minute {
			continue
		}
		if busy[where] >= perChannelMax || total >= totalMax {
			continue
		}
		busy[where]++
		total++
		s.busy[it] = true
		list = append(list, it)
	}
	return list
}

func (s *store) done(it *item) {
	s.mu.Lock()
	delete(s.busy, it)
	s.mu.Unlock()
	s.nudge()
}

// send tries a delivery once and notes how it went. What is not noted is tried again.
func (o *Outbox) send(ctx context.Context, it *item) {
	o.store.mu.RLock()
	d := it.Delivery
	o.store.mu.RUnlock()
	records, err := o.records(ctx, &d)
	if err != nil {
		o.later(it, err)
		return
	}
	if len(records) == 0 { // erased
		if err := o.store.remove(ctx, []found{{d, it}}); err != nil {
			o.later(it, err)
		}
		return
	}
	to, err := o.cfg.Contacts.Channel(tenantOf(d.Owner), d.Channel)
	if err == nil && d.State == Waiting && to.Quiet != nil {
		if until := to.Quiet(o.cfg.Now()); !until.IsZero() {
			o.note(ctx, it, func(d *Delivery) { d.NotBefore, d.Reason = until.UTC(), quietReason })
			return
		}
	}
	if err == nil {
		m := alerting.Render(o.cfg.Render, d.ID, d.To, records)
		err = to.Send(ctx, &m)
	}
	if ctx.Err() != nil && err != nil {
		return // it may have arrived; whoever leads next sends it again, with this id
	}
	now := o.cfg.Now().UTC()
	if err == nil {
		o.cfg.Metrics.sent(&d, now)
		o.note(ctx, it, func(d *Delivery) { d.State, d.EndedAt, d.NotBefore, d.Reason = Sent, now, time.Time{}, "" })
		return
	}
	d.failed(err, now)
	outcome := "failed"
	if d.State == Dead {
		outcome = "dead"
		o.cfg.Logger.Error().Str("delivery", d.ID).Str("owner", d.Owner).Str("channel", d.Channel).Str("why", d.Reason).
			Msg("message about an alert was given up; replay it when the channel works again")
	}
	o.cfg.Metrics.count(&d, outcome)
	o.note(ctx, it, func(d *Delivery) { d.failed(err, now) })
}

// note writes how a try went, and does not give up before ctx ends: what was sent and is
// not marked would be sent again.
func (o *Outbox) note(ctx context.Context, it *item, change func(*Delivery)) {
	for {
		err := o.store.update(ctx, it, change)
		switch {
		case err == nil, errors.Is(err, schemas.ErrConflict), errors.Is(err, eventlog.ErrNotFound):
			return // or somebody else changed it: an erasure, or the node that leads now
		case ctx.Err() != nil:
			return
		}
		o.cfg.Logger.Warn().Err(err).Msg("how a message about an alert went cannot be noted, trying again")
		if !pause(ctx, min(o.cfg.RetryEvery, time.Second)) {
			return
		}
	}
}

// later holds back what could not even be tried.
func (o *Outbox) later(it *item, err error) {
	o.cfg.Logger.Warn().Err(err).Msg("a message about an alert cannot be tried, trying again")
	o.store.mu.Lock()
	it.hold = o.cfg.Now().Add(o.cfg.RetryEvery)
	o.store.mu.Unlock()
}

// records reads what a delivery is about; what was erased is left out.
func (o *Outbox) records(ctx context.Context, d *Delivery) (records []alerting.Record, err error) {
	for _, ref := range d.Records {
		found, ok, err := o.log.LastForSubject(ctx, schemas.StreamDecisions, ref.Subject)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		var r alerting.Record
		if err := json.Unmarshal(found.Data, &r); err != nil {
			return nil, fmt.Errorf("decode record of %s: %w", d.ID, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// bundle makes digests of what waits for them and is due. First its parts say that they
// belong to it, then it is made: a crash in between leaves parts that heal finds.
func (o *Outbox) bundle(ctx context.Context, now time.Time) error {
	for _, parts := range o.store.bundles(now, o.cfg.DigestMax) {
		first := &parts[0].Delivery
		if to, err := o.cfg.Contacts.Channel(tenantOf(first.Owner), first.Channel); err == nil && to.Quiet != nil && !to.Quiet(now).IsZero() {
			continue // the night comes first
		}
		if len(parts) == 1 {
			err := o.store.update(ctx, parts[0].item, func(d *Delivery) { d.State, d.Bundle = Pending, false })
			if err != nil && !errors.Is(err, schemas.ErrConflict) && !errors.Is(err, eventlog.ErrNotFound) {
				return err
			}
			continue
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s", first.ID, first.NotBefore.UTC().Format(time.RFC3339Nano)))
		id := "dlv_" + hex.EncodeToString(sum[:12])
		var joined []found
		for _, part := range parts {
			err := o.store.update(ctx, part.item, func(d *Delivery) {
				d.State, d.Digest, d.EndedAt, d.Reason = Joined, id, now, "it is part of a digest"
			})
			switch {
			case err == nil:
				joined = append(joined, part)
			case !errors.Is(err, schemas.ErrConflict) && !errors.Is(err, eventlog.ErrNotFound):
				return err
			}
		}
		if len(joined) == 0 {
			continue
		}
		if err := o.digest(ctx, id, joined, now); err != nil {
			return err
		}
	}
	return nil
}

// digest makes the delivery of several.
func (o *Outbox) digest(ctx context.Context, id string, parts []found, now time.Time) error {
	d := parts[0].Delivery
	d.Records = nil
	for i := range parts {
		d.Records = append(d.Records, parts[i].Records...)
		if parts[i].Severity.Rank() > d.Severity.Rank() {
			d.Severity = parts[i].Severity
		}
		if parts[i].About != d.About {
			d.About = d.Owner // of several tenants: the platform's
		}
	}
	d.ID, d.Incident, d.State, d.Reason, d.Digest, d.Bundle = id, id, Pending, "", "", false
	d.CreatedAt, d.NotBefore, d.EndedAt, d.AckedAt = now, time.Time{}, time.Time{}, time.Time{}
	return o.store.create(ctx, &d)
}

// bundles returns what waits for a digest and is due, by receiver, each in order.
func (s *store) bundles(now time.Time, partsMax int) (lists [][]found) {
	by := map[string][]found{}
	s.mu.RLock()
	for it := range s.active {
		if it.Bundle && it.State == Waiting && it.due(now) {
			by[it.place()] = append(by[it.place()], found{it.Delivery, it})
		}
	}
	s.mu.RUnlock()
	for _, list := range by {
		slices.SortFunc(list, func(a, b found) int { return inOrder(&a.Delivery, &b.Delivery) })
		lists = append(lists, list[:min(len(list), partsMax)]) // the rest with the next look
	}
	return lists
}

// heal looks after digests that were not finished: it makes the one that its parts name
// and that is not there, and lets go of parts that one was made without.
func (o *Outbox) heal(ctx context.Context) error {
	now := o.cfg.Now().UTC()
	by := map[string][]found{}
	for _, part := range o.store.pick(func(d *Delivery) bool { return d.State == Joined && now.Sub(d.EndedAt) < giveUpAfter }) {
		by[part.Digest] = append(by[part.Digest], part)
	}
	for id, parts := range by {
		made, there := o.store.get(id)
		if !there {
			if err := o.digest(ctx, id, parts, now); err != nil {
				return err
			}
			continue
		}
		for _, part := range parts {
			if slices.ContainsFunc(made.Records, func(r Ref) bool { return r.Subject == part.Records[0].Subject }) {
				continue
			}
			err := o.store.update(ctx, part.item, func(d *Delivery) { d.State, d.Digest, d.EndedAt, d.Bundle = Pending, "", time.Time{}, false })
			if err != nil && !errors.Is(err, schemas.ErrConflict) && !errors.Is(err, eventlog.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// prune takes away what ended long ago, parts of digests before the digests.
func (o *Outbox) prune(ctx context.Context, now time.Time) error {
	old := func(joined bool) []found {
		return o.store.pick(func(d *Delivery) bool {
			keep := o.cfg.KeepFor
			if d.State == Dead {
				keep *= 3
			}
			return d.State.ended() && joined == (d.State == Joined) && now.Sub(d.EndedAt) > keep
		})
	}
	return errors.Join(o.store.remove(ctx, old(true)), o.store.remove(ctx, old(false)))
}

func tenantOf(owner string) string {
	if owner == alerting.Platform {
		return ""
	}
	return owner
}
