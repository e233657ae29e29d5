package stripe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/agentik-os/panda/schemas"
)

// saveEvery is how many answers may be lost by a crash. They are asked for again under
// the same keys, so this is a matter of requests, not of charges.
const saveEvery = 20

// step does the next thing. It returns how long to wait before the step after it; an
// error that matches schemas.ErrUnavailable is waited for, too.
func (p *Pusher) step(ctx context.Context, rec *Push) (time.Duration, error) {
	switch rec.State {
	case Drafting:
		if rec.Bill.Invoice != "" {
			return 0, p.fit(ctx, rec)
		}
		return p.draft(ctx, rec)
	case Adding:
		return p.add(ctx, rec)
	case Finalizing:
		return p.finish(ctx, rec)
	}
	panic("stripe: a step from state " + string(rec.State) + ", which is terminal")
}

// attempt sends an entry once, unless its key is too old, and says what the answer means.
// The entry is in the store as sent before it is.
func (p *Pusher) attempt(ctx context.Context, rec *Push, e *Entry) (object, Verdict, error) {
	now := p.cfg.Now().UTC()
	if e.FirstSent.IsZero() {
		e.FirstSent, e.State = now, Sent
		if err := p.keep(ctx, rec); err != nil {
			return object{}, "", err
		}
	}
	if now.Sub(e.FirstSent) > keyAge {
		// Stripe may have forgotten the key, and would do it again.
		e.State, e.LastSent = Stored, laterOf(e.LastSent, e.FirstSent)
		return object{}, StoredErr, nil
	}
	e.LastSent = now
	got, a, err := p.client.send(ctx, e)
	if err != nil {
		return object{}, "", err
	}
	e.LastSent = p.cfg.Now().UTC()
	verdict := Judge(a)
	e.Request, e.Error = cmp.Or(a.Request, e.Request), a.Message
	switch verdict {
	case Later, Unknown:
		return got, verdict, fmt.Errorf("%w: %s %s: %d %s", schemas.ErrUnavailable, e.Op, e.Line, a.Status, a.Message)
	case Denied:
		return got, verdict, fmt.Errorf("%s: %w: %s", e.Op, ErrDenied, a.Message)
	case StoredErr:
		e.State = Stored
	case Rejected:
		e.State = Refused
		return got, verdict, p.attend(ctx, rec, ReasonRefused, "%s %s: %d %s: %s (request %s)", e.Op, e.Line, a.Status, cmp.Or(a.Code, a.Type), a.Message, a.Request)
	}
	return got, verdict, nil
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// again begins the next generation of an entry that is not there, or says how long the
// last one may still be on its way.
func (p *Pusher) again(ctx context.Context, rec *Push, e *Entry) (time.Duration, error) {
	if rest := p.cfg.Quiet - p.cfg.Now().Sub(e.LastSent); rest > 0 {
		return rest, nil
	}
	e.next(p.cfg.Account, p.mode, rec.Ref)
	return 0, p.keep(ctx, rec)
}

// draft makes the invoice, or finds the one that was made.
func (p *Pusher) draft(ctx context.Context, rec *Push) (time.Duration, error) {
	if rec.Create == nil {
		rec.Create = rec.frozenInvoice(p.cfg, p.mode)
	}
	if rec.Create.State == Stored {
		mine, err := p.mine(ctx, rec)
		if err != nil {
			return 0, err
		}
		if len(mine) == 0 {
			return p.again(ctx, rec, rec.Create)
		}
		return 0, p.begun(ctx, rec, mine[0].ID)
	}
	got, verdict, err := p.attempt(ctx, rec, rec.Create)
	if err != nil || rec.State != Drafting {
		return 0, err
	}
	switch verdict {
	case StoredErr:
		return 0, nil
	case Closed:
		rec.Create.State = Refused
		return 0, p.attend(ctx, rec, ReasonAnswer, "a new invoice was asked for, and Stripe says that it is not editable")
	}
	if got.Metadata[metaRef] != rec.Ref || got.Customer != rec.Bill.Customer || !strings.EqualFold(got.Currency, rec.Bill.Currency) {
		return 0, p.attend(ctx, rec, ReasonAnswer, "the new invoice %s is for %s in %s and carries %q", got.ID, got.Customer, got.Currency, got.Metadata[metaRef])
	}
	return 0, p.begun(ctx, rec, got.ID)
}

// begun notes the invoice and freezes the lines, which name it.
func (p *Pusher) begun(ctx context.Context, rec *Push, id string) error {
	rec.Invoice, rec.State = id, Adding
	if rec.Create != nil {
		rec.Create.State, rec.Create.ID = Confirmed, id
	}
	if len(rec.Lines) == 0 {
		for _, l := range rec.Bill.Lines {
			rec.Lines = append(rec.Lines, rec.frozenLine(p.cfg, p.mode, l))
		}
	}
	return p.keep(ctx, rec)
}

// mine lists the invoices of the bill, the oldest first. All of the customer's are read:
// a filter by time would trust clocks, and a customer has few.
func (p *Pusher) mine(ctx context.Context, rec *Push) ([]*stripego.Invoice, error) {
	all, err := p.client.invoices(ctx, rec.Bill.Customer)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(inv *stripego.Invoice) bool { return inv.Metadata[metaRef] != rec.Ref })
	slices.SortFunc(all, func(a, b *stripego.Invoice) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// fit looks whether the subscription's draft is one (mode B).
func (p *Pusher) fit(ctx context.Context, rec *Push) error {
	b := rec.Bill
	inv, err := p.client.invoice(ctx, b.Invoice)
	if errors.Is(err, errGone) {
		return p.attend(ctx, rec, ReasonDeleted, "invoice %s is not there", b.Invoice)
	}
	if err != nil {
		return err
	}
	customer := ""
	if inv.Customer != nil {
		customer = inv.Customer.ID
	}
	switch {
	case inv.Status != stripego.InvoiceStatusDraft:
		return p.attend(ctx, rec, ReasonClosed, "invoice %s is %s: nothing was added; bill the month on an invoice of its own", inv.ID, inv.Status)
	case inv.BillingReason != stripego.InvoiceBillingReasonSubscriptionCycle, customer != b.Customer, !strings.EqualFold(string(inv.Currency), b.Currency):
		return p.attend(ctx, rec, ReasonUnfitting, "invoice %s is made by %s for %s in %s", inv.ID, inv.BillingReason, customer, inv.Currency)
	}
	count, err := p.client.lines(ctx, inv.ID)
	if err != nil {
		return err
	}
	if count+len(b.Lines) > stripeLinesMax {
		return p.attend(ctx, rec, ReasonTooMany, "%d lines are on invoice %s, %d more are too many", count, inv.ID, len(b.Lines))
	}
	return p.begun(ctx, rec, inv.ID)
}

// add sends the lines that are not confirmed, and looks for those whose key is spent.
func (p *Pusher) add(ctx context.Context, rec *Push) (time.Duration, error) {
	if err := p.announce(ctx, rec); err != nil {
		return 0, err
	}
	answers, look := 0, false
	for _, e := range rec.Lines {
		if e.State == Stored {
			look = true
		}
		if e.State == Confirmed || e.State == Stored {
			continue
		}
		got, verdict, err := p.attempt(ctx, rec, e)
		if err != nil || rec.State != Adding {
			return 0, err
		}
		switch verdict {
		case Taken:
			if got.Amount != e.amount || !strings.EqualFold(got.Currency, rec.Bill.Currency) || got.Invoice != rec.Invoice || got.Metadata[metaLine] != e.Line {
				e.State = Refused
				return 0, p.attend(ctx, rec, ReasonAnswer, "line %s was sent with %d %s and came back with %d %s on %s", e.Line, e.amount, rec.Bill.Currency, got.Amount, got.Currency, got.Invoice)
			}
			e.State, e.ID, e.Error = Confirmed, got.ID, ""
		case Closed:
			return 0, p.closed(ctx, rec)
		case StoredErr:
			look = true
		}
		if answers++; answers%saveEvery == 0 {
			if err := p.keep(ctx, rec); err != nil {
				return 0, err
			}
		}
	}
	if look {
		return p.lookUp(ctx, rec)
	}
	if rec.Bill.Invoice != "" {
		return 0, p.place(ctx, rec)
	}
	rec.State = Finalizing
	return 0, p.keep(ctx, rec)
}

// announce stores that lines are about to be sent, in one write for all.
func (p *Pusher) announce(ctx context.Context, rec *Push) error {
	now, changed := p.cfg.Now().UTC(), false
	for _, e := range rec.Lines {
		if e.State == Prepared && e.FirstSent.IsZero() {
			e.State, e.FirstSent, e.LastSent, changed = Sent, now, now, true
		}
	}
	if !changed {
		return nil
	}
	return p.keep(ctx, rec)
}

// lookUp reads the invoice back for the lines whose key is spent: what is there is
// confirmed, what is not gets its next generation once the old one has gone quiet.
func (p *Pusher) lookUp(ctx context.Context, rec *Push) (time.Duration, error) {
	items, err := p.client.items(ctx, rec.Invoice)
	if err != nil {
		return 0, err
	}
	byLine := map[string]string{}
	for _, it := range oldestFirst(items) {
		if line := it.Metadata[metaLine]; it.Metadata[metaRef] == rec.Ref && byLine[line] == "" {
			byLine[line] = it.ID
		}
	}
	var wait time.Duration
	for _, e := range rec.Lines {
		if e.State != Stored {
			continue
		}
		if id := byLine[e.Line]; id != "" {
			e.State, e.ID = Confirmed, id // its amount is compared before the end
			continue
		}
		if rest := p.cfg.Quiet - p.cfg.Now().Sub(e.LastSent); rest > 0 {
			wait = max(wait, rest)
			continue
		}
		e.next(p.cfg.Account, p.mode, rec.Ref)
	}
	return wait, p.keep(ctx, rec)
}

func oldestFirst(items []*stripego.InvoiceItem) []*stripego.InvoiceItem {
	slices.SortFunc(items, func(a, b *stripego.InvoiceItem) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.ID, b.ID))
	})
	return items
}

