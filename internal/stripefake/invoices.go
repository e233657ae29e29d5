package stripefake

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// linesOf returns what is on an invoice: the subscription's own lines first, then the
// items in the order in which they were added.
func (w *world) linesOf(inv *invoice) []line {
	lines := append([]line(nil), inv.own...)
	var items []*item
	for _, it := range w.items {
		if it.Invoice == inv.ID {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(w.order[a.ID], w.order[b.ID]) })
	for _, it := range items {
		lines = append(lines, line{
			ID: it.line, Object: "line_item", Amount: it.Amount, Currency: it.Currency, Description: it.Description,
			InvoiceItem: it.ID, Metadata: it.Metadata, Period: it.Period, Quantity: it.Quantity, Subscription: it.Subscription, Type: "invoiceitem",
		})
	}
	return lines
}

// sum brings the totals of a draft up to date.
func (w *world) sum(inv *invoice) {
	if inv == nil || inv.Status != "draft" {
		return
	}
	inv.Subtotal = 0
	for _, l := range w.linesOf(inv) {
		inv.Subtotal += l.Amount
	}
	inv.Total = inv.Subtotal
	inv.AmountDue = max(inv.Total, 0)
	inv.AmountRemaining = inv.AmountDue
}

// show returns an invoice as it is answered: with the first page of its lines (/api/invoices).
func (w *world) show(inv *invoice) *invoice {
	v := *inv
	v.Metadata = make(map[string]string, len(inv.Metadata))
	for k, s := range inv.Metadata {
		v.Metadata[k] = s
	}
	lines := w.linesOf(inv)
	v.Lines = &page{
		Object: "list", Data: lines[:min(pageDefault, len(lines))], HasMore: len(lines) > pageDefault,
		TotalCount: len(lines), URL: "/v1/invoices/" + inv.ID + "/lines",
	}
	return &v
}

func createInvoice(r *request) (any, *apiError) {
	c, err := r.standing(r.form.Get("customer"))
	if err != nil {
		return nil, err
	}
	method := cmp.Or(r.form.Get("collection_method"), "charge_automatically")
	now := r.now(r.s, c.ID)
	inv := &invoice{
		Object: "invoice", AutoAdvance: r.form.bool("auto_advance"), BillingReason: "manual", CollectionMethod: method,
		Created: now, Currency: strings.ToLower(cmp.Or(r.form.Get("currency"), c.Currency, "usd")), Customer: c.ID,
		Description: r.form.Get("description"), Livemode: r.live, Metadata: r.form.mergeMetadata(nil), PeriodStart: now, PeriodEnd: now, Status: "draft",
	}
	switch {
	case method == "send_invoice" && !r.form.Has("days_until_due") && !r.form.Has("due_date"):
		return nil, invalid("parameter_missing", "days_until_due", "days_until_due or due_date is required for send_invoice.") // spec
	case r.form.Has("days_until_due"):
		inv.DueDate = now + r.form.int("days_until_due")*86400
	case r.form.Has("due_date"):
		inv.DueDate = r.form.int("due_date")
	}
	inv.ID = r.newID("in")
	r.invoices[inv.ID] = inv
	// The default is "exclude" since 2022-08-01 (spec).
	if r.form.Get("pending_invoice_items_behavior") == "include" {
		r.take(inv)
	}
	r.sum(inv)
	inv.event = r.emit(r.s, "invoice.created", *r.show(inv), now)
	return r.show(inv), nil
}

// take puts the customer's pending items on an invoice (/invoicing/integration).
func (w *world) take(inv *invoice) {
	for _, it := range newest(w, w.items, func(it *item) bool {
		return it.Invoice == "" && it.Customer == inv.Customer && it.Currency == inv.Currency
	}) {
		it.Invoice = inv.ID
	}
}

func (r *request) invoice() (*invoice, *apiError) {
	inv := r.invoices[r.id]
	if inv == nil || inv.Deleted {
		return nil, missing("invoice", r.id)
	}
	return inv, nil
}

func getInvoice(r *request) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	return r.show(inv), nil
}

func listInvoices(r *request) (any, *apiError) {
	f := r.form
	all := newest(r.world, r.invoices, func(inv *invoice) bool {
		return !inv.Deleted && (f.Get("customer") == "" || inv.Customer == f.Get("customer")) &&
			(f.Get("status") == "" || inv.Status == f.Get("status")) &&
			(f.Get("subscription") == "" || inv.Subscription == f.Get("subscription")) &&
			(!f.Has("created[gte]") || inv.Created >= f.int("created[gte]")) &&
			(!f.Has("created[lte]") || inv.Created <= f.int("created[lte]"))
	})
	shown := make([]*invoice, len(all))
	for i, inv := range all {
		shown[i] = r.show(inv)
	}
	return listOf(r, shown, func(inv *invoice) string { return inv.ID })
}

func listLines(r *request) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	return listOf(r, r.linesOf(inv), func(l line) string { return l.ID })
}

func updateInvoice(r *request) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	if inv.Status != "draft" && (r.form.Has("description") || r.form.Has("collection_method")) {
		return nil, invalid("invoice_not_editable", "", "This invoice is not editable: its status is %s.", inv.Status) // /invoicing/invoice-edits
	}
	if r.form.Has("auto_advance") {
		inv.AutoAdvance = r.form.bool("auto_advance")
	}
	if r.form.Has("description") {
		inv.Description = r.form.Get("description")
	}
	inv.Metadata = r.form.mergeMetadata(inv.Metadata)
	r.emit(r.s, "invoice.updated", *r.show(inv), r.now(r.s, inv.Customer))
	return r.show(inv), nil
}

