package ingest

import (
	"context"
	"fmt"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

var _ RangeStore = (*Tables)(nil)

// Range implements RangeStore. The row comes without the windows it touched.
func (t *Tables) Range(ctx context.Context, shard uint32, from uint64) (row LedgerRow, revisionBefore uint32, err error) {
	rows, err := t.db.Query(ctx, statement("range"),
		warehouse.Param{Name: "shard", Value: shard}, warehouse.Param{Name: "from", Value: from})
	if err != nil {
		return row, 0, err
	}
	found := false
	err = rows.Each(func() error {
		found = true
		return rows.Scan(&row.Epoch, &row.From, &row.To, &row.Messages, &row.Events, &row.Accepted, &row.Duplicates,
			&row.Conflicts, &row.Quarantined, &row.Calls, &row.Unpriced, &row.Late, &row.Tokens, &row.Cost, &row.RowHash,
			&row.PriceRevision, &revisionBefore)
	})
	if err == nil && !found {
		err = fmt.Errorf("no range of the ledger begins at %d: %w", from, schemas.ErrInvalid)
	}
	row.Shard = shard
	return row, revisionBefore, err
}

// Erased returns what was erased of the range that begins at from, per tenant, for a
// Replayer.
func (t *Tables) Erased(ctx context.Context, shard uint32, from uint64) ([]Erased, error) {
	rows, err := t.db.Query(ctx, statement("erased"),
		warehouse.Param{Name: "shard", Value: shard}, warehouse.Param{Name: "from", Value: from})
	if err != nil {
		return nil, err
	}
	var parts []Erased
	err = rows.Each(func() error {
		var e Erased
		var whole uint8
		s := &e.Sums
		err := rows.Scan(&e.Tenant, &whole, &s.Messages, &s.Events, &s.Accepted, &s.Duplicates, &s.Conflicts, &s.Quarantined,
			&s.Calls, &s.Unpriced, &s.Late, &s.Tokens, &s.Cost, &s.RowHash)
		e.Whole = whole == 1
		parts = append(parts, e)
		return err
	})
	return parts, err
}