// look reads what is on the invoice of a record.
func (p *Pusher) look(ctx context.Context, rec *Push) (Found, error) {
	inv, err := p.client.invoice(ctx, rec.Invoice)
	if errors.Is(err, errGone) || (err == nil && inv.Deleted) {
		return Found{Gone: true}, nil
	}
	if err != nil {
		return Found{}, err
	}
	items, err := p.client.items(ctx, rec.Invoice)
	if err != nil {
		return Found{}, err
	}
	f := Found{
		ID: inv.ID, Status: string(inv.Status), Number: inv.Number, Currency: string(inv.Currency), Subtotal: inv.Subtotal, Total: inv.Total,
	}
	for _, it := range oldestFirst(items) {
		f.Items = append(f.Items, FoundItem{
			ID: it.ID, Ref: it.Metadata[metaRef], Line: it.Metadata[metaLine], Amount: it.Amount, Currency: string(it.Currency),
		})
	}
	return f, nil
}

// finish compares the invoice with the bill and finalizes it if it is right; it comes
// again after that and compares what was finalized.
func (p *Pusher) finish(ctx context.Context, rec *Push) (time.Duration, error) {
	settled, err := p.verify(ctx, rec)
	if err != nil || !settled || rec.State != Finalizing {
		return 0, err
	}
	if rec.Finalize == nil {
		rec.Finalize = rec.frozenFinalize(p.cfg, p.mode)
	}
	switch rec.Finalize.State {
	case Stored: // and the invoice is a draft still
		return p.again(ctx, rec, rec.Finalize)
	case Confirmed:
		return 0, p.attend(ctx, rec, ReasonAnswer, "invoice %s was finalized, and is a draft again", rec.Invoice)
	}
	// This write is the fence: a second pusher that went on meanwhile makes it fail.
	if err := p.keep(ctx, rec); err != nil {
		return 0, err
	}
	_, verdict, err := p.attempt(ctx, rec, rec.Finalize)
	switch verdict {
	case Taken:
		rec.Finalize.State, rec.Finalize.ID = Confirmed, rec.Invoice
	case Closed:
		rec.Finalize.State = Stored // it is finalized already, or the next look says that it is not
	}
	return 0, err
}

