package stripe

import (
	"context"
	"fmt"
	"strconv"
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
	// Repairs would mend a draft; they are done by hand or by a push under way, never
	// by reconciling.
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
