package aggregate

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// SpanNamesMax bounds the names of a Span: what alert rules can act on, with room.
const SpanNamesMax = 10_000

// A SpanTotal is what calls in a span of time add up to.
type SpanTotal struct {
	Name                    string
	Calls, Errors, Unpriced int64
	// P95 is the latency that 95 of 100 calls stayed within, exactly: of n calls in
	// order, the one that 0.95·n, rounded down, come before. Voided calls are among them.
	// 0 if none was made.
	P95  time.Duration
	Cost schemas.Money
}

// Span adds up a tenant's calls by their own time, from (included) to (excluded), for
// each name of a dimension, in order of name, or for all together if by is "". It reads
// single events: the span should be of hours. Errors match schemas.ErrUnavailable.
func (r *Reader) Span(ctx context.Context, tenant string, from, to time.Time, by schemas.Dimension) ([]SpanTotal, error) {
	var totals []SpanTotal
	err := r.tenantRows(ctx, tenant, "span", func(rows *warehouse.Rows) error {
		var t SpanTotal
		var p95 int64
		if err := rows.Scan(&t.Name, &t.Calls, &t.Errors, &t.Unpriced, &p95, &t.Cost); err != nil {
			return err
		}
		t.P95 = time.Duration(p95) * time.Millisecond
		totals = append(totals, t)
		return nil
	}, warehouse.Param{Name: "by", Value: string(by)},
		warehouse.Param{Name: "from_ms", Value: from.UnixMilli()}, warehouse.Param{Name: "to_ms", Value: to.UnixMilli()},
		warehouse.Param{Name: "limit", Value: uint32(SpanNamesMax)})
	if err != nil {
		return nil, fmt.Errorf("add up the calls since %s: %w", from.UTC().Format(time.RFC3339), err)
	}
	return totals, nil
}

// LastCall returns when a tenant made its newest call, by the call's own time; false if
// it never did. Calls of the last minutes may be missing from it.
func (r *Reader) LastCall(ctx context.Context, tenant string) (at time.Time, ok bool, err error) {
	err = r.tenantRows(ctx, tenant, "last", func(rows *warehouse.Rows) error {
		var ms int64
		if err := rows.Scan(&ms); err != nil {
			return err
		}
		at, ok = time.UnixMilli(ms).UTC(), true
		return nil
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look for the newest call: %w", err)
	}
	return at, ok, nil
}

// Days returns the days of a tenant that had usage, from (included) to (excluded), both
// the beginning of one, in order, from the rollups. Errors match schemas.ErrUnavailable.
func (r *Reader) Days(ctx context.Context, tenant string, from, to time.Time) ([]Point, error) {
	points, err := r.points(ctx, tenant, schemas.GrainDay, from, to)
	if err != nil {
		return nil, fmt.Errorf("read the days since %s: %w", from.UTC().Format(time.DateOnly), err)
	}
	return points, nil
}