// verify compares what is on the invoice with the bill. It takes away what is there twice,
// notes an invoice that is finalized and right, and hands everything else to a person. It
// returns true if the invoice is a draft that may be finalized.
func (p *Pusher) verify(ctx context.Context, rec *Push) (bool, error) {
	if rec.Create != nil && rec.Create.Generation > 0 {
		if err := p.sweep(ctx, rec); err != nil || rec.State == Attention {
			return false, err
		}
	}
	found, err := p.look(ctx, rec)
	if err != nil {
		return false, err
	}
	rec.Status, rec.Number = found.Status, found.Number
	differences := Compare(*rec, found)
	if surplus := repeats(differences); len(surplus) > 0 && found.Status == "draft" {
		// The fence again: whoever takes away must be the one who knows what stays.
		if err := p.keep(ctx, rec); err != nil {
			return false, err
		}
		for _, d := range surplus {
			if err := p.client.remove(ctx, "/v1/invoiceitems/"+d.Item); err != nil && !errors.Is(err, errGone) {
				return false, err
			}
			rec.Removed++
			p.cfg.Log.Warn().Str("ref", rec.Ref).Str("line", d.Line).Str("item", d.Item).Msg("a line was on the draft twice and was taken off")
		}
		return false, fmt.Errorf("%w: lines were taken off draft %s, which is read again", schemas.ErrUnavailable, rec.Invoice)
	}
	if len(differences) > 0 {
		d := differences[0]
		return false, p.attend(ctx, rec, d.reason(found), "%s", describe(differences))
	}
	switch found.Status {
	case "draft":
		return true, nil
	case "open", "paid":
		rec.State, rec.Total = Done, found.Total
		return false, p.keep(ctx, rec)
	}
	return false, p.attend(ctx, rec, ReasonVoided, "invoice %s is %s", found.ID, found.Status)
}

