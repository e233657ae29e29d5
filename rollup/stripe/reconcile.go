package stripe

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/agentik-os/panda/schemas"
)

// Report is what reconciling found out about a bill.
type Report struct {
	Ref     string `json:"ref"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Invoice string `json:"invoice,omitempty"`
	Number  string `json:"number,omitempty"`
	Status  string `json:"status,omitempty"` // of the invoice, now
	// Billed, Pushed and Found are the totals of the statement, of the record and of the
	// invoice, in minor units. On a subscription's invoice Found counts our lines.
	Billed      int64        `json:"billed"`
	Pushed      int64        `json:"pushed"`
	Found       int64        `json:"found"`
	Differences []Difference `json:"differences,omitempty"`
	// Repairs would mend a draft; see Repair.
	Repairs []Repair `json:"repairs,omitempty"`
}

// Clean says that statement, record and invoice are the same.
func (r Report) Clean() bool { return len(r.Differences) == 0 }

// OtherStatement is a difference between the statement and what was pushed of it.
const OtherStatement Kind = "statement"

// Reconcile compares a statement as it is now, the record of its push, and the invoice as
// Stripe shows it now. It changes nothing.
//
// Errors: eventlog.ErrNotFound if the statement was never pushed; schemas.ErrUnavailable;
// ErrDenied.
func (p *Pusher) Reconcile(ctx context.Context, bill Bill) (Report, error) {
	ref := bill.ref(p.mode)
	rec, err := load(ctx, p.store, ref)
	if err != nil {
		return Report{}, fmt.Errorf("reconcile: %w", err)
	}
	r := Report{Ref: ref, State: rec.State, Reason: rec.Reason, Invoice: rec.Invoice, Billed: bill.Total, Pushed: rec.Bill.Total}
	r.Differences = againstRecord(bill.collapsed(), rec.Bill)
	if rec.Invoice == "" {
		if len(rec.Bill.Lines) > 0 {
			r.Differences = append(r.Differences, Difference{Kind: OtherStatus, Want: "an invoice", Got: "none yet"})
		}
		return r, nil
	}
	found, err := p.look(ctx, rec)
	if err != nil {
		return Report{}, fmt.Errorf("reconcile %s: %w", ref, err)
	}
	r.Number, r.Status = found.Number, found.Status
	for _, it := range found.Items {
		if rec.Bill.Invoice == "" || it.Ref == rec.Ref {
			r.Found += it.Amount
		}
	}
	differences := Compare(*rec, found)
	r.Repairs = Plan(found, differences)
	r.Differences = append(r.Differences, differences...)
	return r, nil
}

// Repair mends a draft as [Plan] says, because a person asked for it, and goes on with the
// push: what is not of the bill is taken off, what is missing or was changed is sent again
// under a new key. What was done since the report is seen, because the plan is made anew.
//
// Errors: those of Push, and schemas.ErrInvalid if the invoice is no draft.
func (p *Pusher) Repair(ctx context.Context, ref string) (Push, error) {
	return p.hold(ctx, ref, func(ctx context.Context) (*Push, error) {
		rec, err := load(ctx, p.store, ref)
		if err != nil {
			return nil, err
		}
		if rec.Invoice == "" {
			return rec, schemas.Invalid("", schemas.CodeNotAllowed, "%s has no invoice that could be mended", ref)
		}
		found, err := p.look(ctx, rec)
		if err != nil {
			return rec, err
		}
		if found.Gone || found.Status != "draft" {
			return rec, schemas.Invalid("", schemas.CodeNotAllowed,
				"invoice %s is no draft: correct it by a line of the next month or a credit note", rec.Invoice)
		}
		differences := Compare(*rec, found)
		for _, d := range differences {
			if e := rec.line(d.Line); e != nil && d.Kind == Unconfirmed {
				e.State, e.ID = Confirmed, d.Item
			}
		}
		for _, r := range Plan(found, differences) {
			if r.Action == "add" {
				// As if its key were spent: it is looked for, and then sent under the next.
				if e := rec.line(r.Line); e != nil {
					e.State, e.ID, e.LastSent = Stored, "", p.cfg.Now().UTC()
				}
				continue
			}
			if err := p.client.remove(ctx, "/v1/invoiceitems/"+r.Item); err != nil && !errors.Is(err, errGone) {
				return rec, err
			}
		}
		rec.State, rec.Reason, rec.Detail = Adding, "", ""
		if err := p.keep(ctx, rec); err != nil {
			return rec, err
		}
		return rec, p.work(ctx, rec)
	})
}

// line returns the entry of a line, or nil.
func (p *Push) line(id string) *Entry {
	for _, e := range p.Lines {
		if e.Line == id {
			return e
		}
	}
	return nil
}

// againstRecord says in what a statement is not the one that was pushed.
func againstRecord(now, pushed Bill) []Difference {
	var all []Difference
	if now.Checksum != pushed.Checksum {
		all = append(all, Difference{Kind: OtherStatement, Want: now.Checksum, Got: pushed.Checksum})
	}
	amounts := map[string]int64{}
	for _, l := range pushed.Lines {
		amounts[l.ID] = l.Amount
	}
	for _, l := range now.Lines {
		amount, ok := amounts[l.ID]
		delete(amounts, l.ID)
		switch {
		case !ok:
			all = append(all, Difference{Kind: OtherStatement, Line: l.ID, Want: strconv.FormatInt(l.Amount, 10), Got: "nothing"})
		case amount != l.Amount:
			all = append(all, Difference{Kind: OtherStatement, Line: l.ID, Want: strconv.FormatInt(l.Amount, 10), Got: strconv.FormatInt(amount, 10)})
		}
	}
	for _, l := range pushed.Lines {
		if _, left := amounts[l.ID]; left {
			all = append(all, Difference{Kind: OtherStatement, Line: l.ID, Want: "nothing", Got: strconv.FormatInt(l.Amount, 10)})
		}
	}
	return all
}
