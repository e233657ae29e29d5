package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	stripego "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/form"
	"github.com/stripe/stripe-go/v76/invoice"
	"github.com/stripe/stripe-go/v76/invoiceitem"

	"github.com/agentik-os/panda/schemas"
)

// client makes one request at a time and repeats none: retries are the pusher's, because
// only it knows what may be repeated. (net/http itself may send a request with an
// Idempotency-Key again when a connection that was kept open turns out to be dead; that
// is the same key, and harmless.)
type client struct {
	backend stripego.Backend
	secret  Secret
	pace    *pace
	timeout time.Duration
}

func newClient(cfg Config) *client {
	transport := http.DefaultTransport
	if cfg.Transport != nil {
		transport = cfg.Transport
	}
	settings := &stripego.BackendConfig{
		HTTPClient:        &http.Client{Transport: transport, Timeout: cfg.Timeout},
		MaxNetworkRetries: stripego.Int64(0),
		EnableTelemetry:   stripego.Bool(false),
		LeveledLogger:     &stripego.LeveledLogger{Level: stripego.LevelNull},
	}
	if cfg.URL != "" {
		settings.URL = stripego.String(cfg.URL)
	}
	return &client{
		backend: stripego.GetBackendWithConfig(stripego.APIBackend, settings), secret: cfg.Key,
		pace: newPace(cfg.PerSecond), timeout: cfg.Timeout,
	}
}

// object is what we read of an answer to a write, whatever it made.
type object struct {
	stripego.APIResource
	ID       string            `json:"id"`
	Object   string            `json:"object"`
	Amount   int64             `json:"amount"`
	Currency string            `json:"currency"`
	Customer string            `json:"customer"`
	Invoice  string            `json:"invoice"`
	Status   string            `json:"status"`
	Metadata map[string]string `json:"metadata"`
}

// send makes a frozen request once.
func (c *client) send(ctx context.Context, e *Entry) (object, Answer, error) {
	values, err := thaw(e.Body)
	if err != nil {
		return object{}, Answer{}, err
	}
	var got object
	a, err := c.call(ctx, func(ctx context.Context) error {
		p := &stripego.Params{Context: ctx, IdempotencyKey: stripego.String(e.Key)}
		return c.backend.CallRaw(http.MethodPost, e.Path, string(c.secret), values, p, &got)
	})
	if err == nil && a.Status == 0 && got.LastResponse != nil {
		a.Status, a.Readable, a.Request = got.LastResponse.StatusCode, got.ID != "", got.LastResponse.RequestID
		a.Replayed = got.LastResponse.Header.Get("Idempotent-Replayed") == "true"
	}
	return got, a, err
}

// call makes a request in its turn and reads the answer. The error is that of ctx only.
func (c *client) call(ctx context.Context, f func(context.Context) error) (Answer, error) {
	if err := c.pace.wait(ctx); err != nil {
		return Answer{}, err
	}
	err := f(ctx)
	if ctx.Err() != nil {
		return Answer{}, ctx.Err()
	}
	var said *stripego.Error
	if errors.As(err, &said) {
		a := Answer{Status: said.HTTPStatusCode, Readable: true, Type: string(said.Type), Code: string(said.Code), Request: said.RequestID, Message: said.Msg}
		if said.LastResponse != nil {
			a.Replayed = said.LastResponse.Header.Get("Idempotent-Replayed") == "true"
		}
		if a.Code == "rate_limit" {
			c.pace.slower()
		}
		return a, nil
	}
	if err != nil {
		return Answer{Message: err.Error()}, nil
	}
	c.pace.faster()
	return Answer{}, nil
}

// read makes a request that changes nothing, and makes errors of bad answers.
func (c *client) read(ctx context.Context, what string, f func(context.Context) error) error {
	a, err := c.call(ctx, f)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", what, err)
	case a == (Answer{}):
		return nil
	case a.Status == http.StatusNotFound:
		return fmt.Errorf("read %s: %w: %s", what, errGone, a.Message)
	case Judge(a) == Denied:
		return fmt.Errorf("read %s: %w: %s", what, ErrDenied, a.Message)
	case Judge(a) == Rejected:
		return fmt.Errorf("read %s: Stripe refuses: %s", what, a.Message)
	}
	return fmt.Errorf("read %s: %w: %s", what, schemas.ErrUnavailable, a.Message)
}

// errGone: Stripe does not know the object (any more).
var errGone = errors.New("no such object at Stripe")

// ErrDenied: the secret key is wrong, was revoked, or may not do this. Give it the rights
// to write invoices and invoice items and to read events and customers.
var ErrDenied = errors.New("the secret key is not accepted by Stripe for this")

func (c *client) invoice(ctx context.Context, id string) (*stripego.Invoice, error) {
	var got *stripego.Invoice
	err := c.read(ctx, "invoice "+id, func(ctx context.Context) (err error) {
		p := &stripego.InvoiceParams{}
		p.Context = ctx
		got, err = invoice.Client{B: c.backend, Key: string(c.secret)}.Get(id, p)
		return err
	})
	return got, err
}

