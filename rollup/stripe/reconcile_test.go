package stripe_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/rollup/stripe"
	"github.com/agentik-os/panda/schemas"
)

func TestReconcileFindsOneLineChangedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p, b := w.pusher(), w.bill(w.plain.customer(), 8)
		if _, err := p.Reconcile(t.Context(), b); !errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("never pushed: %v", err)
		}
		if _, err := p.Push(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		r, err := p.Reconcile(t.Context(), b)
		if err != nil || !r.Clean() || r.Billed != b.Total || r.Pushed != b.Total || r.Found != b.Total || r.Status != "open" {
			t.Fatalf("clean: %+v, %v", r, err)
		}
		statement := b
		statement.Checksum, statement.Lines = "later", slices.Clone(b.Lines)
		statement.Lines[2].Amount++
		if r, err = p.Reconcile(t.Context(), statement); err != nil || len(r.Differences) != 2 || r.Differences[1].Kind != stripe.OtherStatement {
			t.Errorf("a statement that is another one: %+v, %v", r, err)
		}
		w.plain.do(http.MethodPost, "/v1/invoices/"+r.Invoice+"/void", "", nil)
		if r, err = p.Reconcile(t.Context(), b); err != nil || len(r.Differences) != 1 || r.Differences[0].Kind != stripe.OtherStatus || r.Repairs != nil {
			t.Errorf("voided: %+v, %v", r, err)
		}
	})
}

// TestRepairMendsADraftWhenItIsTold: nothing is mended by itself, everything on a draft can
// be by request, and nothing that is finalized.
func TestRepairMendsADraftWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		b := w.bill(w.plain.customer(), 6)
		writes := 0
		w.store.before = func() error {
			if writes++; writes > 5 { // the lines are confirmed; it is about to finalize
				return errCrash
			}
			return nil
		}
		if _, err := w.pusher().Push(t.Context(), b); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.store.before = nil
		in := w.plain.invoices(b.Customer)[0].ID
		items := w.plain.items(in)
		w.plain.do(http.MethodDelete, "/v1/invoiceitems/"+items[0].ID, "", nil)
		w.plain.do(http.MethodPost, "/v1/invoiceitems/"+items[1].ID, "amount=1", nil)
		w.plain.do(http.MethodPost, "/v1/invoiceitems", "currency=usd&amount=5&customer="+b.Customer+"&invoice="+in, nil)
		p := w.pusher()
		got, err := p.Push(t.Context(), b)
		if err != nil || got.State != stripe.Attention {
			t.Fatalf("not mended by itself: %s, %v", got.State, err)
		}
		got, err = p.Repair(t.Context(), got.Ref)
		if err != nil || got.State != stripe.Done {
			t.Fatalf("repair: %s %s, %v", got.State, got.Detail, err)
		}
		if wrong := w.plain.wrong(b, true); wrong != "" {
			t.Error(wrong)
		}
		if _, err = p.Repair(t.Context(), got.Ref); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("a finalized invoice was mended: %v", err)
		}
	})
}

// TestARealBucketKeepsTheRecord: the record survives the process, and only what was made
// of the newest one is written.
func TestARealBucketKeepsTheRecord(t *testing.T) {
	t.Parallel()
	log := eventlogtest.Open(t)
	bucket, err := log.Bucket(t.Context(), eventlog.BucketConfig{Name: "STRIPE_PUSHES"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	w.cfg.PerSecond = 10_000
	b := w.bill(w.plain.customer(), 25)
	for range 2 {
		p, err := stripe.NewPusher(w.cfg, bucket, w.lease)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Push(t.Context(), b)
		if err != nil || got.State != stripe.Done {
			t.Fatalf("push: %s %s, %v", got.State, got.Detail, err)
		}
		list, err := p.List(t.Context())
		if err != nil || len(list) != 1 || list[0].Invoice != got.Invoice || len(list[0].Lines) != 25 {
			t.Errorf("list: %d records, %v", len(list), err)
		}
	}
	if wrong := w.plain.wrong(b, true); wrong != "" {
		t.Error(wrong)
	}
	events, err := log.Bucket(t.Context(), eventlog.BucketConfig{Name: "STRIPE_EVENTS"})
	if err != nil {
		t.Fatal(err)
	}
	in := stripe.NewInbox(stripe.InboxConfig{Secrets: []stripe.Secret{hookSecret}}, w.pusher(), events)
	for want := range 2 { // two invoice events, then none
		n, err := in.Poll(t.Context())
		if err != nil || (n == 0) != (want == 1) {
			t.Errorf("poll: %d, %v", n, err)
		}
	}
	kinds := ""
	if _, err := in.Work(t.Context(), func(_ context.Context, e stripe.Event) error { kinds += e.Kind + " "; return nil }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(kinds, "invoice.created") || !strings.Contains(kinds, "invoice.finalized") {
		t.Errorf("events: %s", kinds)
	}
}
