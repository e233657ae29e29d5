package stripe_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/internal/stripefake"
	"github.com/agentik-os/panda/rollup/stripe"
	"github.com/agentik-os/panda/schemas"
)

func TestABillBecomesOneInvoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		b := w.bill(w.plain.customer(), 12)
		for range 3 {
			got, err := w.pusher().Push(t.Context(), b)
			if err != nil || got.State != stripe.Done || got.Total != b.Total || got.Number == "" {
				t.Fatalf("push: %+v, %v", got, err)
			}
			if wrong := w.plain.wrong(b, true); wrong != "" {
				t.Fatal(wrong)
			}
			time.Sleep(30 * time.Hour) // the keys are forgotten, the record is not
		}
		other := b
		other.Checksum = "another"
		if _, err := w.pusher().Push(t.Context(), other); !errors.Is(err, schemas.ErrConflict) {
			t.Errorf("another statement of the month: %v", err)
		}
	})
}

func TestManyLinesArePutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		b := w.bill(w.plain.customer(), 260)
		got, err := w.pusher().Push(t.Context(), b)
		if err != nil || got.State != stripe.Done {
			t.Fatalf("push: %s %s, %v", got.Reason, got.Detail, err)
		}
		inv := w.plain.invoices(b.Customer)
		if items := w.plain.items(inv[0].ID); len(items) != 200 || inv[0].Total != b.Total {
			t.Errorf("%d lines and %d, want 200 and %d", len(items), inv[0].Total, b.Total)
		}
	})
}

func TestNothingOwedIsNoInvoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		b := w.bill(w.plain.customer(), 0)
		got, err := w.pusher().Push(t.Context(), b)
		if err != nil || got.State != stripe.Done || len(w.plain.invoices(b.Customer)) != 0 {
			t.Errorf("push: %+v, %v", got, err)
		}
	})
}

// TestByHand: whatever somebody did at Stripe before the push went on is left as it is,
// and a person is told.
func TestByHand(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		do     func(w *world, invoice string)
	}{
		"finalized": {stripe.ReasonClosed, func(w *world, in string) {
			w.plain.do(http.MethodPost, "/v1/invoices/"+in+"/finalize", "", nil)
		}},
		"voided": {stripe.ReasonVoided, func(w *world, in string) {
			w.plain.do(http.MethodPost, "/v1/invoices/"+in+"/finalize", "", nil)
			w.plain.do(http.MethodPost, "/v1/invoices/"+in+"/void", "", nil)
		}},
		"deleted": {stripe.ReasonDeleted, func(w *world, in string) { w.plain.do(http.MethodDelete, "/v1/invoices/"+in, "", nil) }},
		"added": {stripe.ReasonForeign, func(w *world, in string) {
			cus := w.bill(w.customerOf(in), 1).Customer
			w.plain.do(http.MethodPost, "/v1/invoiceitems", "currency=usd&amount=5&customer="+cus+"&invoice="+in, nil)
		}},
		"changed": {stripe.ReasonChanged, func(w *world, in string) {
			w.plain.do(http.MethodPost, "/v1/invoiceitems/"+w.plain.items(in)[0].ID, "amount=1", nil)
		}},
		"removed": {stripe.ReasonRemoved, func(w *world, in string) {
			w.plain.do(http.MethodDelete, "/v1/invoiceitems/"+w.plain.items(in)[0].ID, "", nil)
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			b := w.bill(w.plain.customer(), 5)
			// The process dies when it is about to finalize.
			writes := 0
			w.store.before = func() error {
				if writes++; writes > 4 {
					return errCrash
				}
				return nil
			}
			if got, err := w.pusher().Push(t.Context(), b); !errors.Is(err, errCrash) || len(w.plain.items(got.Invoice)) != 5 {
				t.Fatalf("%s: the push did not stop with its lines on a draft: %+v %v", name, got, err)
			}
			w.store.before = nil
			in := w.plain.invoices(b.Customer)[0].ID
			c.do(w, in)
			before := len(w.plain.invoices(b.Customer))
			got, err := w.pusher().Push(t.Context(), b)
			if name == "finalized" {
				// All lines were there and right: it is what we would have done.
				if err != nil || got.State != stripe.Done {
					t.Errorf("%s: %s %s, %v", name, got.State, got.Reason, err)
				}
				return
			}
			if err != nil || got.State != stripe.Attention || got.Reason != c.reason {
				t.Errorf("%s: %s %q %q, %v; want attention for %s", name, got.State, got.Reason, got.Detail, err, c.reason)
			}
			if after := len(w.plain.invoices(b.Customer)); after != before {
				t.Errorf("%s: a second invoice was made", name)
			}
			again, err := w.pusher().Push(t.Context(), b)
			if err != nil || again.State != stripe.Attention {
				t.Errorf("%s: attention did not last: %s, %v", name, again.State, err)
			}
		})
	}
}

