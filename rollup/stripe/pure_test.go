package stripe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agentik-os/panda/rollup/stripe"
	"github.com/agentik-os/panda/schemas"
)

// TestOutcomes is the table of answers: one row for each that Stripe's pages name.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer stripe.Answer
		want   stripe.Verdict
		why    string
	}{
		{stripe.Answer{Status: 200, Readable: true}, stripe.Taken, "it is done"},
		{stripe.Answer{Status: 200, Readable: true, Replayed: true}, stripe.Taken, "it was done before"},
		{stripe.Answer{Status: 200}, stripe.Unknown, "a broken body of something that was done"},
		{stripe.Answer{}, stripe.Unknown, "a timeout, a cut"},
		{stripe.Answer{Status: 502}, stripe.Unknown, "HTML of a proxy"},
		{stripe.Answer{Status: 500}, stripe.Unknown, "a 500 that is not Stripe's"},
		{stripe.Answer{Status: 503, Readable: true}, stripe.Unknown, "Stripe is down"},
		{stripe.Answer{Status: 500, Readable: true}, stripe.StoredErr, "a 500 is kept under the key"},
		{stripe.Answer{Status: 503, Readable: true, Replayed: true}, stripe.StoredErr, "whatever is replayed stays"},
		{stripe.Answer{Status: 429, Readable: true, Code: "rate_limit"}, stripe.Later, "the limiter stands before the keys"},
		{stripe.Answer{Status: 429, Readable: true, Code: "lock_timeout"}, stripe.StoredErr, "the lock is behind them"},
		{stripe.Answer{Status: 409, Readable: true, Code: "idempotency_key_in_use"}, stripe.Later, "the first of the key is under way"},
		{stripe.Answer{Status: 400, Readable: true, Type: "idempotency_error"}, stripe.Rejected, "never go on under another key"},
		{stripe.Answer{Status: 400, Readable: true, Code: "invoice_not_editable"}, stripe.Closed, "finalized"},
		{stripe.Answer{Status: 400, Readable: true, Code: "parameter_unknown"}, stripe.Rejected, "wrong stays wrong"},
		{stripe.Answer{Status: 402, Readable: true}, stripe.Rejected, "declined"},
		{stripe.Answer{Status: 404, Readable: true}, stripe.Rejected, "no such customer"},
		{stripe.Answer{Status: 401, Readable: true}, stripe.Denied, "a revoked key"},
		{stripe.Answer{Status: 403, Readable: true}, stripe.Denied, "a restricted key"},
	} {
		if got := stripe.Judge(c.answer); got != c.want {
			t.Errorf("%s (%+v): %s, want %s", c.why, c.answer, got, c.want)
		}
	}
}

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const hidden = "51Hxxxxxxxx"
	for _, s := range []stripe.Secret{"sk_live_" + hidden, "rk_test_" + hidden, "whsec_" + hidden, hidden} {
		j, err := json.Marshal(map[string]any{"key": s})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%s %q %v %+v %#v %x", s, s, s, s, s, s), string(j), fmt.Sprintf("%+v", stripe.Config{Key: s})} {
			if strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
				t.Errorf("printed: %s", text)
			}
		}
	}
	if _, err := stripe.Secret("pk_test_" + hidden).Mode(); err == nil || strings.Contains(err.Error(), hidden) {
		t.Errorf("a publishable key: %v", err)
	}
	for key, want := range map[stripe.Secret]stripe.Mode{"rk_live_x": stripe.Live, "sk_test_x": stripe.Test} {
		if mode, err := key.Mode(); mode != want || err != nil {
			t.Errorf("%s: %s, %v", key, mode, err)
		}
	}
}

func TestBillsThatCannotBeCharged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		at     string
		change func(b *stripe.Bill)
	}{
		"no customer":          {"/customer", func(b *stripe.Bill) { b.Customer = "" }},
		"a total that differs": {"/total", func(b *stripe.Bill) { b.Total++ }},
		"a line twice":         {"/lines/1/id", func(b *stripe.Bill) { b.Lines[1].ID = b.Lines[0].ID }},
		"a contested currency": {"/currency", func(b *stripe.Bill) { b.Currency = "UGX" }},
		"no currency":          {"/currency", func(b *stripe.Bill) { b.Currency = "" }},
		"a third decimal":      {"/lines/1/amount", func(b *stripe.Bill) { b.Currency = "KWD" }},
		"cents of a króna":     {"/lines/1/amount", func(b *stripe.Bill) { b.Currency = "ISK" }},
		"an empty period":      {"/end", func(b *stripe.Bill) { b.End = b.Start }},
		"a sum beyond 64 bits": {"/lines/1/amount", func(b *stripe.Bill) { b.Lines[0].Amount, b.Lines[1].Amount = 1<<62, 1<<62 }},
	} {
		b := w.bill("cus_1", 3)
		c.change(&b)
		_, err := w.pusher().Push(t.Context(), b)
		var f *schemas.FieldError
		if !errors.As(err, &f) || f.Pointer != c.at {
			t.Errorf("%s: %v, want %s", name, err, c.at)
		}
	}
	if n := len(w.fake.Calls()); n != 0 {
		t.Errorf("%d requests were made for bills that are wrong", n)
	}
}

