package stripefake

import "strings"

// itemsMax bounds an invoice, what the subscription brings included (spec, description
// of POST /v1/invoiceitems; storj/storj#6500).
const itemsMax = 250

func createItem(r *request) (any, *apiError) {
	c, err := r.standing(r.form.Get("customer"))
	if err != nil {
		return nil, err
	}
	currency := strings.ToLower(r.form.Get("currency"))
	now := r.now(r.s, c.ID)
	it := &item{
		Object: "invoiceitem", Amount: r.form.int("amount"), Currency: currency, Customer: c.ID, Date: now,
		Description: r.form.Get("description"), Discountable: !r.form.Has("discountable") || r.form.bool("discountable"), Livemode: r.live, Metadata: r.form.mergeMetadata(nil),
		Period: period{now, now}, Quantity: 1, Invoice: r.form.Get("invoice"), Subscription: r.form.Get("subscription"),
	}
	if r.form.Has("period[start]") != r.form.Has("period[end]") {
		return nil, invalid("parameter_missing", "period", "Both period[start] and period[end] are required.") // spec
	}
	if r.form.Has("period[start]") {
		it.Period = period{r.form.int("period[start]"), r.form.int("period[end]")}
		if it.Period.End < it.Period.Start {
			return nil, invalid("", "period[end]", "The period's end must not be before its start.") // assumed
		}
	}
	if it.Invoice != "" {
		inv := r.invoices[it.Invoice]
		if err := r.open(inv, it); err != nil {
			return nil, err
		}
	}
	it.ID, it.line = r.newID("ii"), r.newID("il")
	r.items[it.ID] = it
	if it.Invoice != "" {
		r.sum(r.invoices[it.Invoice])
	}
	r.emit(r.s, "invoiceitem.created", *it, now)
	return it, nil
}

// open says why an item cannot be put on an invoice.
func (r *request) open(inv *invoice, it *item) *apiError {
	switch {
	case inv == nil || inv.Deleted:
		return refuse(400, "invalid_request_error", "resource_missing", "invoice", "No such invoice: '%s'", it.Invoice)
	case inv.Customer != it.Customer:
		return invalid("", "invoice", "The customer of the invoice item is not the invoice's.") // spec: both belong to one customer
	case inv.Status != "draft":
		// Items can be added to drafts only (spec; useautumn/autumn#3491).
		return invalid("invoice_not_editable", "invoice", "The invoice is not editable: its status is %s.", inv.Status)
	case inv.Currency != it.Currency:
		return invalid("", "currency", "The currency of an invoice item must be the invoice's, %s.", inv.Currency) // /invoicing/multi-currency-customers
	case len(r.linesOf(inv)) >= itemsMax:
		return invalid("", "invoice", "An invoice can have at most %d invoice items.", itemsMax)
	}
	return nil
}

func getItem(r *request) (any, *apiError) {
	it := r.items[r.id]
	if it == nil {
		return nil, missing("invoiceitem", r.id)
	}
	return it, nil
}

func listItems(r *request) (any, *apiError) {
	all := newest(r.world, r.items, func(it *item) bool {
		f := r.form
		return (f.Get("invoice") == "" || it.Invoice == f.Get("invoice")) &&
			(f.Get("customer") == "" || it.Customer == f.Get("customer")) &&
			(f.Get("pending") == "" || f.bool("pending") == (it.Invoice == "")) &&
			(!f.Has("created[gte]") || it.Date >= f.int("created[gte]")) &&
			(!f.Has("created[lte]") || it.Date <= f.int("created[lte]"))
	})
	return listOf(r, all, func(it *item) string { return it.ID })
}

// editable returns an item that may still be changed: it is on no invoice, or on a draft
// (spec, description of POST and DELETE /v1/invoiceitems/{id}).
func (r *request) editable() (*item, *apiError) {
	it := r.items[r.id]
	if it == nil {
		return nil, missing("invoiceitem", r.id)
	}
	if it.Invoice != "" {
		if inv := r.invoices[it.Invoice]; inv.Status != "draft" {
			return nil, invalid("invoice_not_editable", "", "The invoice item's invoice is not editable: its status is %s.", inv.Status)
		}
	}
	return it, nil
}

func updateItem(r *request) (any, *apiError) {
	it, err := r.editable()
	if err != nil {
		return nil, err
	}
	if r.form.Has("amount") {
		it.Amount = r.form.int("amount")
	}
	if r.form.Has("description") {
		it.Description = r.form.Get("description")
	}
	if r.form.Has("period[start]") && r.form.Has("period[end]") {
		it.Period = period{r.form.int("period[start]"), r.form.int("period[end]")}
	}
	it.Metadata = r.form.mergeMetadata(it.Metadata)
	r.sum(r.invoices[it.Invoice])
	return it, nil
}

func deleteItem(r *request) (any, *apiError) {
	it, err := r.editable()
	if err != nil {
		return nil, err
	}
	delete(r.items, it.ID)
	r.sum(r.invoices[it.Invoice])
	r.emit(r.s, "invoiceitem.deleted", *it, r.now(r.s, it.Customer))
	return map[string]any{"id": it.ID, "object": "invoiceitem", "deleted": true}, nil
}
