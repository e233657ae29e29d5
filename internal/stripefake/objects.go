package stripefake

// The objects are in the shape of 2023-10-16 (spec), cut down to what a client of
// invoices reads.

type customer struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"`
	Balance         int64             `json:"balance"`
	Created         int64             `json:"created"`
	Currency        string            `json:"currency,omitempty"`
	Deleted         bool              `json:"deleted,omitempty"`
	Email           string            `json:"email,omitempty"`
	InvoiceSettings invoiceSettings   `json:"invoice_settings"`
	Livemode        bool              `json:"livemode"`
	Metadata        map[string]string `json:"metadata"`
	Name            string            `json:"name,omitempty"`
	TestClock       string            `json:"test_clock,omitempty"`
}

type invoiceSettings struct {
	DefaultPaymentMethod string `json:"default_payment_method,omitempty"`
}

type period struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

type item struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Amount       int64             `json:"amount"`
	Currency     string            `json:"currency"`
	Customer     string            `json:"customer"`
	Date         int64             `json:"date"`
	Description  string            `json:"description,omitempty"`
	Discountable bool              `json:"discountable"`
	Invoice      string            `json:"invoice,omitempty"`
	Livemode     bool              `json:"livemode"`
	Metadata     map[string]string `json:"metadata"`
	Period       period            `json:"period"`
	Quantity     int64             `json:"quantity"`
	Subscription string            `json:"subscription,omitempty"`

	line string // the id of its line on the invoice
}

type line struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Amount       int64             `json:"amount"`
	Currency     string            `json:"currency"`
	Description  string            `json:"description,omitempty"`
	InvoiceItem  string            `json:"invoice_item,omitempty"`
	Metadata     map[string]string `json:"metadata"`
	Period       period            `json:"period"`
	Quantity     int64             `json:"quantity"`
	Subscription string            `json:"subscription,omitempty"`
	Type         string            `json:"type"`
}

type transitions struct {
	FinalizedAt           int64 `json:"finalized_at,omitempty"`
	MarkedUncollectibleAt int64 `json:"marked_uncollectible_at,omitempty"`
	PaidAt                int64 `json:"paid_at,omitempty"`
	VoidedAt              int64 `json:"voided_at,omitempty"`
}

type invoice struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	AmountDue           int64             `json:"amount_due"`
	AmountPaid          int64             `json:"amount_paid"`
	AmountRemaining     int64             `json:"amount_remaining"`
	AttemptCount        int64             `json:"attempt_count"`
	Attempted           bool              `json:"attempted"`
	AutoAdvance         bool              `json:"auto_advance"`
	BillingReason       string            `json:"billing_reason"`
	CollectionMethod    string            `json:"collection_method"`
	Created             int64             `json:"created"`
	Currency            string            `json:"currency"`
	Customer            string            `json:"customer"`
	Deleted             bool              `json:"deleted,omitempty"`
	Description         string            `json:"description,omitempty"`
	DueDate             int64             `json:"due_date,omitempty"`
	EndingBalance       int64             `json:"ending_balance"`
	Lines               *page             `json:"lines,omitempty"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	Number              string            `json:"number,omitempty"`
	Paid                bool              `json:"paid"`
	PeriodEnd           int64             `json:"period_end"`
	PeriodStart         int64             `json:"period_start"`
	StartingBalance     int64             `json:"starting_balance"`
	Status              string            `json:"status"`
	StatusTransitions   transitions       `json:"status_transitions"`
	Subscription        string            `json:"subscription,omitempty"`
	Subtotal            int64             `json:"subtotal"`
	Total               int64             `json:"total"`
	WebhooksDeliveredAt int64             `json:"webhooks_delivered_at,omitempty"`

	own   []line // what the subscription brings
	event string // its invoice.created
}

type subscription struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	CancelAtPeriodEnd  bool              `json:"cancel_at_period_end"`
	CanceledAt         int64             `json:"canceled_at,omitempty"`
	CollectionMethod   string            `json:"collection_method"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	CurrentPeriodEnd   int64             `json:"current_period_end"`
	CurrentPeriodStart int64             `json:"current_period_start"`
	Customer           string            `json:"customer"`
	LatestInvoice      string            `json:"latest_invoice,omitempty"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	Status             string            `json:"status"`

	amount int64 // of each period, minor units
	months int
}

type clock struct {
	ID         string `json:"id"`
	Object     string `json:"object"`
	Created    int64  `json:"created"`
	FrozenTime int64  `json:"frozen_time"`
	Livemode   bool   `json:"livemode"`
	Name       string `json:"name,omitempty"`
	Status     string `json:"status"`
}

type endpoint struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	APIVersion    string            `json:"api_version,omitempty"`
	Created       int64             `json:"created"`
	Deleted       bool              `json:"deleted,omitempty"`
	EnabledEvents []string          `json:"enabled_events"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Secret        string            `json:"secret,omitempty"` // shown once, when it is made
	Status        string            `json:"status"`
	URL           string            `json:"url"`
}

type event struct {
	ID              string         `json:"id"`
	Object          string         `json:"object"`
	APIVersion      string         `json:"api_version"`
	Created         int64          `json:"created"`
	Data            map[string]any `json:"data"`
	Livemode        bool           `json:"livemode"`
	PendingWebhooks int            `json:"pending_webhooks"`
	Request         any            `json:"request"`
	Type            string         `json:"type"`

	failed bool // an endpoint has not taken it
}

// page is a list as Stripe sends one (/api/pagination).
type page struct {
	Object     string `json:"object"`
	Data       any    `json:"data"`
	HasMore    bool   `json:"has_more"`
	TotalCount int    `json:"total_count,omitempty"`
	URL        string `json:"url"`
}

// Page sizes (/api/pagination).
const (
	pageDefault = 10
	pageMax     = 100
)

// paginate cuts the page that the form asks for out of a list that is newest first.
func paginate[T any](f form, url string, all []T, id func(T) string) (*page, *apiError) {
	limit := pageDefault
	if f.Get("limit") != "" {
		limit = int(f.int("limit"))
	}
	if limit < 1 || limit > pageMax {
		return nil, invalid("parameter_invalid_integer", "limit", "This value must be between 1 and %d.", pageMax)
	}
	at := func(name string) (int, *apiError) {
		for i, v := range all {
			if id(v) == f.Get(name) {
				return i, nil
			}
		}
		return 0, invalid("resource_missing", name, "No such object: '%s'", f.Get(name))
	}
	from, to := 0, len(all)
	if f.Get("starting_after") != "" {
		i, err := at("starting_after")
		if err != nil {
			return nil, err
		}
		from = i + 1
	}
	if f.Get("ending_before") != "" {
		i, err := at("ending_before")
		if err != nil {
			return nil, err
		}
		to = i
		from = max(from, to-limit)
		return &page{Object: "list", Data: append([]T{}, all[from:to]...), HasMore: from > 0, URL: url}, nil
	}
	end := min(to, from+limit)
	return &page{Object: "list", Data: append([]T{}, all[from:end]...), HasMore: end < to, URL: url}, nil
}
