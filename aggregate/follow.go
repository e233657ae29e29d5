package aggregate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// followRowsMax bounds the events that Follow reads one by one: what a writer
// commits in a second. Further behind, a rebuild costs less than it.
const followRowsMax = 50_000

// Follow brings the totals to the ledger's position, for a process whose writer
// does not lead: nobody calls Apply there. It returns the position, and the events that
// it counted, none if it rebuilt. It reads what came since, or rebuilds if that is much; a
// commit that Apply counted meanwhile is counted once. Before the first Rebuild it does
// nothing.
func (l *Live) Follow(ctx context.Context) (reached Position, counted []schemas.Accepted, err error) {
	l.feed.Lock()
	defer l.feed.Unlock()
	at := l.Position()
	if !l.ready.Load() {
		return at, nil, nil
	}
	asOf, err := l.store.Position(ctx, l.cfg.Shard)
	if err != nil || asOf.Seq <= at.Seq {
		return at, nil, err
	}
	var rows []schemas.Accepted
	spans, ok := l.store.(spanStore)
	if ok {
		if rows, err = spans.Between(ctx, at.Seq, asOf.Seq, followRowsMax+1); err != nil {
			return at, nil, err
		}
	}
	if !ok || len(rows) > followRowsMax {
		err = l.rebuild(ctx)
		return l.Position(), nil, err
	}
	l.apply(rows, asOf.Seq)
	return l.Position(), rows, nil
}

// A spanStore is a LiveStore that can be read in part; another is read whole.
type spanStore interface {
	// Between returns the events of (after, upto], of all tenants, in the order of
	// the log, at most limit of them.
	Between(ctx context.Context, after, upto uint64, limit int) ([]schemas.Accepted, error)
}

var _ spanStore = LiveTables{}

// Between implements spanStore.
func (t LiveTables) Between(ctx context.Context, after, upto uint64, limit int) ([]schemas.Accepted, error) {
	var events []schemas.Accepted
	err := t.everywhere(ctx, "follow", func(rows *warehouse.Rows) error {
		var tenant string
		a, err := scanEventAfter(rows, &tenant)
		a.Tenant = tenant
		events = append(events, a)
		return err
	}, warehouse.Param{Name: "after", Value: after},
		warehouse.Param{Name: "upto", Value: upto},
		warehouse.Param{Name: "limit", Value: uint32(limit)})
	if err != nil {
		return nil, fmt.Errorf("follow the ledger: %w", err)
	}
	slices.SortStableFunc(events, func(a, b schemas.Accepted) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Idx, b.Idx))
	})
	return events[:min(len(events), limit)], nil
}
