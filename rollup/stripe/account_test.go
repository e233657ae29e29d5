package stripe_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	stripego "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/agentik-os/panda/internal/stripefake"
	"github.com/agentik-os/panda/rollup/stripe"
)

// TestAnAccount pushes a month to Stripe itself when STRIPE_TEST_KEY has a test key of an
// account, and to the fake otherwise, which the log says. What the two must have in common
// is what the pusher relies on: a draft that takes lines, is read back, and finalizes to
// the total that was sent.
func TestAnAccount(t *testing.T) {
	t.Parallel()
	key := stripe.Secret(os.Getenv("STRIPE_TEST_KEY"))
	cfg := stripe.Config{Key: key}
	backend := &stripego.BackendConfig{MaxNetworkRetries: stripego.Int64(2), LeveledLogger: &stripego.LeveledLogger{Level: stripego.LevelNull}}
	if key == "" {
		t.Log("not run against Stripe: STRIPE_TEST_KEY is not set; the fake stands in")
		key = "sk_test_fake"
		through := stripefake.New(stripefake.Config{}).Transport()
		cfg = stripe.Config{Key: key, Transport: through, PerSecond: 1000}
		backend.HTTPClient = &http.Client{Transport: through}
	}
	if mode, err := key.Mode(); err != nil || mode != stripe.Test {
		t.Fatalf("STRIPE_TEST_KEY is %s: %v; this test makes customers and invoices, so only a key of test mode will do", cmp.Or(mode, "no key"), err)
	}
	api := client.New(strings.Clone(string(key)), &stripego.Backends{API: stripego.GetBackendWithConfig(stripego.APIBackend, backend)})
	customer, err := api.Customers.New(&stripego.CustomerParams{Name: stripego.String("Panda's test of " + time.Now().UTC().Format(time.RFC3339))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := api.Customers.Del(customer.ID, &stripego.CustomerParams{}); err != nil {
			t.Errorf("remove the customer: %v", err)
		}
	})
	p, err := stripe.NewPusher(cfg, newMemory(), &leases{})
	if err != nil {
		t.Fatal(err)
	}
	b := (&world{}).bill(customer.ID, 12)
	b.Tenant = fmt.Sprintf("test-%d", time.Now().UnixNano())
	got, err := p.Push(t.Context(), b)
	if err != nil || got.State != stripe.Done || got.Total != b.Total {
		t.Fatalf("push: %s %s %s, %v", got.State, got.Reason, got.Detail, err)
	}
	r, err := p.Reconcile(t.Context(), b)
	if err != nil || !r.Clean() {
		t.Errorf("reconcile: %+v, %v", r, err)
	}
	if _, err := api.Invoices.VoidInvoice(got.Invoice, &stripego.InvoiceVoidInvoiceParams{}); err != nil {
		t.Errorf("void: %v", err)
	}
	if r, err = p.Reconcile(t.Context(), b); err != nil || r.Clean() {
		t.Errorf("voided by hand, and reconciled clean: %+v, %v", r, err)
	}
}
