package ingest

import (
	"context"
	"fmt"

	"github.com/agentik-os/panda/schemas"
)

// A hearing is all that the verdicts of a batch depend on besides the batch
// itself: what was accepted before, and the price book in force. The writer holds
// one for every new range; a Replayer holds the same one again for a range of the
// past, and must come to the same verdicts.
type hearing struct {
	keys interface {
		Known(ctx context.Context, keys []Key, upTo uint64) (map[Key]KeyRow, error)
		Accepted(ctx context.Context, refs []TenantRef, upTo uint64) ([]schemas.Accepted, error)
	}
	prices Prices
	// upTo is the sequence before the batch: what came later is not known yet.
	upTo uint64
	// book is the price book in force before the batch, and after judge the one at
	// its end.
	book *schemas.PriceBook
	// mayHave says whether a key may be among the accepted ones; false is certain.
	mayHave func(*Key) bool
	asked   int // keys that were looked up
}

// judge gives every event of a batch its verdict, in the order of the log.
func (h *hearing) judge(ctx context.Context, b *batch, out *verdictRange) error {
	known, targets, err := h.lookups(ctx, b)
	if err != nil {
		return err
	}
	out.quarantined = b.quarantined
	out.events = uint64(len(b.quarantined))
	j := judge{known: known, targets: targets, seen: make(map[Key]seenRow, len(b.steps)), out: out, rate: h.book.Rate}
	for i := range b.steps {
		s := &b.steps[i]
		if s.revision == 0 {
			j.event(&s.candidate)
			continue
		}
		if h.book, err = h.prices.Book(ctx, s.revision); err != nil {
			return fmt.Errorf("load price revision %d: %w", s.revision, err)
		}
		j.rate = h.book.Rate
	}
	return nil
}

// lookups asks about every key that may have been accepted before, and for the
// rows that voids name.
func (h *hearing) lookups(ctx context.Context, b *batch) (map[Key]KeyRow, map[Key]schemas.Accepted, error) {
	var ask []Key
	var refs []TenantRef
	for i := range b.steps {
		s := &b.steps[i]
		if s.revision != 0 {
			continue
		}
		if h.mayHave(&s.key) {
			ask = append(ask, s.key)
		}
		if s.event.Type == schemas.TypeVoid {
			ask = append(ask, VoidKeyOf(s.tenant, s.event.Corrects))
			refs = append(refs, TenantRef{s.tenant, s.event.Corrects})
		}
	}
	known := map[Key]KeyRow{}
	targets := map[Key]schemas.Accepted{}
	h.asked = len(ask)
	if len(ask) > 0 {
		var err error
		if known, err = h.keys.Known(ctx, ask, h.upTo); err != nil {
			return nil, nil, fmt.Errorf("look up %d keys: %w", len(ask), err)
		}
	}
	if len(refs) > 0 {
		rows, err := h.keys.Accepted(ctx, refs, h.upTo)
		if err != nil {
			return nil, nil, fmt.Errorf("look up %d voided events: %w", len(refs), err)
		}
		for _, r := range rows {
			targets[KeyOf(r.Tenant, r.Event.Source, r.Event.ID)] = r
		}
	}
	return known, targets, nil
}
