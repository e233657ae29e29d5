package stripefake

import (
	"cmp"
	"slices"
)

// newest returns the values that pass, newest first.
func newest[T any](w *world, all map[string]T, pass func(T) bool) []T {
	ids := make([]string, 0, len(all))
	for id, v := range all {
		if pass(v) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(w.order[b], w.order[a]) })
	list := make([]T, len(ids))
	for i, id := range ids {
		list[i] = all[id]
	}
	return list
}

func createCustomer(r *request) (any, *apiError) {
	if id := r.form.Get("test_clock"); id != "" && r.clocks[id] == nil {
		return nil, missing("test clock", id)
	}
	c := &customer{
		ID: r.newID("cus"), Object: "customer", Balance: r.form.int("balance"), Livemode: r.live,
		Email: r.form.Get("email"), Name: r.form.Get("name"), Metadata: r.form.mergeMetadata(nil), TestClock: r.form.Get("test_clock"),
		InvoiceSettings: invoiceSettings{r.form.Get("invoice_settings[default_payment_method]")},
	}
	r.customers[c.ID] = c
	c.Created = r.now(r.s, c.ID)
	r.emit(r.s, "customer.created", *c, c.Created)
	return c, nil
}

func getCustomer(r *request) (any, *apiError) {
	c := r.customers[r.id]
	if c == nil {
		return nil, missing("customer", r.id)
	}
	return c, nil
}

func listCustomers(r *request) (any, *apiError) {
	all := newest(r.world, r.customers, func(c *customer) bool {
		return !c.Deleted && (r.form.Get("email") == "" || c.Email == r.form.Get("email"))
	})
	return listOf(r, all, func(c *customer) string { return c.ID })
}

func listOf[T any](r *request, all []T, id func(T) string) (any, *apiError) {
	p, err := paginate(r.form, r.path, all, id)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// standing returns a customer that can be charged.
func (w *world) standing(id string) (*customer, *apiError) {
	c := w.customers[id]
	if c == nil || c.Deleted {
		return nil, refuse(400, "invalid_request_error", "resource_missing", "customer", "No such customer: '%s'", id)
	}
	return c, nil
}

func updateCustomer(r *request) (any, *apiError) {
	c, err := r.standing(r.id)
	if err != nil {
		return nil, missing("customer", r.id)
	}
	if r.form.Has("name") {
		c.Name = r.form.Get("name")
	}
	if r.form.Has("email") {
		c.Email = r.form.Get("email")
	}
	if r.form.Has("balance") {
		c.Balance = r.form.int("balance")
	}
	if m := r.form.Get("invoice_settings[default_payment_method]"); m != "" {
		c.InvoiceSettings.DefaultPaymentMethod = m
	}
	c.Metadata = r.form.mergeMetadata(c.Metadata)
	r.emit(r.s, "customer.updated", *c, r.now(r.s, c.ID))
	return c, nil
}

func deleteCustomer(r *request) (any, *apiError) {
	c, err := r.standing(r.id)
	if err != nil {
		return nil, missing("customer", r.id)
	}
	c.Deleted = true
	r.emit(r.s, "customer.deleted", *c, r.now(r.s, c.ID))
	return map[string]any{"id": c.ID, "object": "customer", "deleted": true}, nil
}

// now is the time a customer lives in: that of its test clock, or the account's
// (/billing/testing/test-clocks).
func (w *world) now(s *Server, customer string) int64 {
	if c := w.customers[customer]; c != nil && c.TestClock != "" {
		if k := w.clocks[c.TestClock]; k != nil {
			return k.FrozenTime
		}
	}
	return s.cfg.Now().Unix()
}

func createClock(r *request) (any, *apiError) {
	if r.live {
		return nil, invalid("", "", "Test clocks are only available in test mode.") // /billing/testing/test-clocks
	}
	c := &clock{
		ID: r.newID("clock"), Object: "test_helpers.test_clock", Created: r.s.cfg.Now().Unix(),
		FrozenTime: r.form.int("frozen_time"), Name: r.form.Get("name"), Status: "ready",
	}
	r.clocks[c.ID] = c
	return c, nil
}

func getClock(r *request) (any, *apiError) {
	c := r.clocks[r.id]
	if c == nil {
		return nil, missing("test clock", r.id)
	}
	return c, nil
}

// advanceClock moves a clock and does what falls due on the way, in its order. Stripe
// does it in the background and answers "advancing" first; here it is done at once.
func advanceClock(r *request) (any, *apiError) {
	c := r.clocks[r.id]
	if c == nil {
		return nil, missing("test clock", r.id)
	}
	to := r.form.int("frozen_time")
	if to < c.FrozenTime {
		return nil, invalid("", "frozen_time", "A test clock can only be advanced forward in time.") // /billing/testing/test-clocks
	}
	const step = 3600 // nothing here has a finer grain than the draft hour
	for c.FrozenTime < to {
		c.FrozenTime = min(to, c.FrozenTime+step)
		r.tick(r.s)
	}
	return c, nil
}
