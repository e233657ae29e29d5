package stripefake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/agentik-os/panda/internal/stripefake"
)

// api is Stripe's own client on a fake, in a bubble of its own time.
type api struct {
	*client.API
	t    *testing.T
	fake *stripefake.Server
}

func newAPI(t *testing.T, cfg stripefake.Config, key string) *api {
	fake := stripefake.New(cfg)
	return &api{clientOf(fake, key), t, fake}
}

func clientOf(fake *stripefake.Server, key string) *client.API {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		HTTPClient:        &http.Client{Transport: fake.Transport(), Timeout: 30 * time.Second},
		MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return client.New(key, &stripe.Backends{API: backend})
}

func (a *api) customer() string {
	a.t.Helper()
	c, err := a.Customers.New(&stripe.CustomerParams{Name: stripe.String("Acme")})
	if err != nil {
		a.t.Fatal(err)
	}
	return c.ID
}

func (a *api) draft(customer string) string {
	a.t.Helper()
	inv, err := a.Invoices.New(&stripe.InvoiceParams{
		Customer: &customer, AutoAdvance: stripe.Bool(false), Currency: stripe.String("usd"), PendingInvoiceItemsBehavior: stripe.String("exclude"),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return inv.ID
}

func itemParams(customer, invoice string, amount int64, key string) *stripe.InvoiceItemParams {
	p := &stripe.InvoiceItemParams{Customer: &customer, Amount: &amount, Currency: stripe.String("usd"), Invoice: &invoice}
	if key != "" {
		p.SetIdempotencyKey(key)
	}
	return p
}

func code(err error) string {
	var e *stripe.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	if e.Code != "" {
		return string(e.Code)
	}
	return string(e.Type)
}

func replayed(err error) bool {
	var e *stripe.Error
	return errors.As(err, &e) && e.LastResponse.Header.Get("Idempotent-Replayed") == "true"
}

func TestAKeyIsRememberedForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, stripefake.Config{}, "sk_test_fake")
		cus := a.customer()
		in := a.draft(cus)
		first, err := a.InvoiceItems.New(itemParams(cus, in, 100, "k1"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := a.InvoiceItems.New(itemParams(cus, in, 100, "k1"))
		if err != nil || again.ID != first.ID {
			t.Errorf("the same key and parameters: %v, %v; want the first item", again, err)
		}
		if _, err := a.InvoiceItems.New(itemParams(cus, in, 101, "k1")); code(err) != "idempotency_error" {
			t.Errorf("the same key with other parameters: %v", err)
		}
		time.Sleep(24*time.Hour - time.Second)
		if again, _ = a.InvoiceItems.New(itemParams(cus, in, 100, "k1")); again.ID != first.ID {
			t.Error("the key was pruned before a day was over")
		}
		time.Sleep(time.Second)
		if again, _ = a.InvoiceItems.New(itemParams(cus, in, 100, "k1")); again.ID == first.ID {
			t.Error("the key was not pruned after a day: a charge that comes twice would not be seen")
		}
	})
}

func TestErrorsOfAnExecutionAreRemembered(t *testing.T) {
	for _, fault := range []struct {
		fault   stripefake.Fault
		code    string
		written int
		stored  bool
	}{
		{stripefake.LockTimeout, "lock_timeout", 0, true},
		{stripefake.ErrorBefore, "api_error", 0, true},
		{stripefake.ErrorAfter, "api_error", 1, true},
		{stripefake.RateLimit, "rate_limit", 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			faults := &stripefake.Faults{Seed: 1, Only: []stripefake.Fault{fault.fault}}
			a := newAPI(t, stripefake.Config{Faults: faults}, "sk_test_fake")
			cus := a.customer()
			in := a.draft(cus)
			faults.PerMille = 1000
			if _, err := a.InvoiceItems.New(itemParams(cus, in, 100, "k1")); code(err) != fault.code {
				t.Fatalf("%s: %v", fault.code, err)
			}
			faults.PerMille = 0
			_, err := a.InvoiceItems.New(itemParams(cus, in, 100, "k1"))
			if fault.stored && (code(err) != fault.code || !replayed(err)) {
				t.Errorf("%s: the answer was not replayed: %v", fault.code, err)
			}
			if !fault.stored && err != nil {
				t.Errorf("%s: stored: %v", fault.code, err)
			}
			want := fault.written
			if !fault.stored {
				want++
			}
			if n := a.count(in); n != want {
				t.Errorf("%s: %d items, want %d", fault.code, n, want)
			}
		})
	}
}

func (a *api) count(invoice string) int {
	n := 0
	for it := a.InvoiceItems.List(&stripe.InvoiceItemListParams{Invoice: &invoice}); it.Next(); n++ {
	}
	return n
}

func TestAKeyInUseIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := &stripefake.Faults{Seed: 1, Only: []stripefake.Fault{stripefake.HoldKey}}
		a := newAPI(t, stripefake.Config{Faults: faults}, "sk_test_fake")
		cus := a.customer()
		in := a.draft(cus)
		faults.PerMille = 1000
		done := make(chan error)
		go func() {
			_, err := a.InvoiceItems.New(itemParams(cus, in, 100, "k1"))
			done <- err
		}()
		synctest.Wait()
		if _, err := a.InvoiceItems.New(itemParams(cus, in, 100, "k1")); code(err) != "idempotency_key_in_use" {
			t.Errorf("a key in use: %v", err)
		}
		<-done // it may have timed out: the request goes on
		time.Sleep(time.Hour)
		faults.PerMille = 0
		if n := a.count(in); n != 1 {
			t.Errorf("%d items, want 1: a sender that gave up does not stop its request", n)
		}
	})
}

func TestAnInvoiceGoesItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, stripefake.Config{}, "sk_test_fake")
		cus := a.customer()
		in := a.draft(cus)
		for i := range 250 {
			if _, err := a.InvoiceItems.New(itemParams(cus, in, int64(i), "")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.InvoiceItems.New(itemParams(cus, in, 1, "")); err == nil {
			t.Error("an invoice took 251 items")
		}
		if n := a.count(in); n != 250 {
			t.Errorf("paging saw %d of 250 items", n)
		}
		if _, err := a.Invoices.VoidInvoice(in, &stripe.InvoiceVoidInvoiceParams{}); err == nil {
			t.Error("a draft was voided")
		}
		inv, err := a.Invoices.FinalizeInvoice(in, &stripe.InvoiceFinalizeInvoiceParams{})
		if err != nil || inv.Status != "open" || inv.Total != 250*249/2 || inv.AmountDue != inv.Total {
			t.Fatalf("finalized: %+v, %v", inv, err)
		}
		if _, err := a.InvoiceItems.New(itemParams(cus, in, 1, "")); code(err) != "invoice_not_editable" {
			t.Errorf("an item on an open invoice: %v", err)
		}
		if _, err := a.Invoices.Del(in, &stripe.InvoiceParams{}); err == nil {
			t.Error("an open invoice was deleted")
		}
		if inv, err = a.Invoices.MarkUncollectible(in, &stripe.InvoiceMarkUncollectibleParams{}); err != nil || inv.Status != "uncollectible" {
			t.Errorf("marked: %v, %v", inv, err)
		}
		if inv, err = a.Invoices.VoidInvoice(in, &stripe.InvoiceVoidInvoiceParams{}); err != nil || inv.Status != "void" {
			t.Errorf("voided: %v, %v", inv, err)
		}
	})
}

func TestParametersKeysAndModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, stripefake.Config{Keys: map[string]stripefake.Rights{
			"sk_test_1": nil, "sk_live_1": nil, "rk_test_1": {"customers": "read", "invoices": "write"},
		}}, "sk_test_1")
		cus := a.customer()
		p := itemParams(cus, "", 1, "")
		p.Invoice = nil
		p.AddExtra("surprise", "1")
		if _, err := a.InvoiceItems.New(p); code(err) != "parameter_unknown" {
			t.Errorf("an unknown parameter: %v", err)
		}
		if _, err := a.Invoices.New(&stripe.InvoiceParams{}); code(err) != "parameter_missing" {
			t.Errorf("no customer: %v", err)
		}
		if _, err := clientOf(a.fake, "sk_live_1").Customers.Get(cus, nil); code(err) != "resource_missing" {
			t.Errorf("live mode sees a customer of test mode: %v", err)
		}
		restricted := clientOf(a.fake, "rk_test_1")
		if _, err := restricted.Customers.Get(cus, nil); err != nil {
			t.Errorf("a restricted key may read: %v", err)
		}
		if _, err := restricted.Customers.New(&stripe.CustomerParams{}); err == nil {
			t.Error("a restricted key wrote what it may only read")
		}
		if _, err := clientOf(a.fake, "sk_test_other").Customers.Get(cus, nil); err == nil {
			t.Error("an unknown key was let in")
		}
	})
}

// hook is an endpoint that keeps what it was told and answers as it is told to.
type hook struct {
	status int
	got    []stripe.Event
	secret string
	t      *testing.T
}

func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	body, _ := io.ReadAll(r.Body)
	e, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), h.secret)
	if err != nil {
		h.t.Errorf("a delivery that Stripe's own client refuses: %v", err)
	}
	h.got = append(h.got, e)
	w.WriteHeader(h.status)
	return w.Result(), nil
}

func TestASubscriptionsDraftStaysAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{status: 500, t: t}
		a := newAPI(t, stripefake.Config{Client: &http.Client{Transport: h}}, "sk_test_fake")
		end, err := a.WebhookEndpoints.New(&stripe.WebhookEndpointParams{
			URL: stripe.String("https://panda.example/v1/stripe/webhook"), EnabledEvents: stripe.StringSlice([]string{"invoice.created"}),
			APIVersion: stripe.String(stripe.APIVersion),
		})
		if err != nil {
			t.Fatal(err)
		}
		h.secret = end.Secret
		cus := a.customer()
		p := &stripe.SubscriptionParams{Customer: &cus, Currency: stripe.String("usd")}
		p.AddExtra("items[0][price_data][currency]", "usd")
		p.AddExtra("items[0][price_data][unit_amount]", "4900")
		p.AddExtra("items[0][price_data][product]", "prod_1")
		p.AddExtra("items[0][price_data][recurring][interval]", "month")
		sub, err := a.Subscriptions.New(p)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(time.Unix(sub.CurrentPeriodEnd, 0)))
		a.fake.Pump(t.Context())
		sub, _ = a.Subscriptions.Get(sub.ID, nil)
		status := func() string {
			inv, err := a.Invoices.Get(sub.LatestInvoice.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			return string(inv.Status)
		}
		if time.Sleep(2 * time.Hour); status() != "draft" {
			t.Fatal("the draft was finalized although nobody has taken invoice.created")
		}
		h.status = 200
		a.fake.Pump(t.Context())
		if time.Sleep(59 * time.Minute); status() != "draft" {
			t.Error("the draft lasted less than an hour after its delivery")
		}
		if time.Sleep(time.Minute); status() != "open" {
			t.Error("the draft was not finalized after its hour")
		}
		if len(h.got) < 2 {
			t.Errorf("%d deliveries", len(h.got))
		}
	})
}

func TestDeliveriesAreLostAndComeTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{status: 200, t: t}
		faults := &stripefake.Faults{Seed: 7, EventLost: 300, EventTwice: 300, EventLate: 500}
		a := newAPI(t, stripefake.Config{Faults: faults, Client: &http.Client{Transport: h}}, "sk_test_fake")
		end, err := a.WebhookEndpoints.New(&stripe.WebhookEndpointParams{
			URL: stripe.String("https://panda.example/hook"), EnabledEvents: stripe.StringSlice([]string{"*"}),
		})
		if err != nil {
			t.Fatal(err)
		}
		h.secret = end.Secret
		for range 100 {
			a.customer()
		}
		for range 10 {
			time.Sleep(time.Minute)
			a.fake.Pump(t.Context())
		}
		seen, repeats, behind, last := map[string]bool{}, 0, 0, ""
		for _, e := range h.got {
			if seen[e.ID] {
				repeats++
			} else if e.ID < last {
				behind++
			}
			seen[e.ID], last = true, max(last, e.ID)
		}
		listed := 0
		for it := a.Events.List(&stripe.EventListParams{}); it.Next(); listed++ {
		}
		if listed != 100 || len(seen) == 100 || repeats == 0 || behind == 0 {
			t.Errorf("listed %d, delivered %d, twice %d, overtaken %d", listed, len(seen), repeats, behind)
		}
	})
}

// TestOverTheNetwork shows that a connection is really cut and that the same faults come
// again with the same seed.
func TestOverTheNetwork(t *testing.T) {
	outcomes := func() string {
		fake := stripefake.New(stripefake.Config{Faults: &stripefake.Faults{Seed: 3, PerMille: 700, DelayMax: time.Millisecond}})
		srv := httptest.NewServer(fake)
		defer srv.Close()
		var b strings.Builder
		for i := range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+"/v1/customers", strings.NewReader("name=a"))
			req.Header.Set("Authorization", "Bearer sk_test_fake")
			req.Header.Set("Idempotency-Key", fmt.Sprint("k", i))
			req.Close = true // net/http would send it again on a connection that died
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				b.WriteString("cut ")
			} else {
				fmt.Fprint(&b, resp.StatusCode, " ")
				resp.Body.Close()
			}
			cancel()
		}
		return b.String()
	}
	first := outcomes()
	if second := outcomes(); first != second {
		t.Errorf("one seed, two stories:\n%s\n%s", first, second)
	}
	for _, want := range []string{"200", "429", "500", "502", "cut"} {
		if !strings.Contains(first, want) {
			t.Errorf("no %s among %s", want, first)
		}
	}
}
