package stripefake

import (
	"cmp"
	"strings"
	"time"
)

// The draft of a subscription, and any draft that advances by itself, is finalized an
// hour after every endpoint has taken invoice.created, and after 72 hours at the latest
// (/invoicing/integration/workflow-transitions).
const (
	draftHour = 3600
	draftMost = 72 * 3600
)

func createSubscription(r *request) (any, *apiError) {
	c, err := r.standing(r.form.Get("customer"))
	if err != nil {
		return nil, err
	}
	months := max(int(r.form.int("items[0][price_data][recurring][interval_count]")), 1)
	if r.form.Get("items[0][price_data][recurring][interval]") == "year" {
		months *= 12
	}
	now := r.now(r.s, c.ID)
	sub := &subscription{
		ID: r.newID("sub"), Object: "subscription", CollectionMethod: cmp.Or(r.form.Get("collection_method"), "charge_automatically"),
		Created: now, Currency: strings.ToLower(r.form.Get("currency")), CurrentPeriodStart: now, CurrentPeriodEnd: monthsAfter(now, months),
		Customer: c.ID, Livemode: r.live, Metadata: r.form.mergeMetadata(nil), Status: "active",
		amount: r.form.int("items[0][price_data][unit_amount]") * max(r.form.int("items[0][quantity]"), 1), months: months,
	}
	r.subscriptions[sub.ID] = sub
	r.emit(r.s, "customer.subscription.created", *sub, now)
	// The first invoice has no draft hour (/billing/subscriptions/overview).
	inv := r.bill(r.s, sub, "subscription_create", now)
	if sub.CollectionMethod == "charge_automatically" {
		r.finalize(r.s, inv)
	}
	return sub, nil
}

func monthsAfter(unix int64, months int) int64 {
	return time.Unix(unix, 0).UTC().AddDate(0, months, 0).Unix()
}

// bill makes a subscription's draft for the period that begins, with its pending items.
func (w *world) bill(s *Server, sub *subscription, reason string, now int64) *invoice {
	inv := &invoice{
		ID: w.newID("in"), Object: "invoice", AutoAdvance: true, BillingReason: reason, CollectionMethod: sub.CollectionMethod,
		Created: now, Currency: sub.Currency, Customer: sub.Customer, Livemode: w.live, Metadata: map[string]string{},
		PeriodStart: sub.CurrentPeriodStart, PeriodEnd: sub.CurrentPeriodStart, Status: "draft", Subscription: sub.ID,
	}
	inv.own = []line{{
		ID: w.newID("il"), Object: "line_item", Amount: sub.amount, Currency: sub.Currency, Description: "Subscription", Metadata: map[string]string{},
		Period: period{sub.CurrentPeriodStart, sub.CurrentPeriodEnd}, Quantity: 1, Subscription: sub.ID, Type: "subscription",
	}}
	w.invoices[inv.ID] = inv
	sub.LatestInvoice = inv.ID
	w.take(inv)
	w.sum(inv)
	inv.event = w.emit(s, "invoice.created", *w.show(inv), now)
	return inv
}

func getSubscription(r *request) (any, *apiError) {
	sub := r.subscriptions[r.id]
	if sub == nil {
		return nil, missing("subscription", r.id)
	}
	return sub, nil
}

func updateSubscription(r *request) (any, *apiError) {
	sub := r.subscriptions[r.id]
	if sub == nil {
		return nil, missing("subscription", r.id)
	}
	if r.form.Has("cancel_at_period_end") {
		sub.CancelAtPeriodEnd = r.form.bool("cancel_at_period_end")
	}
	sub.Metadata = r.form.mergeMetadata(sub.Metadata)
	r.emit(r.s, "customer.subscription.updated", *sub, r.now(r.s, sub.Customer))
	return sub, nil
}

func cancelSubscription(r *request) (any, *apiError) {
	sub := r.subscriptions[r.id]
	if sub == nil || sub.Status == "canceled" {
		return nil, missing("subscription", r.id)
	}
	r.cancel(r.s, sub)
	return sub, nil
}

func (w *world) cancel(s *Server, sub *subscription) {
	sub.Status, sub.CanceledAt = "canceled", w.now(s, sub.Customer)
	w.emit(s, "customer.subscription.deleted", *sub, sub.CanceledAt)
}

// tick does what time has made due: renewals, then drafts, then the events' end.
func (w *world) tick(s *Server) {
	for _, sub := range newest(w, w.subscriptions, func(sub *subscription) bool { return sub.Status == "active" }) {
		now := w.now(s, sub.Customer)
		for sub.Status == "active" && sub.CurrentPeriodEnd <= now {
			at := sub.CurrentPeriodEnd
			if sub.CancelAtPeriodEnd {
				w.cancel(s, sub)
				break
			}
			sub.CurrentPeriodStart, sub.CurrentPeriodEnd = at, monthsAfter(at, sub.months)
			w.emit(s, "customer.subscription.updated", *sub, at)
			w.bill(s, sub, "subscription_cycle", at)
		}
	}
	for _, inv := range newest(w, w.invoices, func(inv *invoice) bool { return inv.Status == "draft" && !inv.Deleted && inv.AutoAdvance }) {
		if now := w.now(s, inv.Customer); now >= w.finalizesAt(inv) {
			w.finalize(s, inv)
		}
	}
	w.forget(s.cfg.Now())
}

// finalizesAt is when a draft that advances by itself is finalized.
func (w *world) finalizesAt(inv *invoice) int64 {
	if inv.WebhooksDeliveredAt != 0 {
		return inv.WebhooksDeliveredAt + draftHour
	}
	for _, d := range w.deliveries {
		if d.event.ID == inv.event && !d.done {
			return inv.Created + draftMost
		}
	}
	return inv.Created + draftHour // nobody listens
}