// invoices lists the invoices of a customer.
func (c *client) invoices(ctx context.Context, customer string) ([]*stripego.Invoice, error) {
	var all []*stripego.Invoice
	err := c.pages(ctx, "invoices of "+customer, func(ctx context.Context, after *string) (string, bool, error) {
		p := &stripego.InvoiceListParams{Customer: &customer}
		c.page(ctx, &p.ListParams, after)
		it := invoice.Client{B: c.backend, Key: string(c.secret)}.List(p)
		last := ""
		for it.Next() {
			all, last = append(all, it.Invoice()), it.Invoice().ID
		}
		return last, it.Meta() != nil && it.Meta().HasMore, it.Err()
	})
	return all, err
}

// items lists the items of an invoice.
func (c *client) items(ctx context.Context, id string) ([]*stripego.InvoiceItem, error) {
	var all []*stripego.InvoiceItem
	err := c.pages(ctx, "items of "+id, func(ctx context.Context, after *string) (string, bool, error) {
		p := &stripego.InvoiceItemListParams{Invoice: &id}
		c.page(ctx, &p.ListParams, after)
		it := invoiceitem.Client{B: c.backend, Key: string(c.secret)}.List(p)
		last := ""
		for it.Next() {
			all, last = append(all, it.InvoiceItem()), it.InvoiceItem().ID
		}
		return last, it.Meta() != nil && it.Meta().HasMore, it.Err()
	})
	return all, err
}

// lines counts everything that is on an invoice.
func (c *client) lines(ctx context.Context, id string) (int, error) {
	count := 0
	err := c.pages(ctx, "lines of "+id, func(ctx context.Context, after *string) (string, bool, error) {
		p := &stripego.InvoiceListLinesParams{Invoice: &id}
		c.page(ctx, &p.ListParams, after)
		it := invoice.Client{B: c.backend, Key: string(c.secret)}.ListLines(p)
		last := ""
		for it.Next() {
			count, last = count+1, it.InvoiceLineItem().ID
		}
		return last, it.Meta() != nil && it.Meta().HasMore, it.Err()
	})
	return count, err
}

// rawEvents is a page of the list of events, each as Stripe wrote it.
type rawEvents struct {
	stripego.APIResource
	Data    []json.RawMessage `json:"data"`
	HasMore bool              `json:"has_more"`
}

// events lists what happened since a moment, the newest first, as Stripe wrote it.
func (c *client) events(ctx context.Context, since time.Time, kinds []string) ([]json.RawMessage, error) {
	var all []json.RawMessage
	err := c.pages(ctx, "events", func(ctx context.Context, after *string) (string, bool, error) {
		p := &stripego.EventListParams{Types: stripego.StringSlice(kinds), CreatedRange: &stripego.RangeQueryParams{GreaterThanOrEqual: since.Unix()}}
		c.page(ctx, &p.ListParams, after)
		query := &form.Values{}
		form.AppendTo(query, p)
		var page rawEvents
		if err := c.backend.CallRaw(http.MethodGet, "/v1/events", string(c.secret), query, &stripego.Params{Context: ctx}, &page); err != nil {
			return "", false, err
		}
		var last struct {
			ID string `json:"id"`
		}
		if n := len(page.Data); n > 0 {
			if err := json.Unmarshal(page.Data[n-1], &last); err != nil {
				return "", false, fmt.Errorf("decode an event: %w", err)
			}
		}
		all = append(all, page.Data...)
		return last.ID, page.HasMore, nil
	})
	return all, err
}

// page asks for one page of the greatest size: the client must not page by itself, since
// each page takes its turn.
func (c *client) page(ctx context.Context, p *stripego.ListParams, after *string) {
	const most = 100
	p.Context, p.Single, p.Limit, p.StartingAfter = ctx, true, stripego.Int64(most), after
}

// pages reads page after page. A page that fails fails the list: half a list would look
// like missing lines.
func (c *client) pages(ctx context.Context, what string, f func(ctx context.Context, after *string) (last string, more bool, err error)) error {
	var after *string
	for {
		var last string
		var more bool
		err := c.read(ctx, what, func(ctx context.Context) (err error) {
			last, more, err = f(ctx, after)
			return err
		})
		if err != nil {
			return err
		}
		if !more || last == "" {
			return nil
		}
		after = &last
	}
}

// remove takes an item off a draft. To repeat it is harmless, so its key is of no matter.
func (c *client) remove(ctx context.Context, path string) error {
	return c.read(ctx, "removal of "+path, func(ctx context.Context) error {
		var got object
		p := &stripego.Params{Context: ctx}
		return c.backend.CallRaw(http.MethodDelete, path, string(c.secret), &form.Values{}, p, &got)
	})
}
