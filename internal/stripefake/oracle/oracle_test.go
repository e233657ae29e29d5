package oracle_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/stripefake"
	"github.com/agentik-os/panda/rollup/stripe"
	"github.com/agentik-os/panda/schemas"
)

// judged lets stripe-mock judge a request before the fake answers it.
type judged struct {
	t    *testing.T
	mock *server.StubServer
	next http.RoundTripper
	seen map[string]int
}

func newJudged(t *testing.T, next http.RoundTripper) *judged {
	t.Helper()
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	mock, err := server.NewStubServer(fixtures, spec, true, false)
	if err != nil {
		t.Fatal(err)
	}
	return &judged{t, mock, next, map[string]int{}}
}

func (j *judged) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	copied := r.Clone(r.Context())
	copied.Header.Set("Authorization", "Bearer sk_test_123") // it knows no restricted keys
	copied.Body, r.Body = io.NopCloser(bytes.NewReader(body)), io.NopCloser(bytes.NewReader(body))
	w := httptest.NewRecorder()
	j.mock.HandleRequest(w, copied)
	if w.Code >= 400 {
		j.t.Errorf("stripe-mock refuses %s %s %s: %d %s", r.Method, r.URL.Path, body, w.Code, w.Body)
	}
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) > 3 {
		parts[3] = "{id}"
	}
	j.seen[r.Method+" "+strings.Join(parts, "/")]++
	return j.next.RoundTrip(r)
}

// kept is a store for one goroutine.
type kept map[string]eventlog.Entry

func (k kept) Get(_ context.Context, key string) (eventlog.Entry, error) {
	if e, ok := k[key]; ok {
		return e, nil
	}
	return eventlog.Entry{}, eventlog.ErrNotFound
}

func (k kept) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return k.Update(ctx, key, value, 0)
}

func (k kept) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if k[key].Revision != revision {
		return 0, schemas.ErrConflict
	}
	k[key] = eventlog.Entry{Key: key, Value: bytes.Clone(value), Revision: revision + 1}
	return revision + 1, nil
}

func (k kept) Keys(context.Context) ([]string, error) {
	var keys []string
	for key := range k {
		keys = append(keys, key)
	}
	return keys, nil
}

type free struct{}

func (free) Hold(ctx context.Context, _ string) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

// TestEveryRequestIsOneOfStripes: a month with charges and credits in both ways of
// collecting, faults that make the pusher look and sweep, and a poll of events.
func TestEveryRequestIsOneOfStripes(t *testing.T) {
	faults := &stripefake.Faults{Seed: 1, PerMille: 400, Only: []stripefake.Fault{
		stripefake.LockTimeout, stripefake.ErrorBefore, stripefake.ErrorAfter, stripefake.AnswerLost,
	}}
	now := time.Now()
	fake := stripefake.New(stripefake.Config{Faults: faults})
	all := map[string]int{}
	for i, collection := range []string{"charge_automatically", "send_invoice"} {
		var customer struct{ ID string }
		if _, err := fake.Human(http.MethodPost, "/v1/customers", "name=Acme", "sk_test_fake", &customer); err != nil {
			t.Fatal(err)
		}
		j := newJudged(t, fake.Transport())
		p, err := stripe.NewPusher(stripe.Config{
			Key: "sk_test_fake", Transport: j, URL: "https://fake.invalid", PerSecond: 100_000,
			Collection: collection, DaysUntilDue: 30, Collect: true,
			// The quiet time is as short as it may be: nothing here is late.
			Timeout: 50 * time.Millisecond, Quiet: 100 * time.Millisecond, Patience: time.Minute,
		}, kept{}, free{})
		if err != nil {
			t.Fatal(err)
		}
		b := stripe.Bill{
			Tenant: "acme-corp", Month: "2026-02", Sequence: i, Statement: "st", Checksum: "c", Currency: "USD", Customer: customer.ID,
			Start: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		}
		for n := range 30 {
			l := stripe.Line{ID: fmt.Sprint("l", n), Description: "a & b = ü", Amount: int64(1000 - 70*n), Quantity: "12", Exact: "9.999999999999"}
			b.Lines, b.Total = append(b.Lines, l), b.Total+l.Amount
		}
		var got stripe.Push
		for range 20 {
			if got, err = p.Push(t.Context(), b); err == nil {
				break
			}
		}
		if err != nil || got.State != stripe.Done {
			t.Fatalf("push: %s %s, %v", got.State, got.Detail, err)
		}
		in := stripe.NewInbox(stripe.InboxConfig{Now: func() time.Time { return now }}, p, kept{})
		for range 20 {
			if _, err = in.Poll(t.Context()); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		for what, n := range j.seen {
			all[what] += n
		}
	}
	for _, want := range []string{
		"POST /v1/invoices", "POST /v1/invoiceitems", "POST /v1/invoices/{id}/finalize", "GET /v1/invoices/{id}", "GET /v1/invoiceitems", "GET /v1/events",
	} {
		if all[want] == 0 {
			t.Errorf("%s was never sent: %v", want, all)
		}
	}
}

// TestTheOracleSays no to what the document does not have; else it would prove nothing.
func TestTheOracleSaysNo(t *testing.T) {
	j := newJudged(t, nil)
	r := httptest.NewRequest(http.MethodPost, "/v1/invoiceitems", strings.NewReader("customer=cus_1&surprise=1"))
	r.Header.Set("Authorization", "Bearer sk_test_123")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if j.mock.HandleRequest(w, r); w.Code != http.StatusBadRequest {
		t.Errorf("an unknown parameter: %d", w.Code)
	}
}
