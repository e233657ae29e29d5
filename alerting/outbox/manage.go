package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// Errors of an Outbox.
var (
	// ErrNotFound: there is no such delivery, or it is somebody else's.
	ErrNotFound = errors.New("there is no such delivery")
	// ErrNotDead: only what was given up can be sent again.
	ErrNotDead = fmt.Errorf("it was not given up: it is sent, or is going to be: %w", schemas.ErrConflict)
)

// DeliveriesMax is the most deliveries that one List returns.
const DeliveriesMax = 200

// A Query says which deliveries are looked for. Zero fields match everything, but for
// Tenant.
type Query struct {
	// Tenant is whose channels: a tenant's id, alerting.Platform, or alerting.Everyone.
	// "" finds nothing: who forgets to say whose, sees none.
	Tenant  string
	State   State
	Channel string
	Alert   string
	// After is a cursor: what Deliveries returned as next.
	After string
	// Max is how many at most; 0 is DeliveriesMax, more is DeliveriesMax.
	Max int
}

// Deliveries returns deliveries, the newest alert first, and where the list goes on, ""
// at its end. A cursor that is none finds nothing.
func (o *Outbox) Deliveries(q Query) (list []Delivery, next string) {
	limit := q.Max
	if limit <= 0 || limit > DeliveriesMax {
		limit = DeliveriesMax
	}
	before, beforeID := ^uint64(0), "\xff"
	if q.After != "" {
		text, id, _ := strings.Cut(q.After, "-")
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, ""
		}
		before, beforeID = seq, id
	}
	o.store.mu.RLock()
	for _, it := range o.store.items {
		d := &it.Delivery
		if (q.Tenant == alerting.Everyone || q.Tenant == d.Owner) && (q.State == "" || q.State == d.State) &&
			(q.Channel == "" || q.Channel == d.Channel) && (q.Alert == "" || q.Alert == d.Alert) &&
			(d.seq() < before || d.seq() == before && d.ID < beforeID) {
			list = append(list, *d)
		}
	}
	o.store.mu.RUnlock()
	slices.SortFunc(list, func(a, b Delivery) int { return cmp.Or(cmp.Compare(b.seq(), a.seq()), strings.Compare(b.ID, a.ID)) })
	if len(list) > limit {
		list = list[:limit]
		last := &list[limit-1]
		next = fmt.Sprintf("%d-%s", last.seq(), last.ID)
	}
	return list, next
}

// known refuses before everything is known.
func (o *Outbox) known() error {
	select {
	case <-o.ready:
		return nil
	default:
		return fmt.Errorf("deliveries are being loaded: %w", schemas.ErrUnavailable)
	}
}

// Get returns a delivery of a tenant's, of alerting.Platform's, or of alerting.Everyone's
// channels.
func (o *Outbox) Get(tenant, id string) (Delivery, bool) {
	d, ok := o.store.get(id)
	if !ok || tenant != alerting.Everyone && tenant != d.Owner {
		return Delivery{}, false
	}
	return d.Delivery, true
}

// Replay has a delivery that was given up sent again, with the id that it had. tenant is
// whose channel it must be, as in Query.
//
// Errors: ErrNotFound, ErrNotDead, schemas.ErrConflict (somebody changed it at the same
// moment), schemas.ErrUnavailable.
func (o *Outbox) Replay(ctx context.Context, tenant, id string) (Delivery, error) {
	if err := o.known(); err != nil {
		return Delivery{}, err
	}
	d, ok := o.store.get(id)
	if !ok || tenant != alerting.Everyone && tenant != d.Owner {
		return Delivery{}, ErrNotFound
	}
	if d.State != Dead {
		return d.Delivery, ErrNotDead
	}
	err := o.store.update(ctx, d.item, func(d *Delivery) {
		d.State, d.NotBefore, d.EndedAt, d.FirstTriedAt, d.Attempts = Pending, time.Time{}, time.Time{}, time.Time{}, 0
		d.Reason = "somebody asked for it to be sent again"
	})
	if err != nil {
		return Delivery{}, fmt.Errorf("send %s again: %w", id, err)
	}
	d, _ = o.store.get(id)
	return d.Delivery, nil
}

// Test sends a test to a channel of a tenant, or of the platform for "", now and once,
// and returns how it went: Sent, or Dead with the reason. An e-mail goes to each address by
// itself, until one fails. It is kept nowhere. err is that there is no such channel.
func (o *Outbox) Test(ctx context.Context, tenant, id string) (Delivery, error) {
	to, err := o.cfg.Contacts.Channel(tenant, id)
	if err != nil {
		return Delivery{}, err
	}
	now := o.cfg.Now().UTC()
	d := Delivery{Version: deliveryVersion, ID: "dlv_test" + strings.ToLower(rand.Text()), Owner: ownerOf(tenant), About: ownerOf(tenant),
		Channel: id, To: strings.Join(to.To, ","), Severity: alerting.SeverityInfo, State: Sent, Attempts: 1, CreatedAt: now}
	receivers := to.To
	if len(receivers) == 0 {
		receivers = []string{""}
	}
	for i, address := range receivers {
		m := alerting.TestMessage(o.cfg.Render, fmt.Sprintf("%s-%d", d.ID, i), address, to.Name, now)
		if err := to.Send(ctx, &m); err != nil {
			d.State, d.Reason = Dead, shorten(err.Error())
			break
		}
	}
	d.EndedAt = o.cfg.Now().UTC()
	return d, nil
}

// Erase removes what was delivered to a tenant or about it, and returns how many deliveries
// went. It can be repeated. The records themselves are erased by others, before. What is
// left is a mark per delivery, which holds ids alone; the broker gives the room of what was
// there back by itself, and until then the bytes are in a file that nothing reads.
//
// Errors: schemas.ErrUnavailable.
func (o *Outbox) Erase(ctx context.Context, tenant string) (int, error) {
	if err := o.known(); err != nil {
		return 0, err
	}
	list := o.store.pick(func(d *Delivery) bool { return d.Owner == tenant || d.About == tenant })
	return len(list), o.store.remove(ctx, list)
}
