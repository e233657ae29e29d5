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
