package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// State is how far a bill has come.
type State string

// The states of a Push.
const (
	Drafting   State = "drafting"   // the invoice is being made or found
	Adding     State = "adding"     // its lines are being added
	Finalizing State = "finalizing" // its lines are right; it is being finalized
	Placed     State = "placed"     // mode B: its lines are right; Stripe will finalize it
	Done       State = "done"       // finalized, and what is on it is the bill
	Attention  State = "attention"  // a person must look: see Reason
)

// The reasons for attention, words that an alert may branch on.
const (
	ReasonDeleted   = "invoice_deleted"       // it is gone at Stripe
	ReasonVoided    = "invoice_voided"        // or marked uncollectible before it was done
	ReasonClosed    = "invoice_closed"        // it was finalized, by hand or by Stripe, before its lines were complete
	ReasonForeign   = "line_added_by_hand"    // a line that is not of this bill
	ReasonChanged   = "line_changed_by_hand"  // another amount or currency than was sent
	ReasonRemoved   = "line_removed_by_hand"  // a line that was confirmed is gone
	ReasonTotal     = "total_differs"         // the lines are right and the sum is not
	ReasonRefused   = "request_refused"       // Stripe says that the request is wrong
	ReasonAnswer    = "answer_differs"        // what came back is not what was sent
	ReasonUnfitting = "invoice_does_not_fit"  // mode B: not the draft of this customer's subscription
	ReasonTooMany   = "too_many_lines"        // mode B: more than Stripe takes, with what is there
	ReasonTwo       = "second_invoice_exists" // another invoice of this bill was finalized
)

// Push is a bill on its way, as it is stored.
type Push struct {
	Ref    string `json:"ref"`
	Bill   Bill   `json:"bill"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`

	Invoice string `json:"invoice,omitempty"` // Stripe's id, in_…
	Number  string `json:"number,omitempty"`
	Status  string `json:"status,omitempty"` // as Stripe last said
	Total   int64  `json:"total"`            // of the finalized invoice, minor units

	Create   *Entry   `json:"create,omitempty"`
	Lines    []*Entry `json:"lines,omitempty"`
	Finalize *Entry   `json:"finalize,omitempty"`

	// Removed counts lines that were on the draft twice and were taken off.
	Removed int `json:"removed,omitempty"`

	Began   time.Time `json:"began"`
	Changed time.Time `json:"changed"`

	revision uint64
}

// terminal: nothing is left to do without a person or a new event.
func (p *Push) terminal() bool { return p.State == Done || p.State == Attention || p.State == Placed }

// Store keeps the records; *eventlog.Bucket is one.
type Store interface {
	Get(ctx context.Context, key string) (eventlog.Entry, error)
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Keys(ctx context.Context) ([]string, error)
}

// load reads a record, or returns eventlog.ErrNotFound.
func load(ctx context.Context, store Store, ref string) (*Push, error) {
	e, err := store.Get(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("load push %s: %w", ref, err)
	}
	p := &Push{}
	if err := json.Unmarshal(e.Value, p); err != nil {
		return nil, fmt.Errorf("load push %s: decode: %w", ref, err)
	}
	p.revision = e.Revision
	amounts := map[string]int64{}
	for _, l := range p.Bill.Lines {
		amounts[l.ID] = l.Amount
	}
	for _, e := range p.Lines {
		e.amount = amounts[e.Line]
	}
	return p, nil
}

// save stores a record over the one it was made of. schemas.ErrConflict: somebody else
// works on this bill, and whoever gets this error must stop.
//
// A write whose acknowledgement was lost is recognised by reading.
func save(ctx context.Context, store Store, p *Push) error {
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("save push %s: encode: %w", p.Ref, err)
	}
	var revision uint64
	if p.revision == 0 {
		revision, err = store.Create(ctx, p.Ref, value)
	} else {
		revision, err = store.Update(ctx, p.Ref, value, p.revision)
	}
	if errors.Is(err, schemas.ErrConflict) || errors.Is(err, schemas.ErrUnavailable) {
		e, readErr := store.Get(ctx, p.Ref)
		if readErr == nil && bytes.Equal(e.Value, value) {
			revision, err = e.Revision, nil
		}
	}
	if err != nil {
		return fmt.Errorf("save push %s: %w", p.Ref, err)
	}
	p.revision = revision
	return nil
}
