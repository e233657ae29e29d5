package stripe_test

import (
	"bytes"
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

	"github.com/agentik-os/panda/internal/stripefake"
	"github.com/agentik-os/panda/rollup/stripe"
	"github.com/agentik-os/panda/schemas"
)

const hookSecret = "whsec_test"

func payload(id, version string, live bool) []byte {
	return fmt.Appendf(nil, `{"id":%q,"object":"event","api_version":%q,"created":1770000000,"livemode":%t,"type":"invoice.payment_failed","data":{"object":{"id":"in_1","object":"invoice","customer":"cus_1"}}}`, id, version, live)
}

func newInbox(w *world, secrets ...stripe.Secret) (*stripe.Inbox, *memory) {
	store := newMemory()
	return stripe.NewInbox(stripe.InboxConfig{Secrets: secrets}, w.pusher(), store), store
}

func TestOnlyWhatStripeSignedNowIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		in, _ := newInbox(w, "whsec_old", hookSecret)
		now := time.Now()
		good := payload("evt_1", stripe.APIVersion, false)
		for _, c := range []struct {
			name, header string
			body         []byte
			code         string
		}{
			{"good", stripefake.Sign(good, hookSecret, now), good, ""},
			{"the same again", stripefake.Sign(good, hookSecret, now.Add(time.Second)), good, ""},
			{"the secret that is being rolled", stripefake.Sign(good, "whsec_old", now), good, ""},
			{"another secret", stripefake.Sign(good, "whsec_other", now), good, schemas.CodeNotAllowed},
			{"no signature", "", good, schemas.CodeNotAllowed},
			{"another body", stripefake.Sign(good, hookSecret, now), payload("evt_2", stripe.APIVersion, false), schemas.CodeNotAllowed},
			{"old", stripefake.Sign(good, hookSecret, now.Add(-6*time.Minute)), good, schemas.CodeTooLate},
			{"from the future", stripefake.Sign(good, hookSecret, now.Add(6*time.Minute)), good, schemas.CodeTooEarly},
			{"two times", "t=1," + stripefake.Sign(good, hookSecret, now), good, schemas.CodeTooLate},
			{"live mode", stripefake.Sign(payload("evt_3", stripe.APIVersion, true), hookSecret, now), payload("evt_3", stripe.APIVersion, true), schemas.CodeNotAllowed},
			{"no event", stripefake.Sign([]byte(`{"id":"../x"}`), hookSecret, now), []byte(`{"id":"../x"}`), schemas.CodeMalformed},
			{"too long", "", bytes.Repeat([]byte("x"), stripe.EventBytesMax+1), schemas.CodeTooLong},
		} {
			err := in.Take(t.Context(), c.body, c.header)
			var f *schemas.FieldError
			errors.As(err, &f)
			if c.code == "" && err != nil || c.code != "" && (f == nil || f.Code != c.code) {
				t.Errorf("%s: %v, want %q", c.name, err, c.code)
			}
		}
		all, err := in.List(t.Context(), "")
		if err != nil || len(all) != 1 || all[0].Customer != "cus_1" || all[0].Object != "in_1" || !bytes.Equal(all[0].Raw, good) {
			t.Errorf("stored: %+v, %v", all, err)
		}
	})
}

func TestAnEventOfAnotherVersionIsKeptAndNotActedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		in, _ := newInbox(w, hookSecret)
		thin := []byte(`{"id":"evt_thin","object":"v2.core.event","created":"2026-02-01T00:00:00Z","type":"v1.billing.meter.error_report_triggered"}`)
		for _, body := range [][]byte{payload("evt_new", "2026-09-30.endive", false), thin} {
			if err := in.Take(t.Context(), body, stripefake.Sign(body, hookSecret, time.Now())); err != nil {
				t.Error(err)
			}
		}
		n, err := in.Work(t.Context(), func(context.Context, stripe.Event) error { t.Error("acted on"); return nil })
		odd, _ := in.List(t.Context(), stripe.EventOdd)
		if err != nil || n != 0 || len(odd) != 2 || odd[0].Error == "" {
			t.Errorf("%d handled, %+v, %v", n, odd, err)
		}
		if err := in.Replay(t.Context(), "evt_thin"); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("replayed: %v", err)
		}
	})
}

func TestAReactionIsTriedUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		in, _ := newInbox(w, hookSecret)
		for _, id := range []string{"evt_a", "evt_b"} {
			body := payload(id, stripe.APIVersion, false)
			if err := in.Take(t.Context(), body, stripefake.Sign(body, hookSecret, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		var seen []string
		fail := true
		react := func(_ context.Context, e stripe.Event) error {
			seen = append(seen, e.ID)
			if e.ID == "evt_a" && fail {
				return errCrash
			}
			return nil
		}
		for want := range 2 {
			if n, err := in.Work(t.Context(), react); n != 1 || err != nil {
				t.Errorf("work %d: %d, %v", want, n, err)
			}
			fail = false
		}
		if n, err := in.Work(t.Context(), react); n != 0 || err != nil {
			t.Errorf("nothing left: %d, %v", n, err)
		}
		if err := in.Replay(t.Context(), "evt_b"); err != nil {
			t.Fatal(err)
		}
		if n, _ := in.Work(t.Context(), react); n != 1 || strings.Join(seen, " ") != "evt_a evt_b evt_a evt_b" {
			t.Errorf("replay: %d, %v", n, seen)
		}
	})
}

// door is the endpoint as a server would have it.
type door struct{ in *stripe.Inbox }

func (d door) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	body, _ := io.ReadAll(r.Body)
	if err := d.in.Take(r.Context(), body, r.Header.Get("Stripe-Signature")); err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	return w.Result(), nil
}

// TestEveryEventIsReactedToOnce: deliveries that are lost, come twice, late and in
// another order, and a poll now and then; each event is handled once.
func TestEveryEventIsReactedToOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{}
		fake := stripefake.New(stripefake.Config{
			Client: &http.Client{Transport: d}, Keys: map[string]stripefake.Rights{"sk_test_human": nil, "rk_test_panda": {"events": "read"}},
			Faults: &stripefake.Faults{Seed: 11, PerMille: 300, EventLost: 300, EventTwice: 300, EventLate: 500},
		})
		w := &world{t: t, fake: fake, store: newMemory(), lease: &leases{}, plain: &reader{t, fake},
			cfg: stripe.Config{Key: "rk_test_panda", Transport: fake.Transport(), URL: "https://fake.invalid"}}
		var end struct{ Secret stripe.Secret }
		w.plain.do(http.MethodPost, "/v1/webhook_endpoints", "url=https://panda.invalid/v1/stripe/webhook&enabled_events[0]=*", &end)
		d.in, _ = newInbox(w, end.Secret)
		cus := w.plain.customer()
		const invoices = 120
		counts := map[string]int{}
		react := func(_ context.Context, e stripe.Event) error {
			counts[e.Kind+" "+e.Object]++
			return nil
		}
		for range invoices {
			w.plain.do(http.MethodPost, "/v1/invoices", "customer="+cus, nil)
			time.Sleep(time.Minute)
			fake.Pump(t.Context())
			if _, err := d.in.Work(t.Context(), react); err != nil {
				t.Fatal(err)
			}
		}
		delivered := len(counts)
		for tries := 0; ; tries++ {
			n, err := d.in.Poll(t.Context())
			if err == nil {
				if n+delivered < invoices {
					t.Errorf("polled %d of %d that were lost", n, invoices-delivered)
				}
				break
			}
			if tries > 50 || !errors.Is(err, schemas.ErrUnavailable) {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if _, err := d.in.Work(t.Context(), react); err != nil {
			t.Fatal(err)
		}
		created := 0
		for what, n := range counts {
			if n != 1 {
				t.Errorf("%s was reacted to %d times", what, n)
			}
			if strings.HasPrefix(what, "invoice.created") {
				created++
			}
		}
		if created != invoices || delivered >= invoices {
			t.Errorf("%d of %d events, %d of them delivered", created, invoices, delivered)
		}
	})
}