// sweep takes away drafts of the bill other than its own, which a creation that was given
// up may have left.
func (p *Pusher) sweep(ctx context.Context, rec *Push) error {
	mine, err := p.mine(ctx, rec)
	if err != nil {
		return err
	}
	for _, inv := range mine {
		switch {
		case inv.ID == rec.Invoice:
		case inv.Status != stripego.InvoiceStatusDraft:
			return p.attend(ctx, rec, ReasonTwo, "invoice %s of this bill is %s, beside %s", inv.ID, inv.Status, rec.Invoice)
		default:
			if err := p.client.remove(ctx, "/v1/invoices/"+inv.ID); err != nil && !errors.Is(err, errGone) {
				return err
			}
		}
	}
	return nil
}

// closed hands a bill over whose invoice takes no lines any more.
func (p *Pusher) closed(ctx context.Context, rec *Push) error {
	found, err := p.look(ctx, rec)
	if err != nil {
		return err
	}
	reason := ReasonClosed
	if found.Gone {
		reason = ReasonDeleted
	}
	return p.attend(ctx, rec, reason, "invoice %s is %s: %s", rec.Invoice, found.Status, describe(Compare(*rec, found)))
}

// place ends the pushing of mode B, if the lines are right.
func (p *Pusher) place(ctx context.Context, rec *Push) error {
	settled, err := p.verify(ctx, rec)
	if err != nil || !settled {
		return err
	}
	rec.State = Placed
	return p.keep(ctx, rec)
}

// Check looks at a bill that was placed on a subscription's draft: when Stripe has
// finalized it, the bill is done, or needs a person.
func (p *Pusher) Check(ctx context.Context, ref string) (Push, error) {
	return p.hold(ctx, ref, func(ctx context.Context) (*Push, error) {
		rec, err := load(ctx, p.store, ref)
		if err != nil || rec.State != Placed {
			return rec, err
		}
		_, err = p.verify(ctx, rec)
		return rec, err
	})
}