// TestCompare: what reconciling says of an invoice that somebody changed, and what may be
// mended of it.
func TestCompare(t *testing.T) {
	t.Parallel()
	bill := stripe.Bill{Currency: "USD", Total: 300, Lines: []stripe.Line{{ID: "a", Amount: 100}, {ID: "b", Amount: 200}}}
	rec := stripe.Push{Ref: "r", Bill: bill, Lines: []*stripe.Entry{{Line: "a", ID: "ii_a"}, {Line: "b", ID: "ii_b"}}}
	item := func(id, line string, amount int64) stripe.FoundItem {
		return stripe.FoundItem{ID: id, Ref: "r", Line: line, Amount: amount, Currency: "usd"}
	}
	a, b := item("ii_a", "a", 100), item("ii_b", "b", 200)
	hand := stripe.FoundItem{ID: "ii_h", Amount: 7, Currency: "usd"}
	euros := b
	euros.Currency = "eur"
	for _, c := range []struct {
		name  string
		found stripe.Found
		want  string
		plan  string
	}{
		{"right", stripe.Found{Subtotal: 300, Items: []stripe.FoundItem{a, b}}, "", ""},
		{"missing", stripe.Found{Subtotal: 100, Items: []stripe.FoundItem{a}}, "missing b: want 200, found nothing", "add b"},
		{"extra", stripe.Found{Subtotal: 307, Items: []stripe.FoundItem{a, b, hand}}, "extra ii_h: 7 USD", "remove  ii_h"},
		{"twice", stripe.Found{Subtotal: 400, Items: []stripe.FoundItem{item("ii_0", "a", 100), a, b}}, "repeated a: 100", "remove a ii_0"},
		{"amount", stripe.Found{Subtotal: 300, Items: []stripe.FoundItem{item("ii_a", "a", 90), b}}, "amount a: want 100, found 90", "remove a ii_a; add a"},
		{"currency", stripe.Found{Subtotal: 300, Items: []stripe.FoundItem{a, euros}}, "currency b: want USD, found EUR", "remove b ii_b; add b"},
		{"outbox", stripe.Found{Subtotal: 300, Items: []stripe.FoundItem{a, item("ii_x", "b", 200)}}, "outbox b: want ii_b, found ii_x", ""},
		{"total", stripe.Found{ID: "in_1", Subtotal: 250, Items: []stripe.FoundItem{a, b}}, "total in_1: want 300, found 250", ""},
		{"void", stripe.Found{ID: "in_1", Status: "void", Subtotal: 300, Items: []stripe.FoundItem{a, b}}, "status in_1: want draft, open or paid, found void", ""},
		{"gone", stripe.Found{Gone: true}, "status : want an invoice, found none", ""},
	} {
		c.found.Currency = "usd"
		if c.found.Status == "" {
			c.found.Status = "draft"
		}
		all := stripe.Compare(rec, c.found)
		var texts, plan []string
		for _, d := range all {
			texts = append(texts, d.String())
		}
		for _, r := range stripe.Plan(c.found, all) {
			plan = append(plan, strings.TrimSpace(r.Action+" "+r.Line+" "+r.Item))
		}
		if got := strings.Join(texts, "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := strings.Join(plan, "; "); got != c.plan {
			t.Errorf("%s: plan %q, want %q", c.name, got, c.plan)
		}
		if c.found.Status = "open"; stripe.Plan(c.found, all) != nil {
			t.Errorf("%s: something of a finalized invoice would be mended", c.name)
		}
	}
	sub := rec
	sub.Bill.Invoice = "in_sub"
	if got := stripe.Compare(sub, stripe.Found{Status: "open", Currency: "usd", Subtotal: 5200, Items: []stripe.FoundItem{a, b, hand}}); got != nil {
		t.Errorf("what a subscription brings is no difference: %v", got)
	}
}