// deleteInvoice takes a one-off draft away, with its items; those of a subscription and
// those that are no drafts any more can only be voided (/api/invoices/delete).
func deleteInvoice(r *request) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	if inv.Status != "draft" || inv.Subscription != "" {
		return nil, invalid("", "", "You can only delete draft invoices that are not part of a subscription.")
	}
	for id, it := range r.items {
		if it.Invoice == inv.ID {
			delete(r.items, id)
		}
	}
	inv.Deleted = true
	r.emit(r.s, "invoice.deleted", *r.show(inv), r.now(r.s, inv.Customer))
	return map[string]any{"id": inv.ID, "object": "invoice", "deleted": true}, nil
}

func finalizeInvoice(r *request) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	if inv.Status != "draft" {
		return nil, invalid("invoice_not_editable", "", "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
	}
	if r.form.Has("auto_advance") {
		inv.AutoAdvance = r.form.bool("auto_advance")
	}
	r.finalize(r.s, inv)
	return r.show(inv), nil
}

// minimumCharge is the least that is collected, in minor units of USD; less is moved to
// the customer's balance and the invoice is paid (/api/invoices, /currencies). Of the
// other currencies the fake knows no minimum.
const minimumCharge = 50

// finalize freezes an invoice. The customer's balance is applied; nothing or less to pay
// makes it paid, and what is less goes to the balance (/invoicing/customer/balance).
func (w *world) finalize(s *Server, inv *invoice) {
	w.sum(inv)
	c, now := w.customers[inv.Customer], w.now(s, inv.Customer)
	w.numbers++
	inv.Number = fmt.Sprintf("FAKE-%04d", w.numbers)
	inv.StatusTransitions.FinalizedAt = now
	inv.StartingBalance = c.Balance
	c.Currency = inv.Currency
	due := inv.Total + c.Balance
	inv.Status = "open"
	switch {
	case due <= 0 || (due < minimumCharge && inv.Currency == "usd"):
		c.Balance, inv.AmountDue = due, 0
		w.settle(inv, now)
	default:
		c.Balance, inv.AmountDue = 0, due
	}
	inv.EndingBalance = c.Balance
	inv.AmountRemaining = inv.AmountDue - inv.AmountPaid
	w.emit(s, "invoice.finalized", *w.show(inv), now)
	if inv.Status == "paid" {
		w.emit(s, "invoice.paid", *w.show(inv), now)
		return
	}
	if inv.AutoAdvance && inv.CollectionMethod == "charge_automatically" {
		w.collect(s, inv, c.InvoiceSettings.DefaultPaymentMethod)
	}
}

func (w *world) settle(inv *invoice, now int64) {
	inv.Status, inv.Paid, inv.AmountPaid, inv.AmountRemaining = "paid", true, inv.AmountDue, 0
	inv.StatusTransitions.PaidAt = now
}

// collect tries a payment method: pm_card_visa pays, nothing and pm_card_chargeCustomerFail
// do not (/testing).
func (w *world) collect(s *Server, inv *invoice, method string) bool {
	now := w.now(s, inv.Customer)
	inv.Attempted = true
	inv.AttemptCount++
	if method == "" || method == "pm_card_chargeCustomerFail" {
		w.emit(s, "invoice.payment_failed", *w.show(inv), now)
		return false
	}
	w.settle(inv, now)
	w.emit(s, "invoice.paid", *w.show(inv), now)
	w.emit(s, "invoice.payment_succeeded", *w.show(inv), now)
	return true
}

func payInvoice(r *request) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	if inv.Status == "draft" {
		r.finalize(r.s, inv) // paying finalizes (/api/invoices/pay)
	}
	if inv.Status != "open" && inv.Status != "uncollectible" {
		return nil, invalid("", "", "Invoice is already %s.", inv.Status)
	}
	if r.form.bool("paid_out_of_band") {
		r.settle(inv, r.now(r.s, inv.Customer))
		r.emit(r.s, "invoice.paid", *r.show(inv), r.now(r.s, inv.Customer))
		return r.show(inv), nil
	}
	method := cmp.Or(r.form.Get("payment_method"), r.customers[inv.Customer].InvoiceSettings.DefaultPaymentMethod)
	if !r.collect(r.s, inv, method) {
		return nil, refuse(402, "card_error", "card_declined", "", "Your card was declined.")
	}
	return r.show(inv), nil
}

// voidInvoice: an open or uncollectible invoice, never a draft or a paid one (/api/invoices/void).
func voidInvoice(r *request) (any, *apiError) {
	return r.leave("void", "invoice.voided", "open", "uncollectible")
}

func markUncollectible(r *request) (any, *apiError) {
	return r.leave("uncollectible", "invoice.marked_uncollectible", "open")
}

func (r *request) leave(status, kind string, from ...string) (any, *apiError) {
	inv, err := r.invoice()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(from, inv.Status) {
		return nil, invalid("", "", "An invoice that is %s cannot become %s.", inv.Status, status)
	}
	now := r.now(r.s, inv.Customer)
	inv.Status = status
	if status == "void" {
		inv.StatusTransitions.VoidedAt = now
	} else {
		inv.StatusTransitions.MarkedUncollectibleAt = now
	}
	r.emit(r.s, kind, *r.show(inv), now)
	return r.show(inv), nil
}
