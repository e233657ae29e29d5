package aggregate

import (
	"context"
	"fmt"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// After returns a tenant's events in the order of the log, after a place in it,
// at most limit of them.
func (r *Reader) After(ctx context.Context, tenant string, seq uint64, idx uint16, limit int) ([]schemas.Accepted, error) {
	return r.tenantEvents(ctx, tenant, "after", fmt.Sprintf("read events after %d-%d", seq, idx),
		warehouse.Param{Name: "after_seq", Value: seq},
		warehouse.Param{Name: "after_idx", Value: idx},
		warehouse.Param{Name: "limit", Value: uint32(limit)})
}

// FindAny is Find without a source: everything that counts for an id, whoever
// sent it.
func (r *Reader) FindAny(ctx context.Context, tenant, id string) ([]schemas.Accepted, error) {
	return r.tenantEvents(ctx, tenant, "find_any", "find event",
		warehouse.Param{Name: "event_id", Value: id},
		warehouse.Param{Name: "limit", Value: uint32(RecentMax)})
}

// Sums are what the ledger says was accepted, over all tenants and all time.
type Sums struct {
	Calls, Tokens int64
	Cost          schemas.Money
}

// Add adds what another ledger adds up to.
func (s *Sums) Add(o *Sums) {
	s.Calls += o.Calls
	s.Tokens += o.Tokens
	s.Cost = s.Cost.Add(o.Cost)
}

// Sums returns what the whole ledger adds up to.
func (r *Reader) Sums(ctx context.Context) (Sums, error) {
	rows, err := r.db.Query(ctx, statement("sums"))
	if err != nil {
		return Sums{}, fmt.Errorf("sum ledger: %w", err)
	}
	var out Sums
	var count uint64
	var cost string
	if err := rows.Each(func() error { return rows.Scan(&count, &out.Calls, &out.Tokens, &cost) }); err != nil {
		return Sums{}, fmt.Errorf("sum ledger: %w", err)
	}
	if out.Cost, err = schemas.ParseMoney(cost); err != nil {
		return Sums{}, fmt.Errorf("sum ledger: %w", err)
	}
	return out, nil
}