// TestWhatWasGivenUpAndCameAfterAll: a line and a draft that took effect when nobody
// believed in them any more are taken off before the invoice is finalized.
func TestWhatWasGivenUpAndCameAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The first generation of the invoice is answered by a 500 that is remembered, and
		// was not written.
		faults := &stripefake.Faults{Seed: 1, PerMille: 1000, Only: []stripefake.Fault{stripefake.ErrorBefore}}
		w := newWorld(t, faults)
		b := w.bill(w.plain.customer(), 5)
		w.cfg.Patience = time.Minute // less than the quiet time
		got, err := w.pusher().Push(t.Context(), b)
		if !errors.Is(err, schemas.ErrUnavailable) || got.State != stripe.Drafting {
			t.Fatalf("push: %s, %v", got.State, err)
		}
		faults.PerMille = 0
		writes := 0
		w.cfg.Patience = time.Hour
		w.store.before = func() error {
			// In the end a second pusher would be the one to say so; here the writes end
			// when the lines are on the draft.
			if rec, err := w.pusher().Status(t.Context(), got.Ref); err == nil && rec.State == stripe.Adding {
				if writes++; writes > 1 {
					return errCrash
				}
			}
			return nil
		}
		if _, err = w.pusher().Push(t.Context(), b); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.store.before = nil
		in := w.plain.invoices(b.Customer)[0].ID
		meta := "&metadata[panda_ref]=" + got.Ref
		late := w.plain.items(in)[0]
		w.plain.do(http.MethodPost, "/v1/invoices", "customer="+b.Customer+meta, nil)
		w.plain.do(http.MethodPost, "/v1/invoiceitems", fmt.Sprintf("currency=usd&amount=%d&customer=%s&invoice=%s&metadata[panda_line]=%s%s",
			late.Amount, b.Customer, in, late.Metadata["panda_line"], meta), nil)
		got, err = w.pusher().Push(t.Context(), b)
		if err != nil || got.State != stripe.Done || got.Removed != 1 || got.Create.Generation != 1 {
			t.Fatalf("push: %s %s, removed %d, generation %d, %v", got.State, got.Detail, got.Removed, got.Create.Generation, err)
		}
		if wrong := w.plain.wrong(b, true); wrong != "" {
			t.Error(wrong)
		}
		if all := w.plain.invoices(b.Customer); len(all) != 1 {
			t.Errorf("%d invoices are left", len(all))
		}
	})
}

func (w *world) customerOf(invoice string) string {
	var inv struct{ Customer string }
	w.plain.do(http.MethodGet, "/v1/invoices/"+invoice, "", &inv)
	return inv.Customer
}

func TestResumeAfterAPersonHasLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		b := w.bill(w.plain.customer(), 5)
		w.plain.do(http.MethodDelete, "/v1/customers/"+b.Customer, "", nil)
		got, err := w.pusher().Push(t.Context(), b)
		if err != nil || got.State != stripe.Attention || got.Reason != stripe.ReasonRefused {
			t.Fatalf("a deleted customer: %+v, %v", got, err)
		}
		if got, err = w.pusher().Resume(t.Context(), got.Ref); err != nil || got.State != stripe.Attention {
			t.Errorf("nothing was mended: %s, %v", got.State, err)
		}
	})
}

func TestAKeyThatIsDeniedChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		b := w.bill(w.plain.customer(), 3)
		w.cfg.Key = "rk_test_revoked"
		if _, err := w.pusher().Push(t.Context(), b); !errors.Is(err, stripe.ErrDenied) {
			t.Fatalf("a revoked key: %v", err)
		}
		w.cfg.Key = "rk_test_panda"
		got, err := w.pusher().Push(t.Context(), b)
		if err != nil || got.State != stripe.Done || w.plain.wrong(b, true) != "" {
			t.Errorf("with the right key: %s, %v", got.State, err)
		}
	})
}

func TestLinesOnASubscriptionsDraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		cus := w.plain.customer()
		var sub struct {
			ID     string
			End    int64  `json:"current_period_end"`
			Latest string `json:"latest_invoice"`
		}
		w.plain.do(http.MethodPost, "/v1/subscriptions", "customer="+cus+"&currency=usd&items[0][price_data][currency]=usd&items[0][price_data][unit_amount]=4900"+
			"&items[0][price_data][product]=p&items[0][price_data][recurring][interval]=month", &sub)
		first := sub.Latest
		b := w.bill(cus, 4)
		b.Invoice = first
		if got, err := w.pusher().Push(t.Context(), b); err != nil || got.Reason != stripe.ReasonClosed {
			t.Errorf("the first invoice is never a draft: %s %s, %v", got.State, got.Reason, err)
		}
		time.Sleep(time.Until(time.Unix(sub.End, 0)))
		w.plain.do(http.MethodGet, "/v1/subscriptions/"+sub.ID, "", nil) // lets time do its work
		w.plain.do(http.MethodGet, "/v1/subscriptions/"+sub.ID, "", &sub)
		b.Invoice, b.Sequence = sub.Latest, 1
		p := w.pusher()
		got, err := p.Push(t.Context(), b)
		if err != nil || got.State != stripe.Placed {
			t.Fatalf("push: %s %s %s, %v", got.State, got.Reason, got.Detail, err)
		}
		if got, err = p.Check(t.Context(), got.Ref); err != nil || got.State != stripe.Placed {
			t.Errorf("checked while it is a draft: %s, %v", got.State, err)
		}
		time.Sleep(2 * time.Hour)
		got, err = p.Check(t.Context(), got.Ref)
		if err != nil || got.State != stripe.Done || got.Total != b.Total+4900 {
			t.Errorf("checked after its hour: %s %s, total %d, %v", got.State, got.Detail, got.Total, err)
		}
	})
}
