package stripefake

// routes are the calls that are known, each with the parameters that 2023-10-16 (spec)
// and the current version both have, so a client that passes here survives an upgrade.
func routes() map[string]route {
	list := []string{"#limit", "starting_after", "ending_before"}
	with := func(names ...string) []string { return append(names, list...) }
	return map[string]route{
		"POST /v1/customers":        {"customers", []string{"name", "email", "description", "metadata[]", "test_clock", "#balance", "invoice_settings[default_payment_method]"}, createCustomer},
		"GET /v1/customers":         {"customers", with("email", "test_clock"), listCustomers},
		"GET /v1/customers/{id}":    {"customers", nil, getCustomer},
		"POST /v1/customers/{id}":   {"customers", []string{"name", "email", "description", "metadata[]", "#balance", "invoice_settings[default_payment_method]"}, updateCustomer},
		"DELETE /v1/customers/{id}": {"customers", nil, deleteCustomer},

		"POST /v1/invoiceitems": {"invoiceitems", []string{
			"!customer", "!#amount", "!currency", "invoice", "subscription", "description", "metadata[]",
			"?discountable", "#period[start]", "#period[end]", "tax_behavior", "tax_code",
		}, createItem},
		"GET /v1/invoiceitems":         {"invoiceitems", with("invoice", "customer", "?pending", "#created[gte]", "#created[lte]"), listItems},
		"GET /v1/invoiceitems/{id}":    {"invoiceitems", nil, getItem},
		"POST /v1/invoiceitems/{id}":   {"invoiceitems", []string{"#amount", "description", "metadata[]", "?discountable", "#period[start]", "#period[end]"}, updateItem},
		"DELETE /v1/invoiceitems/{id}": {"invoiceitems", nil, deleteItem},

		"POST /v1/invoices": {"invoices", []string{
			"!customer", "?auto_advance", "collection_method", "currency", "#days_until_due", "#due_date", "description",
			"metadata[]", "pending_invoice_items_behavior", "footer", "subscription",
		}, createInvoice},
		"GET /v1/invoices":                          {"invoices", with("customer", "status", "subscription", "#created[gte]", "#created[lte]", "collection_method"), listInvoices},
		"GET /v1/invoices/{id}":                     {"invoices", nil, getInvoice},
		"POST /v1/invoices/{id}":                    {"invoices", []string{"?auto_advance", "description", "metadata[]", "collection_method", "#days_until_due", "footer"}, updateInvoice},
		"DELETE /v1/invoices/{id}":                  {"invoices", nil, deleteInvoice},
		"GET /v1/invoices/{id}/lines":               {"invoices", list, listLines},
		"POST /v1/invoices/{id}/finalize":           {"invoices", []string{"?auto_advance"}, finalizeInvoice},
		"POST /v1/invoices/{id}/void":               {"invoices", nil, voidInvoice},
		"POST /v1/invoices/{id}/pay":                {"invoices", []string{"payment_method", "?paid_out_of_band"}, payInvoice},
		"POST /v1/invoices/{id}/mark_uncollectible": {"invoices", nil, markUncollectible},

		"POST /v1/subscriptions": {"subscriptions", []string{
			"!customer", "!currency", "collection_method", "metadata[]", "items[0][price_data][currency]", "#items[0][price_data][unit_amount]",
			"items[0][price_data][product]", "items[0][price_data][recurring][interval]", "#items[0][price_data][recurring][interval_count]", "#items[0][quantity]",
		}, createSubscription},
		"GET /v1/subscriptions/{id}":    {"subscriptions", nil, getSubscription},
		"POST /v1/subscriptions/{id}":   {"subscriptions", []string{"?cancel_at_period_end", "metadata[]"}, updateSubscription},
		"DELETE /v1/subscriptions/{id}": {"subscriptions", nil, cancelSubscription},

		"POST /v1/webhook_endpoints":        {"webhook_endpoints", []string{"!url", "enabled_events[]", "api_version", "description", "metadata[]"}, createEndpoint},
		"GET /v1/webhook_endpoints":         {"webhook_endpoints", list, listEndpoints},
		"DELETE /v1/webhook_endpoints/{id}": {"webhook_endpoints", nil, deleteEndpoint},

		"GET /v1/events":      {"events", with("type", "types[]", "#created[gte]", "#created[gt]", "#created[lte]", "?delivery_success"), listEvents},
		"GET /v1/events/{id}": {"events", nil, getEvent},

		"POST /v1/test_helpers/test_clocks":              {"test_helpers", []string{"!#frozen_time", "name"}, createClock},
		"GET /v1/test_helpers/test_clocks/{id}":          {"test_helpers", nil, getClock},
		"POST /v1/test_helpers/test_clocks/{id}/advance": {"test_helpers", []string{"!#frozen_time"}, advanceClock},
	}
}
